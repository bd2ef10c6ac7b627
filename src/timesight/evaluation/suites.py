"""The benchmarks, one declaration each: what is read, how it is asked, and what is reported.

A new benchmark is a source in ``timesight.data.sources`` and an entry here (docs/evaluation.md). The paper's rows
are those of its tables 1, 6 and 8, as fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timesight.data import SOURCES, read, read_jsonl
from timesight.errors import InputError
from timesight.evaluation.figures import Scoring
from timesight.tasks import TASKS, TaskRegistry
from timesight.types import Sample

BASE, OURS, THINKING = "Qwen2.5-VL-7B", "VideoChat-R1", "VideoChat-R1-thinking"
Rows = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Suite:
    """A benchmark. The frame budget is that of the model, as everywhere.

    Args:
        title: One line for lists.
        source: What ``timesight.data.read`` reads. The task is that of the source.
        split: Its default split.
        by: Keys of ``meta`` by which the benchmark's authors break results down.
        average_over: The one of them whose values all have the same weight in the means, whatever their number of
            items; None: items are weighted as the task says.
        paper: The paper's figures by model and metric, fractions in [0, 1].
        paper_parts: Its figures on a part of the items, by key and value of a breakdown, model and metric.
        paper_protocol: The protocol that these were computed by.
        subtitles: Whether the source has subtitles.
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
        """Return the paper's figures in the form of ``result.json``."""
        return {"protocol": self.paper_protocol, "rows": self.paper, "parts": self.paper_parts}

    @property
    def task(self) -> str:
        """Name of the task of all items."""
        return SOURCES[self.source].task

    def read(
        self, annotations: Path, videos: Path | None, split: str | None = None, **options: Any
    ) -> list[Sample]:
        """Read the items from the benchmark's official files.

        Args:
            annotations: Folder of the official files.
            videos: Folder of the videos, however nested; None: none are looked for, as for scoring given replies.
            split: None: the default split.
            **options: Of the source, such as ``subtitles``; those that are False are left out.

        Raises:
            InputError: If the suite has no such split or option.
            SampleError: If an official file is missing or not what it should be.
        """
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
    """Return the suite called ``name``.

    Raises:
        InputError: If there is none; the message lists the suites.
    """
    if name not in SUITES:
        raise InputError(f"no suite {name}: choose one of {', '.join(SUITES)}, or give a JSONL file of samples")
    return SUITES[name]


def items_of(
    name: str | Path,
    annotations: str | Path | None = None,
    videos: str | Path | None = None,
    split: str | None = None,
    subtitles: bool = False,
    tasks: TaskRegistry = TASKS,
) -> tuple[Suite | None, list[Sample]]:
    """Read the items of a suite, or the samples of a JSONL file.

    Args:
        name: Name of a suite, or path of a file.
        annotations: Folder of the suite's official files; a suite needs it, a file must not have it.
        videos: Folder of the suite's videos.
        split: Split of the suite; None for its default.
        subtitles: Put subtitles into the prompts of the suite.
        tasks: Tasks of a file's samples.

    Returns:
        The suite, None for a file, and its items.

    Raises:
        InputError: If there is no such suite or file, or an option does not go with it.
        SampleError: If an official file or a sample is wrong.
    """
    if str(name) in SUITES or not (Path(name).suffix or Path(name).exists()):
        suite = find_suite(str(name))
        if annotations is None:
            raise InputError(
                f"{name}: say where its official files are (annotations), and where its videos are (videos)"
            )
        folder = None if videos is None else Path(videos)
        return suite, suite.read(Path(annotations), folder, split, subtitles=subtitles)
    given = {"annotations": annotations, "videos": videos, "split": split, "subtitles": subtitles}
    if wrong := [option for option, value in given.items() if value]:
        raise InputError(f"{wrong[0]} goes with a suite; {name} is a file of samples")
    return None, read_jsonl(Path(name), tasks)


def scoring_of(suite: Suite | None, protocols: Sequence[str] = ()) -> Scoring:
    """What is reported of a suite, or of a file of samples (None), by these protocols; empty: by all."""
    return Scoring(tuple(protocols) or None, *((suite.by, suite.average_over) if suite else ()))
