"""Thumbnails of a video's frames for reports."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from timesight.video import Frames

NUM_FRAMES = 10
HEIGHT_PX = 96


def write_thumbnails(out: Path, name: str, frames: Frames) -> list[str]:
    """Write about ``NUM_FRAMES`` evenly spaced frames as JPEG files of ``HEIGHT_PX`` pixels in height.

    Args:
        out: Folder of the report; the files go to its subfolder ``thumbnails``.
        name: Start of the file names.
        frames: Of one video.

    Returns:
        Paths of the files relative to ``out``.
    """
    (out / "thumbnails").mkdir(exist_ok=True)
    step = max(1, len(frames.pixels) // NUM_FRAMES)
    names = []
    for index in range(0, len(frames.pixels), step):
        names.append(f"thumbnails/{name}-{index:02d}.jpg")
        image = Image.fromarray(frames.pixels[index])
        width = round(image.width * HEIGHT_PX / image.height)
        image.resize((width, HEIGHT_PX)).save(out / names[-1], quality=85)
    return names
