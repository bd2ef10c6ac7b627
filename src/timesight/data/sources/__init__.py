"""Published sources, one file each: from their official annotation files to samples."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

from timesight.data.sources.activitynet_captions import SOURCE as ACTIVITYNET_CAPTIONS
from timesight.data.sources.charades_sta import SOURCE as CHARADES_STA
from timesight.data.sources.dream1k import SOURCE as DREAM1K
from timesight.data.sources.fiber import SOURCE as FIBER
from timesight.data.sources.files import Source
from timesight.data.sources.got10k import SOURCE as GOT10K
from timesight.data.sources.longvideobench import SOURCE as LONGVIDEOBENCH
from timesight.data.sources.mvbench import SOURCE as MVBENCH
from timesight.data.sources.nextgqa import SOURCE as NEXTGQA
from timesight.data.sources.perception_test import SOURCE as PERCEPTION_TEST
from timesight.data.sources.videochat_r1 import SOURCE as VIDEOCHAT_R1
from timesight.data.sources.videomme import SOURCE as VIDEOMME
from timesight.data.sources.vidtab_quality import SOURCE as VIDTAB_QUALITY
from timesight.data.videos import Videos
from timesight.errors import InputError
from timesight.types import Sample

LOGGER = logging.getLogger("timesight")
FIXED = ("annotations", "videos", "split")
NAMED_IN_WARNINGS = 3

SOURCES: dict[str, Source] = {
    "charades_sta": CHARADES_STA,
    "activitynet_captions": ACTIVITYNET_CAPTIONS,
    "nextgqa": NEXTGQA,
    "got10k": GOT10K,
    "fiber": FIBER,
    "vidtab_quality": VIDTAB_QUALITY,
    "videomme": VIDEOMME,
    "mvbench": MVBENCH,
    "perception_test": PERCEPTION_TEST,
    "longvideobench": LONGVIDEOBENCH,
    "dream1k": DREAM1K,
    "videochat_r1": VIDEOCHAT_R1,
}


def read(
    name: str,
    annotations: str | Path,
    videos: str | Path | None = None,
    split: str = "train",
    **options: Any,
) -> list[Sample]:
    """Read the samples of a published source from its official files.

    Videos that are not found, or found in several folders, are counted and named in a warning.

    Args:
        name: One of ``SOURCES``.
        annotations: Folder with the annotation files under their official names.
        videos: Folder to search for videos, at any depth; None does not look for them.
        split: One of the source's ``splits``.
        **options: Of the source, such as ``subtitles=True`` of ``videomme``.

    Returns:
        Samples. Odd records are kept; what is wrong with them is in ``problems``.

    Raises:
        InputError: If there is no such source, split, option or folder of videos, or a dependency is missing.
        SampleError: If an official file is missing or not in the official format.
    """
    index = Videos(Path(videos) if videos else None)
    samples = read_indexed(name, Path(annotations), index, split, **options)
    for kind, names in (("not found", index.missing), ("more than once", index.ambiguous)):
        if names := list(dict.fromkeys(names)):
            shown = ", ".join(names[:NAMED_IN_WARNINGS]) + (", …" if len(names) > NAMED_IN_WARNINGS else "")
            LOGGER.warning("%s: %d videos of %s %s: %s", index.root, len(names), name, kind, shown)
    return samples


def read_indexed(name: str, annotations: Path, videos: Videos, split: str, **options: Any) -> list[Sample]:
    """Read the samples of a published source, as ``read`` does, with a given index of videos.

    There is no warning: the index lists afterwards which videos are ``missing`` or ``ambiguous``.

    Raises:
        InputError: As ``read``.
        SampleError: As ``read``.
    """
    if name not in SOURCES:
        raise InputError(f"no source {name}: choose one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    known = [option for option in inspect.signature(source.read).parameters if option not in FIXED]
    if unknown := [option for option in options if option not in known]:
        raise InputError(f"{name} has no option {unknown[0]}; it has {', '.join(known) or 'none'}")
    return source.read(annotations, videos, source.split(name, split), **options)
