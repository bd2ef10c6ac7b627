"""``timesight data``: list, build, check and convert data."""

from __future__ import annotations

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
    from timesight.video.survey import VideoFacts

SHOWN = 20  # problems on the terminal; the report has them all
SET_NAME = "videochat_r1_18k"
PATH = click.Path(path_type=Path)


@click.group(
    epilog="Example: timesight data check own.jsonl --videos", short_help="List, build, check, convert data."
)
def command() -> None:
    """List, build, check and convert data."""


@command.command(
    "list", epilog="Example: timesight data list", short_help="The published sources that can be read."
)
@json_option
def list_sources(as_json: bool) -> None:
    """Show each source that can be read from its official files: task, splits, files."""
    from timesight.cli.console import OUT, print_json, text_table
    from timesight.data import SOURCES

    if as_json:
        print_json(
            {
                "sources": {
                    name: {"task": source.task, "splits": list(source.splits), "files": source.files}
                    for name, source in SOURCES.items()
                }
            }
        )
        return
    table = text_table("Read with timesight.data.read(name, annotations=FOLDER, videos=FOLDER, split=…)", 3)
    for name, source in SOURCES.items():
        table.add_row(name, ", ".join(source.splits), f"{source.task}\n[dim]{source.files}[/dim]")
    OUT.print(table)


@command.command(
    epilog="Example: timesight data check own.jsonl --videos --fix clean.jsonl", short_help="Check samples."
)
@click.argument("file", type=PATH)
@click.option(
    "--videos", is_flag=True, help="Decode every video to its end, in parallel; goes on where it stopped."
)
@click.option(
    "--against", type=PATH, help="Another file, such as the test set, that must share no video with this."
)
@click.option("--fix", "fixed", type=PATH, help="Write a cleaned copy here; FILE itself is never touched.")
@click.option("--report", type=PATH, help="Write all problems here, as JSON.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count(), help="Processes that decode.")
@click.option(
    "--limit", "limit_s", type=click.FloatRange(1), default=600, show_default=True, help="Seconds a video."
)
@json_option
@click.pass_context
def check(
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
    from timesight.data.check import check_leakage, check_lines, check_videos
    from timesight.data.fix import fix

    if fixed is not None and fixed.exists():
        raise InputError(f"{fixed}: is there already; nothing is written over, choose another name")
    lines = check_lines(file)
    others = check_lines(against) if against else []
    facts = _survey([*lines, *others], file, workers, limit_s) if videos else {}
    if videos:
        check_videos(lines, facts)
    if against:
        check_leakage(lines, others, facts)
    content: dict[str, Any] = _report(lines)
    if fixed is not None:
        content["fixed"] = dict(fix(file, lines, fixed, facts))
    if report is not None:
        _write_report(report, {"file": str(file), **content})
    if as_json:
        print_json(content)
    else:
        _show(file, lines, content)
    ctx.exit(1 if content["problems"] else 0)


def _survey(lines: Sequence[Line], file: Path, workers: int, limit_s: float) -> dict[Path, VideoFacts | str]:
    from timesight.cli.console import progress
    from timesight.data.surveys import survey_all

    videos = {line.sample.video.path: line.sample.video for line in lines if line.sample}
    kept = file.with_name(f"{file.name}.surveyed")
    with progress("videos", len(videos)) as advance:
        return survey_all(videos.values(), kept, workers=workers, limit_s=limit_s, on_video=advance)


def _report(lines: Sequence[Line]) -> dict[str, Any]:
    problems = [problem for line in lines for problem in line.problems]
    return {
        "num_lines": len(lines),
        "num_samples": sum(line.sample is not None for line in lines),
        "by_kind": dict(Counter(problem.kind for problem in problems).most_common()),
        "problems": [problem._asdict() for problem in problems],
    }


def _write_report(report: Path, content: dict[str, Any]) -> None:
    import json

    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


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
    if "fixed" in content:
        click.echo("cleaned copy: " + ", ".join(f"{count} {name}" for name, count in content["fixed"].items()))


@command.command(
    epilog=f"Example: timesight data build {SET_NAME} --root datasets --out data/18k",
    short_help="Build the paper's training set.",
)
@click.argument("name")
@click.option("--root", type=PATH, help="Folder with one folder a source: charades_sta, got10k, nextgqa, …")
@click.option(
    "--annotations", "annotations", multiple=True, metavar="SOURCE=DIR", help="Where one's annotations are."
)
@click.option("--videos", "videos", multiple=True, metavar="SOURCE=DIR", help="Where one's videos are.")
@click.option("--out", required=True, type=PATH, help="Folder for joint.jsonl, captions.jsonl and quality.jsonl.")
@click.option("--queries", type=click.Choice(["one-per-video", "all"]), default="one-per-video", show_default=True)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Which query of each video.")
@json_option
def build(
    name: str,
    root: Path | None,
    annotations: tuple[str, ...],
    videos: tuple[str, ...],
    out: Path,
    queries: Any,
    seed: int,
    as_json: bool,
) -> None:
    """Build the training set NAME (videochat_r1_18k) from the sources that are on disk.

    In ROOT/SOURCE, annotations are looked for in annotations/, if there is such a folder, and videos anywhere
    below it.
    """
    from timesight.cli.console import OUT, print_json, text_table
    from timesight.data.build import VIDEOCHAT_R1_18K
    from timesight.data.build import build as build_set

    if name.replace("-", "_") != SET_NAME:
        raise InputError(f"no set {name}: there is {SET_NAME}")
    folders = _folders(root, list(VIDEOCHAT_R1_18K))
    results = build_set(
        folders | _named_folders("--annotations", annotations),
        {source: folder.parent if folder.name == "annotations" else folder for source, folder in folders.items()}
        | _named_folders("--videos", videos),
        out,
        queries=queries,
        seed=seed,
    )
    if as_json:
        print_json({"counts": {built.source: built.count for built in results}, "output": str(out)})
        return
    table = text_table("VideoChat-R1-18k", 5)
    table.add_row("[bold]source", "[bold]samples", "[bold]paper", "[bold]file", "[bold]why not the paper's count")
    for built in results:
        file = built.file.name if built.file else ""
        table.add_row(built.source, str(built.count), str(built.paper_count), file, "; ".join(built.reasons))
    OUT.print(table)
    click.echo(f"{out}: {sum(built.count for built in results)} samples")


def _folders(root: Path | None, sources: Sequence[str]) -> dict[str, Path]:
    """The folder of annotations of each source under ``root``."""
    if root is None:
        return {}
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    there = {source: root / source for source in sources if (root / source).is_dir()}
    return {name: inner if (inner := folder / "annotations").is_dir() else folder for name, folder in there.items()}


def _named_folders(flag: str, pairs: Sequence[str]) -> dict[str, Path]:
    folders = {}
    for pair in pairs:
        source, equals, folder = pair.partition("=")
        if not equals or not Path(folder).is_dir():
            raise InputError(f"{flag} {pair}: write SOURCE=DIR, where DIR is a folder")
        folders[source] = Path(folder)
    return folders


@command.command(
    epilog="Example: timesight data convert llava.json own.jsonl", short_help="Message JSON to samples, and back."
)
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option("--to", "style", type=click.Choice(["samples", "trl", "swift"]), default="samples", show_default=True)
@click.option("--task", help="What all conversations are; else each is read as what it looks like.")
@click.option("--think", is_flag=True, help="Write prompts and replies in think mode (to trl, swift).")
@json_option
@click.pass_context
def convert(
    ctx: click.Context, source: Path, out: Path, style: Any, task: str | None, think: bool, as_json: bool
) -> None:
    """Turn message JSON (LLaVA, ShareGPT, ms-swift, OpenAI style) into samples, or samples into messages.

    What cannot be converted is told, line by line, and counted: exit code 1.
    """
    from timesight.cli.console import print_json
    from timesight.data.messages import READINGS

    if out.exists():
        raise InputError(f"{out}: is there already; nothing is written over, choose another name")
    if task is not None and task not in READINGS:
        raise InputError(f"--task {task}: choose one of {', '.join(READINGS)}")
    counts, refused = (
        _from_messages(source, out, task) if style == "samples" else _to_messages(source, out, style, think)
    )
    for message in refused[:SHOWN]:
        click.echo(f"not converted: {message}", err=True)
    if as_json:
        print_json({"counts": dict(counts), "num_refused": len(refused), "output": str(out)})
    else:
        told = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
        click.echo(f"{out}: {told}; {len(refused)} not converted")
    ctx.exit(1 if refused else 0)


def _from_messages(source: Path, out: Path, task: str | None) -> tuple[Counter[str], list[str]]:
    from timesight.data.jsonl import write_jsonl
    from timesight.data.messages import read_messages
    from timesight.types import Sample

    read = list(read_messages(source, task))
    samples = [sample for sample in read if isinstance(sample, Sample)]
    if samples:
        write_jsonl(out, samples)
    return Counter(sample.task for sample in samples), [str(e) for e in read if not isinstance(e, Sample)]


def _to_messages(source: Path, out: Path, style: Any, think: bool) -> tuple[Counter[str], list[str]]:
    import json

    from timesight.data import read_jsonl
    from timesight.data.messages import write_message
    from timesight.errors import SampleError

    counts: Counter[str] = Counter()
    refused, lines = [], []
    for sample in read_jsonl(source):
        try:
            lines.append(json.dumps(write_message(sample, style, think), ensure_ascii=False) + "\n")
            counts[sample.task] += 1
        except SampleError as error:
            refused.append(str(error))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(lines), encoding="utf-8")
    return counts, refused
