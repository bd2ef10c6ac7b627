"""``timesight data convert``: message JSON to samples, and samples to messages."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from timesight.cli.options import json_option
from timesight.errors import InputError, SampleError
from timesight.types import Sample

SHOWN = 20  # refusals on the terminal
EXAMPLE_CHARS = 60
PATH = click.Path(path_type=Path)


@click.command(
    "convert",
    epilog="Example: timesight data convert llava.json own.jsonl",
    short_help="Message JSON to samples, and back.",
)
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option("--to", "style", type=click.Choice(["samples", "trl", "swift"]), default="samples", show_default=True)
@click.option("--task", help="Task of all conversations. Default: detected from each question and answer.")
@click.option("--think", is_flag=True, help="Write prompts and replies in think mode (to trl, swift).")
@json_option
@click.pass_context
def command(
    ctx: click.Context, source: Path, out: Path, style: Any, task: str | None, think: bool, as_json: bool
) -> None:
    """Turn message JSON (LLaVA, ShareGPT, ms-swift, OpenAI style) into samples, or samples into messages.

    What cannot be converted is reported, line by line, and counted: exit code 1. How many became what is
    reported with an example of each, so that a wrong reading is seen.
    """
    from timesight.cli.console import print_json
    from timesight.data.messages import READINGS
    from timesight.files import require_new

    require_new(out)
    if task is not None and task not in READINGS:
        raise InputError(f"--task {task}: choose one of {', '.join(READINGS)}")
    converted, refused = (
        _from_messages(source, out, task) if style == "samples" else _to_messages(source, out, style, think)
    )
    counts = Counter(sample.task for sample in converted)
    examples = {sample.task: _example(sample) for sample in reversed(converted)}  # the first one of each task
    for message in refused[:SHOWN]:
        click.echo(f"not converted: {message}", err=True)
    if as_json:
        print_json({"counts": counts, "examples": examples, "num_refused": len(refused), "output": str(out)})
    else:
        click.echo(f"{out}: {len(converted)} converted, {len(refused)} not")
        for name, count in counts.most_common():
            click.echo(f"  {count} {name}, such as {examples[name]['id']}")
            click.echo(f"    {examples[name]['question']!r} -> {examples[name]['answer']!r}")
    ctx.exit(1 if refused else 0)


def _from_messages(source: Path, out: Path, task: str | None) -> tuple[list[Sample], list[str]]:
    from timesight.data.jsonl import write_jsonl
    from timesight.data.messages import read_messages

    read = list(read_messages(source, task))
    if not read:
        raise SampleError(f"{source}: holds no conversations")
    samples = [sample for sample in read if isinstance(sample, Sample)]
    if samples:
        write_jsonl(out, samples)
    return samples, [str(e) for e in read if not isinstance(e, Sample)]


def _to_messages(source: Path, out: Path, style: Any, think: bool) -> tuple[list[Sample], list[str]]:
    from timesight.data import read_jsonl
    from timesight.data.messages import write_message
    from timesight.files import write_text

    converted, refused, lines = [], [], []
    for sample in read_jsonl(source):
        try:
            lines.append(json.dumps(write_message(sample, style, think), ensure_ascii=False) + "\n")
            converted.append(sample)
        except SampleError as error:
            refused.append(str(error))
    if lines:
        write_text(out, "".join(lines))
    return converted, refused


def _example(sample: Sample) -> dict[str, str]:
    """What ``sample`` asks and the answer it holds to be right, cut short."""
    from timesight.tasks import TASKS

    task = TASKS[sample.task]
    asked = getattr(sample, "query", None) or getattr(sample, "question", None) or ""
    problems = [*sample.problems, *task.problems(sample)]
    answer = problems[0] if problems else ", ".join(task.write(task.truth(sample)).values())
    return {"id": sample.id, "question": _cut(asked), "answer": _cut(answer)}


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= EXAMPLE_CHARS else line[: EXAMPLE_CHARS - 1] + "…"
