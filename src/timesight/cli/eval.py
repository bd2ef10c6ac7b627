"""``timesight eval``: measure a model on samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from timesight.cli.options import (
    json_option,
    judge_option,
    judge_settings,
    judge_url_option,
    prompts_option,
    task_settings,
    tasks_option,
)

if TYPE_CHECKING:
    from rich.table import Table

    from timesight.evaluation import EvalResult


@click.command(
    epilog="Example: timesight eval runs/world/test.jsonl --model runs/demo --think",
    short_help="Measure a model on samples.",
)
@click.argument("samples", type=click.Path(path_type=Path))
@click.option("--model", default="tiny", show_default=True, help="Model folder, run directory or hub id.")
@click.option("--think", is_flag=True, help="Ask in think mode, whatever the model was trained with.")
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0), help="0 is greedy.")
@click.option("--seed", default=0, show_default=True, help="For sampling.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Frames read for each second of video.")
@click.option("--max-frames", type=click.IntRange(2), help="Most frames read from one video.")
@click.option("--max-pixels", type=click.IntRange(1), help="Largest area of a frame.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for replies and result; replies there are kept."
)
@judge_option
@judge_url_option
@tasks_option
@prompts_option
@json_option
def command(
    samples: Path,
    model: str,
    think: bool,
    temperature: float,
    seed: int,
    batch_size: int,
    fps: float | None,
    max_frames: int | None,
    max_pixels: int | None,
    out: Path | None,
    judge: str | None,
    judge_url: str | None,
    task_files: tuple[Path, ...],
    prompts: Path | None,
    as_json: bool,
) -> None:
    """Ask a model every question of SAMPLES, a JSONL file, and score its replies, task by task."""
    import tempfile
    from contextlib import ExitStack

    from transformers import set_seed

    from timesight.cli.console import OUT, print_json, progress, quiet_libraries
    from timesight.data import read_jsonl
    from timesight.evaluation import (
        EvalSettings,
        collect_replies,
        joined_json,
        require_judge,
        score_tasks,
        write_result,
    )
    from timesight.judge import open_judge
    from timesight.policy.load import load_policy
    from timesight.tasks.own import own_tasks
    from timesight.world import WorldJudge

    quiet_libraries()
    with ExitStack() as stack:
        stack.enter_context(own_tasks(task_settings(task_files, prompts)))
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        items = read_jsonl(samples)
        judging = open_judge(judge_settings(judge, judge_url), WorldJudge(), out)
        require_judge({item.task for item in items}, judging)
        policy = load_policy(model)
        given = {"fps": fps, "max_frames": max_frames, "max_pixels": max_pixels}
        budget = policy.default_budget.model_copy(update={k: v for k, v in given.items() if v is not None})
        settings = EvalSettings(budget, think=think, temperature=temperature, batch_size=batch_size)
        set_seed(seed)
        advance = stack.enter_context(progress("eval", len(items)))
        replies = collect_replies(policy, items, settings, folder / "replies.jsonl", advance)
        results = score_tasks(samples.stem, items, replies, think, judging)
        write_result(results, folder / "result.json")
    if as_json:
        print_json(joined_json(results) | {"model": model, "think": think, "video": budget.model_dump()})
        return
    for task, result in results.items():
        for table in result_tables(result, task, model):
            OUT.print(table)
        for line in footnotes(result):
            OUT.print(line, soft_wrap=True)


def result_tables(result: EvalResult, task: str, model: str) -> Iterator[Table]:
    """For each protocol: the model's metrics with intervals, baselines beside them, in percent."""
    from timesight.cli.console import metric_table, percent

    for protocol, figures in result.results.items():
        own = {}
        for name, value in figures.metrics.items():
            bounds = ", ".join(percent(bound) for bound in figures.intervals.get(name, ()))
            own[name] = f"{percent(value)} [{bounds}]" if bounds else percent(value)
        columns = {model: own} | {
            baseline: {name: percent(value) for name, value in metrics.items()}
            for baseline, metrics in figures.baselines.items()
        }
        yield metric_table(f"{result.suite}: {task}, {protocol} protocol", columns)


def footnotes(result: EvalResult) -> list[str]:
    """What a reader of the table must know: how many items, how many unparsable, what was left out."""
    lines = [
        f"percent [95% interval]; {result.num_items} items on {result.num_videos} videos",
        f"{result.num_unparsable} replies unparsable (scored 0, counted)",
    ]
    if result.num_unscored:
        lines.append(
            f"{result.num_unscored} items unscored (not judged, or without truth) and left out of the means"
        )
    if result.quarantined:
        reasons = sorted(set(result.quarantined.values()))
        lines.append(f"{len(result.quarantined)} items left out, their videos cannot be read:")
        lines += [f"  {reason}" for reason in reasons[:10]]
        if len(reasons) > 10:
            lines.append(f"  and {len(reasons) - 10} more")
    return lines
