"""``timesight eval export`` and ``timesight eval submission``: results for papers, scripts and leaderboards."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    "export",
    epilog="Example: timesight eval export runs/eval-base runs/eval-grpo --format latex",
    short_help="Write evaluations as one table.",
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    default="markdown",
    show_default=True,
    type=click.Choice(["markdown", "latex", "csv", "json"]),
)
def export(runs: tuple[Path, ...], kind: str) -> None:
    """Print the figures of RUNS, the --out folders of evaluations of one suite, as one table in per cent."""
    from timesight.evaluation.export import table
    from timesight.report.runs import read_results

    click.echo(table(read_results(runs), kind), nl=False)


@click.command(
    "submission",
    epilog="Example: timesight eval submission videomme --annotations DIR --replies runs/eval/replies.jsonl",
    short_help="Write replies as a benchmark's authors take them.",
)
@click.argument("suite", type=click.Choice(["videomme", "longvideobench"]))
@click.option("--annotations", required=True, type=click.Path(path_type=Path), help="The suite's official files.")
@click.option("--replies", required=True, type=click.Path(path_type=Path), help="JSONL of id and reply.")
@click.option("--think", is_flag=True, help="The replies were asked for in think mode.")
def submission(suite: str, annotations: Path, replies: Path, think: bool) -> None:
    """Print the replies to SUITE in the form that its authors' script reads: the letter that each answers.

    A reply that names no option stands there as it is.
    """
    from timesight.cli.eval_items import given_replies
    from timesight.evaluation import find_suite
    from timesight.evaluation.export import SUBMISSIONS

    samples = find_suite(suite).read(annotations, None)
    given = given_replies(replies, samples, "theirs is empty")
    click.echo(SUBMISSIONS[suite](samples, given, think))
