"""``timesight data check``: what is wrong with a file of samples, and a cleaned copy of it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timesight.cli.options import json_option
from timesight.errors import InputError

if TYPE_CHECKING:
    from timesight.data.check import Line
    from timesight.data.surveys import Facts

SHOWN = 20  # problems on the terminal; the report has them all
PATH = click.Path(path_type=Path)


@click.command(
    "check",
    epilog="Example: timesight data check own.jsonl --videos --fix clean.jsonl",
    short_help="Check samples.",
)
@click.argument("file", type=PATH)
@click.option(
    "--videos", is_flag=True, help="Decode every video to its end, in parallel; resumes where it stopped."
)
@click.option(
    "--against", type=PATH, help="Another file, such as the test set, that must share no video with this."
)
@click.option("--fix", "fixed", type=PATH, help="Write a cleaned copy here; FILE itself is never touched.")
@click.option("--report", type=PATH, help="Write all problems here, as JSON.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count(), help="Processes that decode.")
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(1),
    default=600,
    show_default=True,
    help="Time limit per video, in seconds.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    file: Path,
    videos: bool,
    against: Path | None,
    fixed: Path | None,
    report: Path | None,
    workers: int,
    limit_s: float,
    as_json: bool,
) -> None:
    """Read every line of FILE and say what is wrong with it: exit code 1 if anything is."""
    from timesight.cli.console import print_json
    from timesight.data.check import check_lines, check_videos
    from timesight.data.fix import fix
    from timesight.data.leakage import check_leakage

    _require_new(fixed, report)  # before hours of decoding, not after
    lines = check_lines(file)
    others = _others(against) if against else []
    facts = _survey([*lines, *others], file, workers, limit_s) if videos else {}
    if videos:
        check_videos(lines, facts)
    check_leakage(lines, others, facts)
    content: dict[str, Any] = _report(lines)
    if against:
        content["num_not_compared"] = sum(line.sample is None for line in others)
    if fixed is not None:
        content["fixed"] = dict(fix(file, lines, fixed, facts))
    if report is not None:
        _write_report(report, {"file": str(file), **content})
    if as_json:
        print_json(content)
    else:
        _show(file, lines, content)
    ctx.exit(1 if content["problems"] else 0)


def _require_new(fixed: Path | None, report: Path | None) -> None:
    from timesight.files import require_new

    for path in (fixed, report):
        if path is not None:
            require_new(path)
    if fixed is not None and report is not None and fixed.resolve() == report.resolve():
        raise InputError(f"{report}: cannot be both the cleaned copy and the report; choose another name for one")


def _others(against: Path) -> list[Line]:
    from timesight.data.check import check_lines

    lines = check_lines(against)
    if all(line.sample is None for line in lines):
        raise InputError(f"{against}: holds no samples to compare with; data check {against} says why")
    return lines


def _survey(lines: Sequence[Line], file: Path, workers: int, limit_s: float) -> Facts:
    from timesight.cli.console import progress
    from timesight.data.surveys import survey_all, whole

    videos = dict.fromkeys(whole(line.sample.video) for line in lines if line.sample)
    kept = file.with_name(f"{file.name}.surveyed")
    with progress("videos", len(videos)) as advance:
        return survey_all(videos, kept, workers=workers, limit_s=limit_s, on_video=advance)


def _report(lines: Sequence[Line]) -> dict[str, Any]:
    problems = [problem for line in lines for problem in line.problems]
    return {
        "num_lines": len(lines),
        "num_samples": sum(line.sample is not None for line in lines),
        "by_kind": dict(Counter(problem.kind for problem in problems).most_common()),
        "problems": [problem._asdict() for problem in problems],
    }


def _write_report(report: Path, content: dict[str, Any]) -> None:
    from timesight.files import require_new, write_text

    require_new(report)  # it may have come into being while videos were decoded
    write_text(report, json.dumps(content, indent=1) + "\n")


def _show(file: Path, lines: Sequence[Line], content: dict[str, Any]) -> None:
    from timesight.cli.console import OUT, text_table
    from timesight.data.check import KINDS

    problems = [problem for line in lines for problem in line.problems]
    for problem in problems[:SHOWN]:
        about = "" if problem.id is None else f" {problem.id}"
        click.echo(f"line {problem.line}{about}: {problem.message} [{problem.kind}]")
    if len(problems) > SHOWN:
        click.echo(f"… and {len(problems) - SHOWN} more: --report FILE.json has them all")
    if problems:
        table = text_table("What was found", 4)
        for kind, count in content["by_kind"].items():
            meaning, remedy = KINDS[kind]
            table.add_row(str(count), kind, meaning, f"--fix would {remedy}" if remedy != "keep" else "harmless")
        OUT.print(table)
    tasks = Counter(line.sample.task for line in lines if line.sample)
    told = ", ".join(f"{count} {task}" for task, count in tasks.most_common())
    click.echo(f"{file}: {len(lines)} lines, {content['num_samples']} samples ({told or 'none'}), ", nl=False)
    click.echo(f"{len(problems)} problems" if problems else "nothing wrong")
    if content.get("num_not_compared"):
        click.echo(f"{content['num_not_compared']} lines of the other file are no samples and were not compared")
    if "fixed" in content:
        click.echo("cleaned copy: " + ", ".join(f"{count} {name}" for name, count in content["fixed"].items()))
