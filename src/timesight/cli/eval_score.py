"""``timesight eval score`` and ``baselines``: figures of replies that any system made, and of none at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from timesight.cli.options import json_option, judge_option, judge_settings, judge_url_option
from timesight.errors import InputError

if TYPE_CHECKING:
    from timesight.evaluation import EvalResult


annotations_option = click.option(
    "--annotations", type=click.Path(path_type=Path), help="Folder with the suite's official files."
)
split_option = click.option("--split", help="Another split than the benchmark's own.")


@click.command(
    "score",
    epilog="Example: timesight eval score nextgqa --annotations DIR --protocol official --replies replies.jsonl",
    short_help="Score replies made elsewhere.",
)
@click.argument("suite")
@annotations_option
@split_option
@click.option(
    "--replies",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help='JSONL of {"id", "reply"}; for got10k also a folder of predictions as its toolkit writes them.',
)
@click.option("--think", is_flag=True, help="The replies were asked for in think mode.")
@click.option("--protocol", "protocols", multiple=True, help="Score by this protocol only (may be repeated).")
@click.option("--name", default="replies", show_default=True, help="What to call the system in the table.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for figures, as of timesight eval.")
@judge_option
@judge_url_option
@json_option
def score(
    suite: str,
    annotations: Path | None,
    split: str | None,
    file: Path,
    think: bool,
    protocols: tuple[str, ...],
    name: str,
    out: Path | None,
    judge: str | None,
    judge_url: str | None,
    as_json: bool,
) -> None:
    """Score the replies of any system to a suite, or to a JSONL file of samples.

    A missing reply is wrong. One with an id that no item has is warned of and left out.
    """
    from timesight.cli.console import print_json
    from timesight.cli.eval_items import given_replies
    from timesight.cli.eval_show import keep_results, show_results
    from timesight.evaluation import Replies, items_of, require_folder, require_unused, score_tasks, scoring_of
    from timesight.judge import open_judge
    from timesight.world import WorldJudge

    if out is not None:
        require_unused(out)
        require_folder(out)
    if suite == "got10k" and file.is_dir():
        results = _tracks(annotations, split, file, protocols)
        declared = None
    else:
        declared, items = items_of(suite, annotations, split=split)
        _require_folder_of_boxes(suite, protocols, file)
        replies = given_replies(file, items, "count as wrong")
        scoring = scoring_of(declared, protocols)
        judging = open_judge(judge_settings(judge, judge_url), WorldJudge(), out)
        results = score_tasks(Path(suite).stem, items, Replies(replies), think, judging, scoring)
    about = {"model": name, "think": think}
    content = keep_results(results, declared, about, out)
    print_json(content) if as_json else show_results(results, declared, about)


@click.command(
    "baselines",
    epilog="Example: timesight eval baselines charades_sta --annotations DIR",
    short_help="Score a suite's video-blind baselines.",
)
@click.argument("suite")
@annotations_option
@split_option
@json_option
def baselines(suite: str, annotations: Path | None, split: str | None, as_json: bool) -> None:
    """Score the video-blind baselines: the whole video, the first box, the longest option, a random answer."""
    from timesight.cli.console import OUT, print_json
    from timesight.cli.eval_show import baseline_table
    from timesight.evaluation import Replies, items_of, score_tasks, scoring_of
    from timesight.tasks import TASKS

    declared, items = items_of(suite, annotations, split=split)
    blind = [item for item in items if not TASKS[item.task].needs_judge]
    if not blind:
        raise InputError(f"{suite}: its items have no video-blind baselines")
    results = score_tasks(Path(suite).stem, blind, Replies({}), False, None, scoring_of(declared, ()))
    if as_json:
        found = {
            task: {name: figures.baselines for name, figures in result.results.items()}
            for task, result in results.items()
        }
        print_json({"suite": suite, "num_items": len(blind), "baselines": found})
        return
    for task, result in results.items():
        for protocol in result.results:
            OUT.print(baseline_table(result, task, protocol))
    OUT.print(f"percent; {len(blind)} items")


def _tracks(
    annotations: Path | None, split: str | None, folder: Path, protocols: tuple[str, ...]
) -> dict[str, EvalResult]:
    """GOT-10k's own protocol, on a box in every frame."""
    from timesight.data.sources.got10k import read_predictions
    from timesight.evaluation import SUITES, score_answers
    from timesight.tasks import TASKS, Graded
    from timesight.tasks.base import OFFICIAL

    if annotations is None:
        raise InputError("got10k: say where its official files are (annotations)")
    if set(protocols) - {OFFICIAL}:
        raise InputError("a folder of predictions has a box in every frame: it is scored by --protocol official")
    suite = SUITES["got10k"]
    items = suite.read(annotations, None, split, num_frames=None)
    tracks = read_predictions(folder, items)
    graded = [Graded(item, "", track) for item in items for track in tracks[item.id]]  # repetitions are pooled
    task = TASKS[suite.task]
    return {task.name: score_answers("got10k", task, graded, [OFFICIAL])}


def _require_folder_of_boxes(suite: str, protocols: tuple[str, ...], file: Path) -> None:
    """Raise InputError for replies on a few frames where GOT-10k's own protocol, on every frame, is asked for."""
    if suite == "got10k" and "official" in protocols:
        raise InputError(
            f"{file}: --protocol official scores a box in every frame: give the folder of predictions as the "
            "toolkit writes it, or score replies by official_on_n_frames or paper"
        )
