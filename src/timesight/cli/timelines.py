"""Single items for the demo's report, with thumbnails and the answers before and after training."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from timesight.cli.thumbnails import write_thumbnails
from timesight.evaluation import EvalResult, kept_replies
from timesight.geometry import temporal_iou
from timesight.tasks import TASKS
from timesight.types import Sample, Span
from timesight.video import FrameBudget, read

NUM_GAINS, NUM_LOSSES, NUM_RANDOM = 3, 2, 3


def write_timelines(
    out: Path, samples: list[Sample], before: EvalResult, after: EvalResult, budget: FrameBudget, seed: int
) -> None:
    """Write ``timelines.json`` and ``thumbnails/``: the items with the largest gains and losses, and random ones.

    Only the first question on each video is used, so that no video is shown twice.

    Args:
        out: Run directory of the demo.
        samples: Temporal-grounding samples that were evaluated.
        before: Their result before training.
        after: Their result after training.
        budget: How frames are read.
        seed: Of the random choice.
    """
    samples = list({sample.video.path: sample for sample in reversed(samples)}.values())
    by_id = {sample.id: sample for sample in samples if sample.id in after.item_metrics}
    change = {id_: after.item_metrics[id_]["mIoU"] - before.item_metrics[id_]["mIoU"] for id_ in by_id}
    ranked = sorted(by_id, key=lambda id_: (change[id_], id_))
    chosen = dict.fromkeys(ranked[: -NUM_GAINS - 1 : -1], "one of the largest gains")
    chosen |= dict.fromkeys(ranked[:NUM_LOSSES], "one of the largest losses")
    rest = [id_ for id_ in ranked if id_ not in chosen]
    chosen |= dict.fromkeys(random.Random(seed).sample(rest, min(NUM_RANDOM, len(rest))), "drawn at random")
    replies = {when: kept_replies(out / "eval" / f"{when}-greedy").replies for when in ("before", "after")}
    items = [
        _item(
            out,
            number,
            by_id[id_],
            why,
            {when: given.get(id_, "") for when, given in replies.items()},
            budget,
        )
        for number, (id_, why) in enumerate(chosen.items())
    ]
    (out / "timelines.json").write_text(json.dumps(items, indent=1), encoding="utf-8")


def _item(
    out: Path, number: int, sample: Any, why: str, replies: dict[str, str], budget: FrameBudget
) -> dict[str, Any]:
    truth: Span = TASKS[sample.task].truth(sample)
    frames = read(sample.video, budget)
    lanes: list[dict[str, Any]] = [{"name": "truth", "span": _pair(truth), "iou": None}]
    for when, reply in replies.items():
        span = TASKS[sample.task].parse(reply, strict=False)
        lanes.append(
            {
                "name": when,
                "span": _pair(span) if span else None,
                "iou": temporal_iou(span, truth) if span else 0.0,
            }
        )
    return {
        "query": sample.query,
        "why": why,
        "duration_s": frames.duration_s,
        "lanes": lanes,
        "thumbnails": write_thumbnails(out, f"{number:02d}", frames),
    }


def _pair(span: Span) -> list[float]:
    return [span.start_s, span.end_s]
