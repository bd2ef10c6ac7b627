"""``timesight eval SUITE``: ask a model everything, score its replies, keep both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timesight.cli.eval_show import show_plan, show_results, show_suites
from timesight.cli.options import (
    clue_options,
    clue_settings,
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
    from timesight.evaluation import Replies, Scoring, Suite
    from timesight.infer.answer import Asking
    from timesight.infer.clue import ClueSettings
    from timesight.policy.answering import Answerer
    from timesight.types import Sample
    from timesight.video import FrameBudget


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
@click.option("--clue", is_flag=True, help="Look again at what each answer rests on, and answer again.")
@clue_options
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
def command(list_suites: bool, suite: str | None, as_json: bool, **flags: Any) -> None:
    """Ask a model every question of SUITE, or of a JSONL file of samples, and score its replies.

    With --out every reply is kept as it comes, and the same command goes on after an interruption. Started with
    `accelerate launch -m timesight eval …`, processes share the videos among them.
    """
    if list_suites:
        show_suites(as_json)
    elif suite is None:
        raise InputError("which suite, or which JSONL file of samples? timesight eval --list shows the suites")
    else:
        run(Request(suite=suite, as_json=as_json, **flags))


@dataclass(frozen=True)
class Request:
    """What was asked for; the names are those of the options."""

    suite: str
    annotations: Path | None
    videos: Path | None
    split: str | None
    subtitles: bool
    limit: int | None
    model: str
    model_url: str | None
    think: bool
    clue: bool
    passes: int
    resolution_boost: float
    fps_boost: float
    closer_pixels: int | None
    protocols: tuple[str, ...]
    temperature: float
    seed: int
    batch_size: int
    max_new_tokens: int
    fps: float | None
    max_frames: int | None
    max_pixels: int | None
    workers: int
    dry_run: bool
    out: Path | None
    judge: str | None
    judge_url: str | None
    task_files: tuple[Path, ...]
    prompts: Path | None
    as_json: bool

    @property
    def looking(self) -> ClueSettings | None:
        """How to look again, if at all."""
        return clue_settings(vars(self)) if self.clue else None

    def identity(self, budget: FrameBudget) -> dict[str, Any]:
        """What replies depend on: a folder holds those of one identity."""
        names = ("model", "think", "temperature", "seed", "max_new_tokens", "split", "subtitles")
        settings = {name: getattr(self, name) for name in names}
        settings["clue"] = self.looking.model_dump() if self.looking else None
        return {"suite": Path(self.suite).stem, **settings, "video": budget.model_dump()}


def run(request: Request) -> None:
    """Ask, score, keep, show."""
    from timesight.cli.console import quiet_libraries
    from timesight.evaluation import protocols_of, require_judge, score_tasks
    from timesight.judge import open_judge
    from timesight.tasks import TASKS
    from timesight.tasks.own import own_tasks
    from timesight.world import WorldJudge

    with own_tasks(task_settings(request.task_files, request.prompts)):
        suite, items = items_of(
            request.suite, request.annotations, request.videos, request.split, request.subtitles
        )
        items = limited(items, request.limit, request.seed)
        judge = open_judge(judge_settings(request.judge, request.judge_url), WorldJudge(), request.out)
        tasks = {item.task for item in items}
        for task in tasks:
            protocols_of(TASKS[task], request.protocols or None)  # said now, not when all has been asked
        if not request.dry_run:
            require_judge(tasks, judge)
        # What needs torch is loaded only now, so that a wrong name or path is told at once.
        from timesight.evaluation.runner import processes
        from timesight.infer.answer import Asking
        from timesight.infer.clue import ClueAnswerer
        from timesight.policy.answerers import open_answerer

        quiet_libraries()
        processes()  # before the model: each process has a card of its own
        answerer: Answerer = open_answerer(request.model, request.model_url)
        budget = budget_of(answerer, request)
        asking = Asking(
            budget,
            request.think,
            request.temperature,
            request.batch_size,
            request.max_new_tokens,
            request.seed,
            evidence=request.clue,
        )
        if request.clue:
            require_evidence(tasks)
            answerer = ClueAnswerer(answerer, budget, request.looking)
        if request.dry_run:
            show_plan(answerer, items, asking, request.workers, request.as_json)
            return
        identity = request.identity(budget)
        replies = ask(answerer, items, asking, request, identity)
        if replies is not None:
            scoring = scoring_of(suite, request.protocols)
            results = score_tasks(identity["suite"], items, replies, request.think, judge, scoring)
            show_results(results, suite, identity, request.out, request.as_json)


def ask(
    answerer: Answerer, items: list[Sample], asking: Asking, request: Request, identity: dict[str, Any]
) -> Replies | None:
    """All replies; None on a process that only helps the first one."""
    from tempfile import TemporaryDirectory

    from timesight.cli.console import progress
    from timesight.evaluation.runner import claim_folder, collect_replies, processes
    from timesight.video import ReadingSettings

    is_main = processes().is_main_process
    with TemporaryDirectory() as nowhere, progress("eval", len(items)) as advance:
        folder = request.out or Path(nowhere)
        if is_main:
            claim_folder(folder, identity)
        reading = ReadingSettings(workers=request.workers)
        replies = collect_replies(answerer, items, asking, folder, advance, reading)
    return replies if is_main else None


def scoring_of(suite: Suite | None, protocols: tuple[str, ...]) -> Scoring:
    """What is reported of ``suite``, or of a file of samples."""
    from timesight.evaluation import Scoring

    return Scoring(protocols or None, *((suite.by, suite.average_over) if suite else ()))


def items_of(
    name: str,
    annotations: Path | None,
    videos: Path | None = None,
    split: str | None = None,
    subtitles: bool = False,
) -> tuple[Suite | None, list[Sample]]:
    """What is asked: the items of the suite called ``name``, or the samples of the file of that name."""
    from timesight.data import read_jsonl
    from timesight.evaluation import SUITES, find_suite

    if name in SUITES or not (Path(name).suffix or Path(name).exists()):
        suite = find_suite(name)
        if annotations is None:
            raise InputError(
                f"{name}: say where its official files are (--annotations DIR), and its videos (--videos)"
            )
        return suite, suite.read(annotations, videos, split, subtitles=subtitles)
    given = {"annotations": annotations, "videos": videos, "split": split, "subtitles": subtitles}
    if wrong := [flag for flag, value in given.items() if value]:
        raise InputError(f"--{wrong[0]} goes with a suite; {name} is a file of samples")
    return None, read_jsonl(Path(name))


def require_evidence(tasks: set[str]) -> None:
    """Raise InputError where a task's replies name no spans: there is nothing to look at again."""
    with_spans = ("temporal_grounding", "multiple_choice", "grounded_qa", "open_qa")
    if without := sorted(task for task in tasks if task not in with_spans):
        raise InputError(f"--clue: replies of {without[0]} name no evidence; it is for {', '.join(with_spans)}")


def limited(items: list[Sample], num_videos: int | None, seed: int) -> list[Sample]:
    """The items on ``num_videos`` videos, drawn by ``seed``."""
    from random import Random

    videos = list(dict.fromkeys(item.video.path for item in items))
    if num_videos is None or num_videos >= len(videos):
        return items
    chosen = set(Random(seed).sample(videos, num_videos))
    return [item for item in items if item.video.path in chosen]


def budget_of(answerer: Answerer, request: Request) -> FrameBudget:
    """The model's own budget, with what was asked for in its place. Raises InputError for one that cannot be."""
    from pydantic import ValidationError

    from timesight.video import FrameBudget

    own = answerer.default_budget.model_dump()
    given = {name: getattr(request, name) for name in ("fps", "max_frames", "max_pixels")}
    own |= {name: value for name, value in given.items() if value is not None}
    for least, most in (("min_pixels", "max_pixels"), ("min_frames", "max_frames")):
        own[least] = min(own[least], own[most])
    try:
        return FrameBudget.model_validate(own)
    except ValidationError as error:
        raise InputError(f"frames: {error.errors()[0]['msg']}") from None
