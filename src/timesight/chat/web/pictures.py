"""The frames that a model was shown, as a contact sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from timesight.video import Frames

HEIGHT_PX = 72
COLUMNS, ROWS = 4, 2
GAP_PX = 2
BACKGROUND = "#eeeeee"  # that of a reply's cell
QUALITY = 80


def contact_sheet(frames: Sequence[Frames]) -> str:
    """Return a contact sheet of up to ``COLUMNS`` × ``ROWS`` evenly spaced frames.

    Frames that are enlarged are not smoothed, so that the pixels are those that the model got.

    Args:
        frames: Of one pass, at least one frame.

    Returns:
        A JPEG as a ``data:`` URI.
    """
    shown = [pixels for mine in frames for pixels in mine.pixels]
    places = np.linspace(0, len(shown) - 1, min(COLUMNS * ROWS, len(shown))).round().astype(int)
    pictures = [_small(shown[place]) for place in places]
    width, height = max(picture.width for picture in pictures) + GAP_PX, HEIGHT_PX + GAP_PX
    num_rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (width * min(COLUMNS, len(pictures)), height * num_rows), BACKGROUND)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, COLUMNS)
        sheet.paste(picture, (width * column, height * row))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _small(pixels: NDArray[np.uint8]) -> Image.Image:
    height, width = pixels.shape[:2]
    how = Image.Resampling.NEAREST if height < HEIGHT_PX else Image.Resampling.BICUBIC
    return Image.fromarray(pixels).resize((max(1, round(width * HEIGHT_PX / height)), HEIGHT_PX), how)
