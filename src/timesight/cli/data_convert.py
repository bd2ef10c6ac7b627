"""``timesight data convert``: message JSON to samples, and samples to messages."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from timesight.cli.options import json_option
from timesight.errors import InputError, SampleError

SHOWN = 20  # refusals on the terminal
PATH = click.Path(path_type=Path)


@click.command(
    "convert",
    epilog="Example: timesight data convert llava.json own.jsonl",
    short_help="Message JSON to samples, and back.",
)
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option("--to", "style", type=click.Choice(["samples", "trl", "swift"]), default="samples", show_default=True)
@click.option("--task", help="What all conversations are; else each is read as what it looks like.")
@click.option("--think", is_flag=True, help="Write prompts and replies in think mode (to trl, swift).")
@json_option
@click.pass_context
def command(
    ctx: click.Context, source: Path, out: Path, style: Any, task: str | None, think: bool, as_json: bool
) -> None:
    """Turn message JSON (LLaVA, ShareGPT, ms-swift, OpenAI style) into samples, or samples into messages.

    What cannot be converted is told, line by line, and counted: exit code 1.
    """
    from timesight.cli.console import print_json
    from timesight.data.disk import require_new
    from timesight.data.messages import READINGS

    require_new(out)
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
    if not read:
        raise SampleError(f"{source}: holds no conversations")
    samples = [sample for sample in read if isinstance(sample, Sample)]
    if samples:
        write_jsonl(out, samples)
    return Counter(sample.task for sample in samples), [str(e) for e in read if not isinstance(e, Sample)]


def _to_messages(source: Path, out: Path, style: Any, think: bool) -> tuple[Counter[str], list[str]]:
    from timesight.data import read_jsonl
    from timesight.data.disk import write_text
    from timesight.data.messages import write_message

    counts: Counter[str] = Counter()
    refused, lines = [], []
    for sample in read_jsonl(source):
        try:
            lines.append(json.dumps(write_message(sample, style, think), ensure_ascii=False) + "\n")
            counts[sample.task] += 1
        except SampleError as error:
            refused.append(str(error))
    if lines:
        write_text(out, "".join(lines))
    return counts, refused
