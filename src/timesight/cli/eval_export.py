"""``timesight eval export`` and ``timesight eval submission``: results for papers, scripts and leaderboards."""

from __future__ import annotations

import json
from pathlib import Path

import click

from timesight.errors import InputError


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

    contents = []
    for run in runs:
        file = run / "result.json"
        if not file.is_file():
            raise InputError(
                f"{run}: holds no finished evaluation (no result.json); give the --out of timesight eval"
            )
        contents.append(json.loads(file.read_text(encoding="utf-8")))
    click.echo(table(contents, kind), nl=False)


@click.command(
    "submission",
    epilog="Example: timesight eval submission videomme --annotations DIR --replies runs/eval/replies.jsonl",
    short_help="Write replies as a benchmark's authors take them.",
)
@click.argument("suite", type=click.Choice(["videomme", "longvideobench"]))
@click.option("--annotations", required=True, type=click.Path(path_type=Path), help="The suite's official files.")
@click.option("--replies", required=True, type=click.Path(path_type=Path), help="JSONL of id and reply.")
def submission(suite: str, annotations: Path, replies: Path) -> None:
    """Print the replies to SUITE in the form that its authors' script reads."""
    from timesight.evaluation import find_suite, read_replies
    from timesight.evaluation.export import SUBMISSIONS

    samples = find_suite(suite).read(annotations, None)
    given = read_replies(replies)
    if absent := [sample.id for sample in samples if sample.id not in given]:
        click.echo(f"Warning: {len(absent)} of {len(samples)} items have no reply; theirs is empty", err=True)
    click.echo(SUBMISSIONS[suite](samples, given))
