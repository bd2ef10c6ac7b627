"""Rendering of a scene: textured, noisy background and anti-aliased shapes, as uint8 RGB frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from timesight.world.scene import COLORS, FPS, Defect, Scene, Shape

NOISE = 6.0  # standard deviation of the noise of each frame, in gray levels
DEFECT_NOISE = 55.0
BLOCK_PX = 12
DARKNESS = 0.2


def render(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """Render a scene.

    Yields:
        Its frames in order, (H, W, 3), uint8 RGB.
    """
    rng = np.random.default_rng((*scene.seed, 1))
    background = _background(scene, rng)
    for index in range(scene.num_frames):
        frame = background + _grain(scene, rng)
        for shape in scene.shapes:
            if shape.shown_at(index / FPS):
                _draw(frame, shape, index / FPS)
        yield np.clip(_spoil(frame, scene.defect, rng), 0, 255).astype(np.uint8)


def _grain(scene: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise (H, W, 3) whose grain is scaled with the frame, like the shapes."""
    height, width = scene.height_px // scene.scale, scene.width_px // scene.scale
    noise = rng.normal(0.0, NOISE, (height, width, 3)).astype(np.float32)
    return noise.repeat(scene.scale, 0).repeat(scene.scale, 1)


def _spoil(
    frame: NDArray[np.float32], defect: Defect | None, rng: np.random.Generator
) -> NDArray[np.floating[Any]]:
    """``frame`` (H, W, 3) with the defects of a bad camera or encoder."""
    if defect == "noise":
        return frame + rng.normal(0.0, DEFECT_NOISE, frame.shape)
    if defect == "blocks":
        corners = frame[::BLOCK_PX, ::BLOCK_PX]
        return corners.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)[: frame.shape[0], : frame.shape[1]]
    return frame * DARKNESS if defect == "dark" else frame


def _background(scene: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    """A dark cloudy texture: coarse noise, enlarged smoothly, around a random color."""
    coarse = rng.uniform(-28, 28, size=(6, 6, 3)) + rng.uniform(40, 100, size=3)
    image = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    enlarged = image.resize((scene.width_px, scene.height_px), Image.Resampling.BICUBIC)
    return np.asarray(enlarged, dtype=np.float32)


def _draw(frame: NDArray[np.float32], shape: Shape, time_s: float) -> None:
    """Blend ``shape``, as it is at ``time_s``, into ``frame`` (H, W, 3) in place, one pixel soft at the edge."""
    height, width = frame.shape[:2]
    center = shape.center_at(time_s)
    radius = shape.radius * min(height, width)
    x = np.arange(width, dtype=np.float32)[None, :] + 0.5 - center[0] * width
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5 - center[1] * height
    if shape.kind == "circle":
        distance = np.hypot(x, y) - radius
    elif shape.kind == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - 0.88 * radius
    else:  # a triangle that stands on its base: from 1.1 radii above the center to 0.9 below
        distance = np.maximum(0.894 * np.abs(x) - 0.447 * y - 0.492 * radius, y - 0.9 * radius)
    cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]  # (H, W, 1)
    frame += cover * (_paint(shape, time_s, x, y, min(height, width)) - frame)


def _paint(
    shape: Shape, time_s: float, x: NDArray[np.float32], y: NDArray[np.float32], side_px: int
) -> NDArray[np.float32]:
    """The color of ``shape`` at each pixel, (H, W, 3) or (3,); ``x`` and ``y`` count from its center."""
    color = np.array(COLORS[shape.color], dtype=np.float32)
    if shape.detail is None:
        return color
    if shape.detail.flash.start_s <= time_s < shape.detail.flash.end_s:
        return np.array(COLORS[shape.detail.flash_color], dtype=np.float32)
    inside = np.hypot(x, y) < shape.detail.mark_share * shape.radius * side_px
    mark = np.array(COLORS[shape.detail.mark_color], dtype=np.float32)
    return np.where(inside[..., None], mark, color)
