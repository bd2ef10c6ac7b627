"""Rendering of a scene: textured, noisy background and anti-aliased shapes, as uint8 RGB frames."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from timesight.world.scene import COLORS, FPS, Defect, Scene, Shape

Frame = NDArray[np.float32]  # (H, W, 3), gray levels
NOISE = 6.0  # standard deviation of the noise of each frame, in gray levels
# What a defect of strength 1 does.
SNOW, LOST = 0.3, 0.6  # shares of the pixels that turn white, and of the blocks that turn gray
DARKNESS, PALENESS = 0.85, 0.8  # shares of the light, and of the contrast, that are missing
BLOCK = 0.17  # side of a block, as a share of the frame's shorter side
WHITE, GRAY = 235.0, 128.0
SPARK_AWAY = 1.4  # radii from a shape's center to that of its spark, toward the frame's middle
RIM = 0.4  # of a circle, in radii
STRIPES = 5  # across a frame of another background


def render(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """Render a scene.

    Yields:
        Its frames in order, (H, W, 3), uint8 RGB.
    """
    rng = np.random.default_rng((*scene.seed, 1))
    background = _stripes(scene, rng) if scene.shift == "background" else _clouds(scene, rng)
    for index in range(scene.num_frames):
        frame = background + rng.standard_normal(background.shape, dtype=np.float32) * np.float32(NOISE)
        for shape in scene.shapes:
            if shape.shown_at(index / FPS):
                _draw(frame, shape, index / FPS)
        if (defect := scene.defect_at(index / FPS)) is not None:
            frame = _spoil(frame, defect, rng)
        yield np.clip(frame, 0, 255).astype(np.uint8)


def _spoil(frame: Frame, defect: Defect, rng: np.random.Generator) -> Frame:
    """``frame`` with the defects of a bad camera or transmission.

    Each changes the mean of what a patch shows. Blur and fine noise do not: a small vision tower, whose first layer
    is linear, did not learn to see them.
    """
    height, width = frame.shape[:2]
    if defect.kind == "snow":
        flakes = rng.random((height, width, 1)) < defect.strength * SNOW
        return np.where(flakes, np.float32(WHITE), frame)
    if defect.kind == "dark":
        return frame * np.float32(1 - defect.strength * DARKNESS)
    if defect.kind == "pale":
        return frame + (WHITE - frame) * np.float32(defect.strength * PALENESS)
    side = round(BLOCK * min(height, width))
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    lost = rng.random((rows, columns, 1)) < defect.strength * LOST
    return np.where(lost.repeat(side, 0).repeat(side, 1)[:height, :width], np.float32(GRAY), frame)


def _clouds(scene: Scene, rng: np.random.Generator) -> Frame:
    """A dark cloudy texture: coarse noise, enlarged smoothly, around a random color."""
    coarse = rng.uniform(-28, 28, size=(6, 6, 3)) + rng.uniform(40, 100, size=3)
    image = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    enlarged = image.resize((scene.width_px, scene.height_px), Image.Resampling.BICUBIC)
    return np.asarray(enlarged, dtype=np.float32)


def _stripes(scene: Scene, rng: np.random.Generator) -> Frame:
    """Slanted stripes of two random colors, which no scene but those of this shift has."""
    colors = rng.uniform(20, 130, size=(2, 3))
    y, x = np.mgrid[: scene.height_px, : scene.width_px]
    band = (x / scene.width_px + y / scene.height_px) * STRIPES
    frame: Frame = colors[band.astype(int) % 2].astype(np.float32)
    return frame


def _draw(frame: Frame, shape: Shape, time_s: float) -> None:
    """Blend ``shape`` with its details, as they are at ``time_s``, into ``frame`` in place."""
    height, width = frame.shape[:2]
    center_x, center_y = shape.center_at(time_s)
    center, radius = (center_x * width, center_y * height), shape.radius * min(height, width)
    _blend(frame, shape.kind, center, radius, shape.color)
    if shape.detail is None:
        return
    small = shape.detail.radius * radius
    _blend(frame, "dot", center, small, shape.detail.dot)
    if shape.detail.spark_span.start_s <= time_s < shape.detail.spark_span.end_s:
        inward = 1 if center_x < 0.5 else -1
        _blend(frame, "dot", (center[0] + inward * SPARK_AWAY * radius, center[1]), small, shape.detail.spark)


def _blend(frame: Frame, kind: str, center: tuple[float, float], radius: float, color: str) -> None:
    """Blend one shape into ``frame`` in place, one pixel soft at the edge. Lengths are in pixels."""
    height, width = frame.shape[:2]
    left, right = max(0, int(center[0] - radius - 2)), min(width, int(center[0] + radius + 3))
    top, bottom = max(0, int(center[1] - 1.2 * radius - 2)), min(height, int(center[1] + 1.2 * radius + 3))
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32)[None, :] + 0.5 - center[0]
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5 - center[1]
    if kind == "dot":
        distance = np.hypot(x, y) - radius
    elif kind == "circle":  # a ring: at 20 pixels nothing else tells a disk from a square
        distance = np.abs(np.hypot(x, y) - (1 - RIM / 2) * radius) - RIM / 2 * radius
    elif kind == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - 0.88 * radius
    else:  # a triangle that stands on its base: from 1.1 radii above the center to 0.9 below
        distance = np.maximum(0.894 * np.abs(x) - 0.447 * y - 0.492 * radius, y - 0.9 * radius)
    cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]  # (h, w, 1)
    part = frame[top:bottom, left:right]
    part += cover * (np.array(COLORS[color], dtype=np.float32) - part)
