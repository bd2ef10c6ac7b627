"""GOT-10k: ``{split}/list.txt`` and one folder per sequence, with frames, ``groundtruth.txt`` and labels.

The files have one box ``x, y, w, h`` in pixels per frame, at 10 frames per second; boxes of samples are fractions.
"""

from __future__ import annotations

import configparser
import glob
import math
from collections.abc import Sequence
from pathlib import Path

from timesight.data.records import make_sample
from timesight.data.sources.files import Source, official_file, read_lines
from timesight.data.videos import Videos
from timesight.errors import SampleError
from timesight.files import read_text
from timesight.geometry import shift_into_frame
from timesight.tasks.object_tracking import ObjectTracking
from timesight.types import Box, Sample

FPS = 10.0
NUM_FRAMES = 8  # as in the paper (table 4)


def read(annotations: Path, videos: Videos, split: str, *, num_frames: int | None = NUM_FRAMES) -> list[Sample]:
    """Read one tracking sample per sequence.

    The object is absent from frames with ``cover.label`` 0 or ``absence.label`` 1. With every frame only
    ``cover.label`` counts, as in the GOT-10k toolkit.

    Args:
        annotations, split: As in ``Source``.
        videos: Not used; the frames are next to the annotations.
        num_frames: Of each sample, evenly spaced in the sequence; None takes every frame.
    """
    root = annotations / split
    return [
        _sequence(root / line.strip(), where, num_frames)
        for where, line in read_lines(official_file(root, "list.txt"))
    ]


def _sequence(folder: Path, where: str, num_frames: int | None) -> Sample:
    boxes_px = _numbers(official_file(folder, "groundtruth.txt"), 4)
    width_px, height_px, name = _meta(official_file(folder, "meta_info.ini"))
    cover = _numbers(official_file(folder, "cover.label"), 1)
    absence = _numbers(official_file(folder, "absence.label"), 1)
    if not len(boxes_px) == len(cover) == len(absence):
        raise SampleError(f"{folder}: {len(boxes_px)} boxes, {len(cover)} cover and {len(absence)} absence labels")
    count = min(num_frames or len(boxes_px), len(boxes_px))
    # The toolkit, which scores every frame, uses cover.label alone.
    hidden = [c == 0 or (num_frames is not None and a == 1) for (c,), (a,) in zip(cover, absence, strict=True)]
    chosen = [k * len(boxes_px) // count for k in range(count)]
    return make_sample(
        where,
        ObjectTracking.name,
        id=f"got10k/{folder.name}",
        video={"path": folder, "fps": FPS},
        object=name,
        times_s=[index / FPS for index in chosen],
        boxes=[
            [x / width_px, y / height_px, (x + w) / width_px, (y + h) / height_px]
            for x, y, w, h in (boxes_px[index] for index in chosen)
        ],
        absent=[n for n, index in enumerate(chosen) if hidden[index]],
        meta={"duration_s": len(boxes_px) / FPS},
    )


def _numbers(file: Path, columns: int) -> list[list[float]]:
    rows = []
    for where, line in read_lines(file):
        try:
            row = [float(number) for number in line.split(",")]
        except ValueError:
            row = []
        if len(row) != columns or not all(map(math.isfinite, row)):
            raise SampleError(f"{where}: is not {columns} finite number{'s' if columns > 1 else ''}")
        rows.append(row)
    return rows


def _meta(file: Path) -> tuple[float, float, str]:
    """Width and height in pixels, and the object's class."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(file))
        width_px, height_px = parser["METAINFO"]["resolution"].strip("() ").split(",")
        return float(width_px), float(height_px), parser["METAINFO"]["object_class"].replace("_", " ")
    except (configparser.Error, KeyError, ValueError) as error:
        raise SampleError(f"{file}: has no usable resolution and object_class ({error!r})") from None


def read_predictions(folder: Path, samples: Sequence[Sample]) -> dict[str, list[tuple[Box, ...]]]:
    """Read a tracker's results in the format of the GOT-10k toolkit.

    Args:
        folder: With ``SEQUENCE/SEQUENCE_001.txt``, one box per frame, and ``_002.txt`` and so on for repetitions.
        samples: Of ``read`` with ``num_frames=None``.

    Returns:
        By sample id, one track per repetition: boxes in fractions of the frame, bounded as the toolkit does.

    Raises:
        SampleError: If a sequence has no track, or a track has not one box per frame.
    """
    tracks: dict[str, list[tuple[Box, ...]]] = {}
    for sample in samples:
        name = sample.video.path.name
        width_px, height_px, _ = _meta(sample.video.path / "meta_info.ini")
        files = sorted((folder / name).glob(f"{glob.escape(name)}_[0-9]*.txt"))
        mine = tracks[sample.id] = []
        for file in files or [official_file(folder / name, f"{name}_001.txt")]:
            rows = _numbers(file, 4)
            if len(rows) != len(sample.times_s):  # type: ignore[attr-defined] # of object_tracking
                raise SampleError(
                    f"{file}: {len(rows)} boxes for {len(sample.times_s)} frames; write a box for each"  # type: ignore[attr-defined]
                )
            mine.append(tuple(_box(row, width_px, height_px) for row in rows))
    return tracks


def _box(row: list[float], width_px: float, height_px: float) -> Box:
    """``row`` (x, y, w, h in pixels) as a box, bounded to the frame as the toolkit does."""
    x, y, w, h = row
    return shift_into_frame(x / width_px, y / height_px, (x + w) / width_px, (y + h) / height_px)


SOURCE = Source(
    task=ObjectTracking.name,
    splits={"train": "train", "val": "val"},
    files="{split}/list.txt and a folder for each sequence",
    read=read,
)
