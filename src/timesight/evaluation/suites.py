"""The benchmarks: one declaration each. A suite says what is read, how it is asked, and what is reported.

A benchmark of the user is a source in ``timesight.data.sources`` and an entry here (docs/evaluation.md). The
paper's rows are those of its tables 1, 6 and 8, as fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timesight.data import SOURCES, read
from timesight.errors import InputError
from timesight.types import Sample

BASE, OURS, THINKING = "Qwen2.5-VL-7B", "VideoChat-R1", "VideoChat-R1-thinking"
Rows = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    ``source`` and ``split`` name what ``timesight.data.read`` reads; the task is the source's. ``by`` are the keys
    of ``meta`` that its authors break results down by; ``average_over`` the one of them whose values count alike,
    however many items they have. ``paper`` are the paper's figures by model, computed by ``paper_protocol``, and
    ``paper_parts`` those on a part of the items, by key and value of a breakdown.
    ``subtitles``: whether there are any. What is read of a video is the model's own budget, here as anywhere.
    """

    title: str
    source: str
    split: str
    by: tuple[str, ...] = ()
    average_over: str | None = None
    paper: Rows = field(default_factory=dict)
    paper_parts: Mapping[str, Mapping[str, Rows]] = field(default_factory=dict)
    paper_protocol: str = "official"
    subtitles: bool = False

    def paper_json(self) -> dict[str, Any]:
        """The paper's figures as ``result.json`` keeps them."""
        return {"protocol": self.paper_protocol, "rows": self.paper, "parts": self.paper_parts}

    @property
    def task(self) -> str:
        """The task of all its items."""
        return SOURCES[self.source].task

    def read(
        self, annotations: Path, videos: Path | None, split: str | None = None, **options: Any
    ) -> list[Sample]:
        """The items; ``options`` are the source's. Raises InputError for what it does not have, and SampleError."""
        if options.get("subtitles") and not self.subtitles:
            raise InputError(f"{self.source} has no subtitles")
        wanted = {name: value for name, value in options.items() if value is not False}
        return read(self.source, annotations, videos, split or self.split, **wanted)


SUITES: dict[str, Suite] = {
    "charades_sta": Suite(
        "Charades-STA: when does it happen, indoors",
        source="charades_sta",
        split="test",
        paper={
            BASE: {"mIoU": 0.290, "R1@0.5": 0.242, "R1@0.7": 0.111},
            OURS: {"mIoU": 0.608, "R1@0.5": 0.717, "R1@0.7": 0.502},
            THINKING: {"mIoU": 0.599, "R1@0.5": 0.706, "R1@0.7": 0.472},
        },
    ),
    "activitynet_captions": Suite(
        "ActivityNet Captions: when does it happen, anywhere",
        source="activitynet_captions",
        split="val",
        paper={
            BASE: {"mIoU": 0.211, "R1@0.5": 0.158, "R1@0.7": 0.075},
            OURS: {"mIoU": 0.366, "R1@0.5": 0.334, "R1@0.7": 0.177},
            THINKING: {"mIoU": 0.355, "R1@0.5": 0.333, "R1@0.7": 0.167},
        },
    ),
    "nextgqa": Suite(
        "NExT-GQA: which answer, and where is the evidence",
        source="nextgqa",
        split="test",
        by=("type",),
        paper={
            BASE: {"mIoU": 0.154, "accuracy": 0.595},
            OURS: {"mIoU": 0.324, "accuracy": 0.706},
            THINKING: {"mIoU": 0.361, "accuracy": 0.692},
        },
        paper_protocol="paper",
    ),
    "got10k": Suite(
        "GOT-10k: where is the object in each frame",
        source="got10k",
        split="val",
        paper={
            BASE: {"overlap": 0.126, "R@0.5": 0.011},
            OURS: {"overlap": 0.438, "R@0.5": 0.382},
            THINKING: {"overlap": 0.433, "R@0.5": 0.339},
        },
        paper_protocol="paper",
    ),
    "videomme": Suite(
        "Video-MME: questions on videos of any length",
        source="videomme",
        split="test",
        by=("duration", "domain", "sub_category", "task_type"),
        subtitles=True,
        paper={BASE: {"accuracy": 0.644}, THINKING: {"accuracy": 0.621}},
        paper_parts={
            "duration": {
                "short": {BASE: {"accuracy": 0.713}, OURS: {"accuracy": 0.722}, THINKING: {"accuracy": 0.742}}
            }
        },
    ),
    "mvbench": Suite(
        "MVBench: twenty kinds of questions about motion",
        source="mvbench",
        split="test",
        by=("task",),
        average_over="task",
        paper={BASE: {"accuracy": 0.669}, OURS: {"accuracy": 0.679}, THINKING: {"accuracy": 0.662}},
    ),
    "perception_test": Suite(
        "Perception Test: memory, abstraction, physics, semantics",
        source="perception_test",
        split="val",
        by=("area", "reasoning", "tag"),
        paper={BASE: {"accuracy": 0.691}, OURS: {"accuracy": 0.700}, THINKING: {"accuracy": 0.696}},
    ),
    "longvideobench": Suite(
        "LongVideoBench: questions on videos of up to an hour",
        source="longvideobench",
        split="val",
        by=("duration_group", "question_category", "topic_category", "level"),
        subtitles=True,
        paper={BASE: {"accuracy": 0.560}, THINKING: {"accuracy": 0.519}},
    ),
    "dream1k": Suite(
        "DREAM-1K: what happens, event by event",
        source="dream1k",
        split="test",
        by=("subset",),
        paper={BASE: {"event_f1": 0.306, "event_precision": 0.338, "event_recall": 0.279}},
    ),
    "vidtab_quality": Suite(
        "VidTAB quality: is the video of low or high quality",
        source="vidtab_quality",
        split="test",
        by=("label",),
        paper={BASE: {"accuracy": 0.707}},
    ),
}


def find_suite(name: str) -> Suite:
    """The suite called ``name``. Raises InputError."""
    if name not in SUITES:
        raise InputError(f"no suite {name}: choose one of {', '.join(SUITES)}, or give a JSONL file of samples")
    return SUITES[name]
