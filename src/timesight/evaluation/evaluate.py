"""``timesight.evaluate``: from samples to figures in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timesight.artifacts import ITEMS_FILE, write_records, write_result
from timesight.errors import ModelError, TimesightError
from timesight.evaluation.figures import Scoring
from timesight.evaluation.folder import init_eval_dir
from timesight.evaluation.replies import Replies
from timesight.evaluation.score import EvalResult, joined_json, require_judge, score_tasks
from timesight.evaluation.suites import Suite, items_of, scoring_of
from timesight.tasks import TASKS
from timesight.types import Judge, Sample

if TYPE_CHECKING:
    from timesight.generate.base import Generator
    from timesight.infer.answer import InferenceConfig
    from timesight.video import VideoPool


def evaluate(
    suite_or_samples: str | Path | Sequence[Sample],
    model: Any = "tiny",
    out: str | Path | None = None,
    *,
    annotations: str | Path | None = None,
    videos: str | Path | None = None,
    split: str | None = None,
    judge: Judge | None = None,
    protocols: Sequence[str] | None = None,
    **config: Any,
) -> dict[str, EvalResult]:
    """Ask a model every question and score its replies.

    Args:
        suite_or_samples: Name of a suite, a JSONL file of samples, or samples.
        model: A model folder, run directory or hub id, a ``Policy``, or a ``Generator``; the embedded tiny model by
            default.
        out: Folder for replies and figures, in which an interrupted call can be resumed. It holds replies of one
            model and one set of settings, as that of ``timesight eval`` does. The weights of a ``Policy`` or
            ``Generator`` are not compared: use a new folder after they change. None: nothing is kept.
        annotations: Folder of a suite's official files.
        videos: Folder of its videos.
        split: Split of the suite; None for its default.
        judge: For tasks that need one.
        protocols: Score by these only; None for all of a task.
        **config: Fields of ``infer.answer.InferenceConfig``, such as ``think``, ``temperature`` or ``budget``; the
            budget is the model's own if not given.

    Returns:
        The result of each task, by its name.

    Raises:
        InputError: If an argument cannot be used: an unknown suite, a missing folder or judge, or an ``out`` with
            replies of another model, made with other settings, or to other questions.
        ModelError: If the model cannot reply to any prompt, such as a server that is down, or one question alone
            does not fit into memory.
    """
    from timesight.evaluation.questions import eval_settings
    from timesight.infer.answer import InferenceConfig

    suite, samples = None, suite_or_samples
    if isinstance(samples, (str, Path)):
        suite, samples = items_of(samples, annotations, videos, split, tasks=config.get("tasks", TASKS))
    generator = _generator(model)
    inference = InferenceConfig(**{"budget": generator.default_budget} | config)
    require_judge([inference.tasks[name] for name in {sample.task for sample in samples}], judge)
    name = Path(suite_or_samples).stem if isinstance(suite_or_samples, (str, Path)) else "samples"
    named = str(model) if isinstance(model, (str, Path)) else None
    settings = eval_settings(name, named, generator, inference, split=split)
    return ask_and_score(
        generator,
        samples,
        inference,
        settings,
        None if out is None else Path(out),
        judge,
        scoring_of(suite, protocols or ()),
        suite,
    )


def ask_and_score(
    generator: Generator,
    samples: Sequence[Sample],
    inference: InferenceConfig,
    settings: Mapping[str, Any],
    out: Path | None,
    judge: Judge | None,
    scoring: Scoring,
    suite: Suite | None,
    on_items: Callable[[int], None] = lambda count: None,
    pool: VideoPool | None = None,
) -> dict[str, EvalResult]:
    """Ask ``generator`` all ``samples``, score its replies, and keep both in ``out``.

    Args:
        generator: The model.
        samples: What to ask.
        inference: How to ask.
        settings: Recorded in ``out`` (``questions.eval_settings``).
        out: As in ``evaluate``.
        judge: As in ``evaluate``.
        scoring: Protocols and breakdowns.
        suite: As in ``write_results``.
        on_items: As in ``runner.collect_replies``.
        pool: As in ``runner.collect_replies``.

    Returns:
        The result of each task, by its name.

    Raises:
        InputError: As ``evaluate``.
        ModelError: As ``evaluate``.
    """
    from accelerate.utils import broadcast_object_list

    from timesight.model.processes import this_process

    replies = ask(generator, samples, inference, settings, out, on_items, pool)
    outcome: list[dict[str, EvalResult] | TimesightError | None] = [None]
    if this_process().is_main_process:  # alone: a judge is asked once, and others must not wait for what failed
        try:
            results = score_tasks(
                str(settings["suite"]), samples, replies, inference.think, judge, scoring, inference.tasks
            )
            if out is not None:
                write_results(out, results, settings, suite)
            outcome = [results]
        except TimesightError as error:
            outcome = [error]
    (found,) = broadcast_object_list(outcome)
    if isinstance(found, TimesightError):
        raise found
    return dict(found)


def ask(
    generator: Generator,
    samples: Sequence[Sample],
    inference: InferenceConfig,
    settings: Mapping[str, Any],
    out: Path | None,
    on_items: Callable[[int], None] = lambda count: None,
    pool: VideoPool | None = None,
) -> Replies:
    """Ask ``generator`` all ``samples``, and keep its replies in ``out``.

    The arguments are those of ``ask_and_score``.

    Returns:
        The replies, on every process those to all samples.

    Raises:
        InputError: As ``evaluate``.
        ModelError: As ``evaluate``; also if no sample got a reply, so that there is nothing to score.
    """
    from timesight.evaluation.runner import collect_replies, evaluation_folder
    from timesight.model.processes import this_process

    with evaluation_folder(out) as folder:
        if this_process().is_main_process:
            init_eval_dir(folder, settings)
        replies = collect_replies(generator, samples, inference, folder, on_items, pool)
    if samples and not replies.replies:
        reasons = list(dict.fromkeys(replies.quarantined.values()))
        more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
        raise ModelError(f"none of {len(samples)} items got a reply: {reasons[0]}{more}")
    return replies


def write_results(
    folder: Path, results: Mapping[str, EvalResult], about: Mapping[str, Any], suite: Suite | None
) -> dict[str, Any]:
    """Write ``items.jsonl`` and ``result.json`` of an evaluation.

    Args:
        folder: Folder of the evaluation.
        results: The result of each task, by its name.
        about: Settings of the evaluation (``questions.eval_settings``); they become fields of ``result.json``.
        suite: Its figures of the paper are added; None for samples that are not of a suite.

    Returns:
        The content of ``result.json``.
    """
    content = result_content(results, about, suite)
    write_records(folder / ITEMS_FILE, [item for result in results.values() for item in result.items])
    write_result(folder, content)
    return content


def result_content(
    results: Mapping[str, EvalResult], about: Mapping[str, Any], suite: Suite | None
) -> dict[str, Any]:
    """Return the content of ``result.json``: figures, settings, and the paper's figures.

    Args:
        results: As in ``write_results``.
        about: As in ``write_results``.
        suite: As in ``write_results``.
    """
    content = joined_json(results) | {name: value for name, value in about.items() if name != "suite"}
    return content | ({} if suite is None else {"paper": suite.paper_json()})


def _generator(model: Any) -> Any:
    from timesight.generate.base import Generator
    from timesight.generate.local import LocalGenerator, open_generator
    from timesight.model.policy import Policy

    if isinstance(model, Generator):
        return model
    return LocalGenerator(model) if isinstance(model, Policy) else open_generator(str(model))
