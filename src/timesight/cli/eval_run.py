"""``timesight eval SUITE``: ask a model every question of a suite, score its replies, keep both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timesight.cli.eval_items import limited
from timesight.cli.eval_show import keep_results, show_plan, show_reported, show_results, show_suites
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
    from collections.abc import Sequence

    from timesight.evaluation import Replies
    from timesight.evaluation.setups import Setup
    from timesight.generate.base import Generator
    from timesight.infer.answer import InferenceConfig
    from timesight.infer.clue import ClueSettings
    from timesight.tasks import Task, TaskRegistry
    from timesight.types import Sample
    from timesight.video import FrameBudget, VideoPool


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
@click.option("--limit", type=click.IntRange(1), help="Evaluate a random subset of this many videos.")
@click.option("--model", default="tiny", show_default=True, help="Model folder, run directory or hub id.")
@click.option("--model-url", help="OpenAI-compatible endpoint where --model is served.")
@click.option("--vllm-url", help="Address where vLLM serves the folder --model; frames are sent as they are.")
@click.option("--think", is_flag=True, help="Ask in think mode, whatever the model was trained with.")
@click.option("--clue", is_flag=True, help="Reread the cited spans at higher resolution and answer again.")
@clue_options
@click.option("--protocol", "protocols", multiple=True, help="Score by this protocol only (may be repeated).")
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0), help="0 is greedy.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="For sampling and --limit.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1), help="Questions at once.")
@click.option(
    "--max-new-tokens", show_default="256, or the setup's", type=click.IntRange(1), help="Token limit per reply."
)
@click.option(
    "--setup", help="Frames and limits of another source: videochat-r1, qwen-report, lmms-eval, vlmevalkit."
)
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Frames read for each second of video.")
@click.option("--max-frames", type=click.IntRange(2), help="Most frames read from one video.")
@click.option("--max-pixels", type=click.IntRange(1), help="Largest area of a frame.")
@click.option(
    "--total-pixels", type=click.IntRange(1), help="Largest area of a video's frames, two counted as one."
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0), help="Processes that read ahead.")
@click.option("--dry-run", is_flag=True, help="Say what it will take, from the first few questions.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for replies and metrics; it can be resumed.")
@judge_option
@judge_url_option
@tasks_option
@prompts_option
@json_option
def command(list_suites: bool, suite: str | None, as_json: bool, **flags: Any) -> None:
    """Ask a model every question of SUITE, or of a JSONL file of samples, and score its replies.

    With --out every reply is kept as it comes, and the same command resumes after an interruption. Started with
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
    """The options of the command, by their names."""

    suite: str
    annotations: Path | None
    videos: Path | None
    split: str | None
    subtitles: bool
    limit: int | None
    model: str
    model_url: str | None
    vllm_url: str | None
    think: bool
    clue: bool
    passes: int
    resolution_boost: float
    fps_boost: float
    second_look_pixels: int | None
    protocols: tuple[str, ...]
    temperature: float
    seed: int
    batch_size: int
    max_new_tokens: int | None
    setup: str | None
    fps: float | None
    max_frames: int | None
    max_pixels: int | None
    total_pixels: int | None
    workers: int
    dry_run: bool
    out: Path | None
    judge: str | None
    judge_url: str | None
    task_files: tuple[Path, ...]
    prompts: Path | None
    as_json: bool

    @property
    def chosen_setup(self) -> Setup | None:
        """What ``--setup`` names; None without it. Raises InputError for an unknown name."""
        from timesight.evaluation.setups import find_setup

        return None if self.setup is None else find_setup(self.setup)

    @property
    def looking(self) -> ClueSettings | None:
        """Settings of Clue-Perception; None without ``--clue``."""
        return clue_settings(vars(self)) if self.clue else None


def run(request: Request) -> None:
    """Run the command: ask the model, score its replies, keep and print the figures.

    Raises:
        InputError: If an option cannot be used, or ``--out`` holds replies made with other settings.
        ModelError: If no item got a reply.
    """
    from timesight.evaluation import (
        items_of,
        protocols_of,
        require_folder,
        require_judge,
        score_tasks,
        scoring_of,
    )
    from timesight.judge import open_judge
    from timesight.tasks.custom import custom_tasks
    from timesight.video import ReadingSettings, reading_pool
    from timesight.world import WorldJudge

    setup = request.chosen_setup  # a wrong name is reported before anything is read
    if request.model_url and request.vllm_url:
        raise InputError("--model-url and --vllm-url: the model is asked in one place; leave one of them out")
    registry = custom_tasks(task_settings(request.task_files, request.prompts))
    suite, items = items_of(
        request.suite, request.annotations, request.videos, request.split, request.subtitles, registry
    )
    items = limited(items, request.limit, request.seed)
    if request.out is not None and not request.dry_run:
        require_folder(request.out)
    judge = open_judge(judge_settings(request.judge, request.judge_url), WorldJudge(), request.out)
    tasks = [registry[name] for name in dict.fromkeys(item.task for item in items)]
    for task in tasks:
        protocols_of(task, request.protocols or None)  # reports a wrong protocol before anything is asked
    if not request.dry_run:
        require_judge(tasks, judge)
    with reading_pool(ReadingSettings(workers=request.workers)) as pool:
        generator, config = opened(request, tasks, registry, pool)
        if request.dry_run:
            show_plan(generator, items, config, pool, request.as_json)
            return
        settings, replies = asked(request, generator, items, config, pool)
    from timesight.cli.console import print_json
    from timesight.model.processes import this_process  # loads torch, as opened does

    if not this_process().is_main_process:
        return
    scoring = scoring_of(suite, request.protocols)
    results = score_tasks(settings["suite"], items, replies, request.think, judge, scoring, registry)
    content = keep_results(results, suite, settings, request.out)
    if request.as_json:
        print_json(content)
        return
    show_results(results, suite, settings)
    if setup is not None:
        show_reported(setup, request.suite)


def opened(
    request: Request, tasks: Sequence[Task[Any, Any]], registry: TaskRegistry, pool: VideoPool | None
) -> tuple[Generator, InferenceConfig]:
    """Open the model. Only this loads torch, so that a wrong name or path is reported at once.

    Args:
        request: The options of the command.
        tasks: Tasks of the items.
        registry: All tasks, custom ones included.
        pool: Reads second looks.

    Returns:
        The generator, wrapped in a ``ClueGenerator`` with ``--clue``, and how it is asked.

    Raises:
        InputError: If there is no such model, the frame options contradict each other, or ``--clue`` is given for
            a task whose replies name no spans.
    """
    from timesight.cli.console import quiet_libraries
    from timesight.generate.local import open_generator
    from timesight.infer.answer import MAX_NEW_TOKENS, InferenceConfig
    from timesight.infer.clue import ClueGenerator
    from timesight.model.processes import this_process

    quiet_libraries()
    this_process()  # before the model: it selects the GPU of this process
    generator: Generator = open_generator(request.model, request.model_url, request.vllm_url)
    budget, setup = budget_of(generator, request), request.chosen_setup
    config = InferenceConfig(
        budget,
        request.think,
        request.temperature,
        request.batch_size,
        request.max_new_tokens or (setup and setup.max_new_tokens) or MAX_NEW_TOKENS,
        request.seed,
        evidence=request.clue,
        tasks=registry,
    )
    if request.clue:
        require_evidence(tasks, registry)
        generator = ClueGenerator(generator, budget, request.looking, pool)
    return generator, config


def asked(
    request: Request,
    generator: Generator,
    items: list[Sample],
    config: InferenceConfig,
    pool: VideoPool | None,
) -> tuple[dict[str, Any], Replies]:
    """Ask the model every question that ``--out`` has no reply to; returns the settings and all replies."""
    from timesight.cli.console import progress
    from timesight.evaluation.evaluate import ask
    from timesight.evaluation.questions import eval_settings

    settings = eval_settings(
        Path(request.suite).stem,
        request.model,
        generator,
        config,
        url=request.model_url or request.vllm_url,
        split=request.split,
        subtitles=request.subtitles,
    )
    with progress("eval", len(items)) as advance:
        return settings, ask(generator, items, config, settings, request.out, advance, pool)


def require_evidence(tasks: Sequence[Task[Any, Any]], registry: TaskRegistry) -> None:
    """Raise InputError if the replies of one of ``tasks`` name no spans: there is nothing to look at again."""
    if without := [task.name for task in tasks if not task.names_spans]:
        named = ", ".join(name for name, task in registry.items() if task.names_spans)
        raise InputError(f"--clue: replies of {without[0]} name no evidence; it is for {named}")


def budget_of(generator: Generator, request: Request) -> FrameBudget:
    """Return the frame budget of the setup or the model, changed by ``--fps`` and the options of its limits.

    Minima are lowered to the new maxima.

    Raises:
        InputError: If the result is not a valid budget.
    """
    from pydantic import ValidationError

    from timesight.video import FrameBudget

    setup = request.chosen_setup
    own = (generator.default_budget if setup is None else setup.video).model_dump()
    given = {name: getattr(request, name) for name in ("fps", "max_frames", "max_pixels", "total_pixels")}
    own |= {name: value for name, value in given.items() if value is not None}
    for least, most in (("min_pixels", "max_pixels"), ("min_frames", "max_frames")):
        own[least] = min(own[least], own[most])
    try:
        return FrameBudget.model_validate(own)
    except ValidationError as error:
        raise InputError(f"frames: {error.errors()[0]['msg']}") from None
