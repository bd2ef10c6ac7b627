"""What a model was shown, as a strip of small pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from timesight.video import Frames

HEIGHT_PX = 72
MOST = 8
QUALITY = 80


def strip(frames: Sequence[Frames]) -> str:
    """A JPEG as a ``data:`` address: at most ``MOST`` of ``frames``, evenly spread, side by side at one height.

    Pixels are shown as the model got them, enlarged without smoothing.
    """
    shown = [pixels for mine in frames for pixels in mine.pixels]
    chosen = [shown[n] for n in np.linspace(0, len(shown) - 1, min(MOST, len(shown))).round().astype(int)]
    pictures = []
    for pixels in chosen:
        height, width = pixels.shape[:2]
        size = (max(1, round(width * HEIGHT_PX / height)), HEIGHT_PX)
        enlarged = height < HEIGHT_PX
        how = Image.Resampling.NEAREST if enlarged else Image.Resampling.BICUBIC
        pictures.append(Image.fromarray(pixels).resize(size, how))
    sheet = Image.new("RGB", (sum(picture.width + 2 for picture in pictures), HEIGHT_PX))
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + 2
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
