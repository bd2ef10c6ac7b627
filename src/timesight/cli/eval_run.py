"""``timesight eval SUITE``: ask a model everything, score its replies, keep both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from timesight.errors import InputError

if TYPE_CHECKING:
    from timesight.evaluation import Suite
    from timesight.policy.answering import Answerer
    from timesight.types import Sample
    from timesight.video import FrameBudget

FRESH = "the model's own"


@click.command(
    "run",
    epilog="Example: timesight eval runs/world/test.jsonl --model runs/demo --think --out runs/demo-test",
    short_help="Ask a model a suite's questions and score its replies.",
)
@click.argument("suite", required=False)
@click.option("--list", "list_suites", is_flag=True, help="Show the suites.")
@click.option("--annotations", type=click.Path(path_type=Path), help="Folder with the suite's official files.")
@click.option("--videos", type=click.Path(path_type=Path), help="Folder with its videos, however they are nested.")
@click.option("--split", help="Another split than the benchmark's own.")
@click.option("--subtitles", is_flag=True, help="With the videos' subtitles in the prompts.")
@click.option("--limit", type=click.IntRange(1), help="Only so many videos, drawn by the seed.")
@click.option("--model", default="tiny", show_default=True, help="Model folder, run directory or hub id.")
@click.option("--model-url", help="OpenAI-compatible address where --model is served.")
@click.option("--think", is_flag=True, help="Ask in think mode, whatever the model was trained with.")
@click.option("--protocol", "protocols", multiple=True, help="Score by this protocol only (may be repeated).")
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0), help="0 is greedy.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="For sampling and --limit.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1), help="Questions at once.")
@click.option("--max-new-tokens", default=256, show_default=True, type=click.IntRange(1), help="In a reply.")
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Frames read for each second of video.")
@click.option("--max-frames", type=click.IntRange(2), help="Most frames read from one video.")
@click.option("--max-pixels", type=click.IntRange(1), help="Largest area of a frame.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0), help="Processes that read ahead.")
@click.option("--dry-run", is_flag=True, help="Say what it will take, from the first few questions.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for replies and figures; it can be resumed.")
@judge_option
@judge_url_option
@tasks_option
@prompts_option
@json_option
def command(**flags: Any) -> None:
    """Ask a model every question of SUITE, or of a JSONL file of samples, and score its replies.

    With --out every reply is kept as it comes, and the same command goes on after an interruption. Started with
    `accelerate launch -m timesight eval …`, processes share the videos among them.
    """
    from timesight.cli.console import quiet_libraries

    quiet_libraries()
    if flags["list_suites"]:
        show_suites(flags["as_json"])
    elif flags["suite"] is None:
        raise InputError("which suite, or which JSONL file of samples? timesight eval --list shows the suites")
    else:
        run(**{name: value for name, value in flags.items() if name != "list_suites"})


def run(
    suite: str, model: str, think: bool, protocols: tuple[str, ...], out: Path | None, as_json: bool, **flags: Any
) -> None:
    """Ask, score, keep, show."""
    import tempfile
    from contextlib import ExitStack

    from timesight.cli.console import progress
    from timesight.cli.eval_show import show_results
    from timesight.evaluation import (
        Scoring,
        claim_folder,
        collect_replies,
        processes,
        require_judge,
        score_tasks,
    )
    from timesight.infer.answer import Asking
    from timesight.judge import open_judge
    from timesight.tasks.own import own_tasks
    from timesight.video import ReadingSettings
    from timesight.world import WorldJudge

    with ExitStack() as stack:
        stack.enter_context(own_tasks(task_settings(flags["task_files"], flags["prompts"])))
        declared, items = items_of(suite, **flags)
        judging = open_judge(judge_settings(flags["judge"], flags["judge_url"]), WorldJudge(), out)
        if not flags["dry_run"]:
            require_judge({item.task for item in items}, judging)
        answerer = open_model(model, flags["model_url"])
        budget = budget_of(answerer, **flags)
        asking = Asking(
            budget, think, flags["temperature"], flags["batch_size"], flags["max_new_tokens"], flags["seed"]
        )
        reading = ReadingSettings(workers=flags["workers"])
        if flags["dry_run"]:
            show_plan(answerer, items, asking, reading, as_json)
            return
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        identity = {
            "suite": Path(suite).stem,
            "model": model,
            "think": think,
            "temperature": asking.temperature,
            "seed": asking.seed,
            "max_new_tokens": asking.max_new_tokens,
            "subtitles": flags["subtitles"],
            "video": budget.model_dump(),
        }
        is_main = processes().is_main_process
        if is_main:
            claim_folder(folder, identity)
        advance = stack.enter_context(progress("eval", len(items)))
        replies = collect_replies(answerer, items, asking, folder, advance, reading)
        if not is_main:
            return
        scoring = (
            Scoring(protocols or None, declared.by, declared.average_over)
            if declared
            else Scoring(protocols or None)
        )
        results = score_tasks(Path(suite).stem, items, replies, think, judging, scoring)
    show_results(results, declared, identity, out, as_json)


def items_of(suite: str, **flags: Any) -> tuple[Suite | None, list[Sample]]:
    """What is asked: the items of a suite, or the samples of a file."""
    import random

    from timesight.data import read_jsonl
    from timesight.evaluation import SUITES, find_suite

    if suite in SUITES or not Path(suite).suffix:
        declared = find_suite(suite)
        if flags["annotations"] is None:
            raise InputError(
                f"{suite}: say where its official files are (--annotations DIR), and its videos (--videos)"
            )
        items = declared.read(
            flags["annotations"], flags["videos"], flags["split"], subtitles=flags.get("subtitles", False)
        )
    else:
        declared, items = None, read_jsonl(Path(suite))
        if given := [name for name in ("annotations", "videos", "split", "subtitles") if flags.get(name)]:
            raise InputError(f"--{given[0]} goes with a suite; {suite} is a file of samples")
    if flags.get("limit") is not None:
        videos = list(dict.fromkeys(item.video.path for item in items))
        chosen = set(random.Random(flags["seed"]).sample(videos, min(flags["limit"], len(videos))))
        items = [item for item in items if item.video.path in chosen]
    return declared, items


def open_model(model: str, url: str | None) -> Answerer:
    """Whoever answers: a served model, a policy, or any other local model."""
    from timesight.policy.answerers import open_answerer

    return open_answerer(model, url)


def budget_of(answerer: Answerer, **flags: Any) -> FrameBudget:
    """The model's own budget, with what the flags say in its place. Raises InputError for one that cannot be."""
    from pydantic import ValidationError

    from timesight.video import FrameBudget

    own = answerer.default_budget.model_dump()
    given = {name: flags[name] for name in ("fps", "max_frames", "max_pixels") if flags[name] is not None}
    if "max_pixels" in given:
        own["min_pixels"] = min(own["min_pixels"], given["max_pixels"])
    if "max_frames" in given:
        own["min_frames"] = min(own["min_frames"], given["max_frames"])
    try:
        return FrameBudget.model_validate(own | given)
    except ValidationError as error:
        raise InputError(f"frames: {error.errors()[0]['msg']}") from None


def show_suites(as_json: bool) -> None:
    """The suites: task, split, protocols, official files."""
    from timesight.cli.console import OUT, print_json, text_table
    from timesight.data import SOURCES
    from timesight.evaluation import SUITES
    from timesight.tasks import TASKS

    if as_json:
        print_json(
            {
                "suites": {
                    name: {
                        "task": suite.task,
                        "split": suite.split,
                        "protocols": list(TASKS[suite.task].metric_protocols),
                        "by": list(suite.by),
                        "files": SOURCES[suite.source].files,
                    }
                    for name, suite in SUITES.items()
                }
            }
        )
        return
    table = text_table("timesight eval SUITE --annotations DIR --videos DIR --model MODEL", 2)
    for name, suite in SUITES.items():
        about = f"{suite.task}, {suite.split}; {' and '.join(TASKS[suite.task].metric_protocols)}"
        about += f"; by {', '.join(suite.by)}" if suite.by else ""
        table.add_row(name, f"{suite.title}\n[dim]{about}\n{SOURCES[suite.source].files}[/dim]")
    OUT.print(table)


def show_plan(answerer: Answerer, items: list[Sample], asking: Any, reading: Any, as_json: bool) -> None:
    """What the run would take."""
    from dataclasses import asdict

    from timesight.cli.console import OUT, print_json, progress
    from timesight.evaluation.plan import plan_run

    with progress("videos", len({item.video.path for item in items})) as advance:
        plan = plan_run(answerer, items, asking, reading, advance)
    if as_json:
        print_json(asdict(plan))
        return
    for line in plan.lines():
        OUT.print(line, soft_wrap=True)
