"""VideoChat-R1-18k: the paper's training data (section 3.3), built from those of its sources that are on disk.

``joint.jsonl`` holds temporal grounding, tracking and grounded questions; ``captions.jsonl`` and ``quality.jsonl``
are trained on alone, as in the paper.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from timesight.data.jsonl import write_jsonl
from timesight.data.sources import read_indexed
from timesight.data.videos import Videos
from timesight.errors import InputError, SampleError
from timesight.files import require_new
from timesight.types import Sample

Queries = Literal["one-per-video", "all"]


@dataclass(frozen=True)
class Ingredient:
    """One source of the training set.

    Args:
        split: Our name of the split.
        paper_count: Number of samples according to the paper.
        file: Name, without extension, of the JSONL file that the samples go into.
    """

    split: str
    paper_count: int
    file: str


VIDEOCHAT_R1_18K: dict[str, Ingredient] = {
    "charades_sta": Ingredient("train", 5338, "joint"),
    "got10k": Ingredient("train", 9335, "joint"),
    "nextgqa": Ingredient("val", 3358, "joint"),
    "fiber": Ingredient("train", 1000, "captions"),
    "vidtab_quality": Ingredient("train", 200, "quality"),
}


def annotations_in(folder: Path) -> Path:
    """Where the annotations of a source are that lies in ``folder``: in its ``annotations``, if there are such."""
    return inner if (inner := folder / "annotations").is_dir() else folder


@dataclass
class Built:
    """The result of building one source.

    Args:
        count: Number of samples written.
        file: Where they are; None if there are none.
        reasons: Why ``count`` is not ``paper_count``.
        is_broken: Whether the source is there but cannot be read.
    """

    source: str
    paper_count: int
    count: int = 0
    file: Path | None = None
    reasons: list[str] = field(default_factory=list)
    is_broken: bool = False


def build(
    annotations: Mapping[str, Path],
    videos: Mapping[str, Path],
    out: Path,
    *,
    queries: Queries = "one-per-video",
    seed: int = 0,
) -> list[Built]:
    """Build VideoChat-R1-18k and write it as JSONL.

    Samples whose truth cannot be used, or whose video is not found, are left out and counted. So is a source
    without annotations, or whose files cannot be read.

    Args:
        annotations: Folder of official files, by source (``VIDEOCHAT_R1_18K``).
        videos: Folder of videos, by source.
        out: Folder to write to.
        queries: Of Charades-STA: one query of each video, as the paper counts, or all of them.
        seed: Of the choice of one query.

    Returns:
        One result per source of the set.

    Raises:
        InputError: If there is no source, a source is not of this set, no sample can be used, or a file of the set
            exists already or cannot be written.
    """
    if unknown := sorted({*annotations, *videos} - VIDEOCHAT_R1_18K.keys()):
        raise InputError(f"{unknown[0]} is no source of this set; it is made of {', '.join(VIDEOCHAT_R1_18K)}")
    if not annotations:
        raise InputError("no source found: give a folder with one folder a source, such as charades_sta/")
    for ingredient in VIDEOCHAT_R1_18K.values():
        require_new(_file(out, ingredient))
    results: list[Built] = []
    files: dict[Path, list[Sample]] = defaultdict(list)
    for name, ingredient in VIDEOCHAT_R1_18K.items():
        built = Built(name, ingredient.paper_count)
        results.append(built)
        samples = _taken(built, ingredient, annotations.get(name), videos.get(name), queries, seed)
        if samples:
            built.count, built.file = len(samples), _file(out, ingredient)
            files[built.file] += samples
    if not files:
        told = "; ".join(f"{built.source}: {', '.join(built.reasons)}" for built in results)
        raise InputError(f"{out}: nothing is written, for no sample can be used ({told})")
    for file, samples in files.items():
        write_jsonl(file, samples)
    return results


def one_per_video(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Draw one sample of each video at random; the draw of one video does not depend on the others."""
    by_video: dict[Path, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_video[sample.video.path].append(sample)
    return [
        mine[int(np.random.default_rng((seed, *path.name.encode())).integers(len(mine)))]
        for path, mine in by_video.items()
    ]


def _file(out: Path, ingredient: Ingredient) -> Path:
    return out / f"{ingredient.file}.jsonl"


def _taken(
    built: Built,
    ingredient: Ingredient,
    annotations: Path | None,
    videos: Path | None,
    queries: Queries,
    seed: int,
) -> list[Sample]:
    """The samples of a source that go into the set; why they are not as many as the paper's goes to ``built``."""
    if annotations is None:
        built.reasons.append("not found")
        return []
    try:
        samples = _usable(built, ingredient, annotations, videos)
    except SampleError as error:
        built.reasons.append(str(error))
        built.is_broken = True
        return []
    if built.source == "charades_sta" and queries == "one-per-video":
        samples = one_per_video(samples, seed)
    elif built.source == "charades_sta":
        built.reasons.append("all queries; the paper counts videos")
    if not built.reasons and len(samples) != built.paper_count:
        built.reasons.append(f"the annotations hold {len(samples)}")
    return samples


def _usable(built: Built, ingredient: Ingredient, annotations: Path, videos: Path | None) -> list[Sample]:
    """The samples that can be trained on; why others are left out goes to ``built``."""
    index = Videos(videos)
    samples = read_indexed(built.source, annotations, index, ingredient.split)
    there = [sample for sample in samples if sample.video.path.exists()]
    if missing := len({s.video.path for s in samples} - {s.video.path for s in there}):
        built.reasons.append(f"{missing} videos not found")
    if index.ambiguous:
        built.reasons.append(f"{len(set(index.ambiguous))} videos found more than once")
    usable = [sample for sample in there if not sample.problems]
    if len(usable) < len(there):
        built.reasons.append(f"{len(there) - len(usable)} with unusable truth")
    return usable
