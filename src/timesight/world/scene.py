"""Scenes of the synthetic world: shapes that appear, move, blink and vanish, with exact ground truth.

A scene is a pure function of its seed. All times are multiples of the frame interval (1 / FPS), so that
the truth is exactly what the decoded frames show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from timesight.geometry import clip_box
from timesight.types import Box, Span
from timesight.world.settings import WorldSettings

FPS = 10
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (225, 45, 40),
    "green": (40, 190, 70),
    "blue": (50, 90, 235),
    "yellow": (240, 215, 50),
    "white": (245, 245, 245),
}
KINDS = ("circle", "square", "triangle")
SIZES_PX = ((64, 64), (96, 96), (96, 64), (64, 96), (128, 96))  # width, height
CELLS = ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73))  # centers, as fractions of the frame
BLINK_FRAMES = 10  # half of them dark
MIN_ACTING_S = 1.5  # a shape shown for less neither moves nor blinks

DEFECT_SHARE = 0.25  # of the scenes, with ``defects``
PLAIN, DETAILED = (0.12, 0.5), (0.1, 0.25)  # least and largest share of a video in which a shape is visible
DETAIL_SCALE = 2  # factor on the size of frames with details
FLASH_FRAMES = 2

Action = Literal["is visible", "moves", "blinks"]
Defect = Literal["noise", "blocks", "dark"]
DEFECTS: tuple[Defect, ...] = get_args(Defect)
# How far a shape reaches left and right, up, and down from its center, in radii.
REACH = {"circle": (1.0, 1.0, 1.0), "square": (0.88, 0.88, 0.88), "triangle": (1.0, 1.1, 0.9)}


@dataclass(frozen=True)
class Event:
    """An event: ``shape`` ("red circle", "first shape") does ``action`` during ``span``."""

    shape: str
    action: Action
    span: Span

    @property
    def sentence(self) -> str:
        """The event in words, as in queries and captions."""
        return f"the {self.shape} {self.action}"


@dataclass(frozen=True)
class Detail:
    """Details of a shape that need a high resolution and frame rate: a small mark inside, and a flash.

    Args:
        mark_color: One of ``COLORS``.
        mark_share: Radius of the mark as a share of the shape's.
        flash_color: One of ``COLORS``.
        flash: When the shape has that color.
    """

    mark_color: str
    mark_share: float
    flash_color: str
    flash: Span


@dataclass(frozen=True)
class Shape:
    """One colored shape.

    Args:
        color: One of ``COLORS``.
        kind: One of ``KINDS``.
        radius: As a share of the frame's shorter side.
        begin: First center (x, y), as fractions of the frame's width and height.
        end: Last center.
        visible: When it is shown.
        moves: When it moves from ``begin`` to ``end``; None if it does not.
        blinks: When it blinks; None if it does not.
        detail: Its mark and flash; None without details.
    """

    color: str
    kind: str
    radius: float
    begin: tuple[float, float]
    end: tuple[float, float]
    visible: Span
    moves: Span | None
    blinks: Span | None
    detail: Detail | None = None

    @property
    def name(self) -> str:
        """Color and kind, such as "red circle"; unique within a scene."""
        return f"{self.color} {self.kind}"

    def shown_at(self, time_s: float) -> bool:
        """Whether the shape is drawn in the frame at ``time_s``: visible and not in a dark phase of blinking."""
        if not self.visible.start_s <= time_s < self.visible.end_s:
            return False
        if self.blinks and self.blinks.start_s <= time_s < self.blinks.end_s:
            frames_in = round((time_s - self.blinks.start_s) * FPS)
            return frames_in % BLINK_FRAMES >= BLINK_FRAMES // 2
        return True

    def center_at(self, time_s: float) -> tuple[float, float]:
        """Center (x, y) at ``time_s``, as fractions of the frame."""
        if self.moves is None:
            return self.begin
        share = float(np.clip((time_s - self.moves.start_s) / self.moves.length_s, 0.0, 1.0))
        return (
            self.begin[0] + share * (self.end[0] - self.begin[0]),
            self.begin[1] + share * (self.end[1] - self.begin[1]),
        )

    def box_at(self, time_s: float, size_px: tuple[int, int]) -> Box:
        """Compute the box around the shape, whether or not it is visible, clipped to the frame.

        Args:
            time_s: Seconds from the start of the video.
            size_px: Width and height of the frame, for its aspect ratio.
        """
        x, y = self.center_at(time_s)
        sideways, up, down = (reach * self.radius * min(size_px) for reach in REACH[self.kind])
        width_px, height_px = size_px
        edges = (x - sideways / width_px, y - up / height_px, x + sideways / width_px, y + down / height_px)
        return clip_box(*edges)

    @property
    def action(self) -> str:
        """What it does while it is visible: ``stays``, ``moves`` or ``blinks``."""
        return "moves" if self.moves else "blinks" if self.blinks else "stays"

    def events(self) -> Iterator[Event]:
        """The events of this shape. A blinking one is visible on and off, so its only event is the blinking."""
        if self.blinks:
            yield Event(self.name, "blinks", self.blinks)
            return
        yield Event(self.name, "is visible", self.visible)
        if self.moves:
            yield Event(self.name, "moves", self.moves)


@dataclass(frozen=True)
class Scene:
    """One video: all that is needed to render it and to ask about it.

    Args:
        name: For ids and files.
        seed: Of the random numbers of rendering and questions.
        width_px: Of the frames.
        height_px: Of the frames.
        num_frames: At ``FPS`` frames per second.
        shapes: In no particular order.
        defect: What lowers the visual quality; None if it is high.
    """

    name: str
    seed: tuple[int, ...]
    width_px: int
    height_px: int
    num_frames: int
    shapes: tuple[Shape, ...]
    defect: Defect | None = None

    @property
    def scale(self) -> int:
        """Factor on the usual size of the frames."""
        return DETAIL_SCALE if self.has_details else 1

    @property
    def duration_s(self) -> float:
        """Length of the video in seconds."""
        return self.num_frames / FPS

    @property
    def has_details(self) -> bool:
        """Whether shapes have details (``Detail``)."""
        return any(shape.detail for shape in self.shapes)

    def events(self) -> list[Event]:
        """All events of all shapes, and those that name a shape only by its turn ("first shape")."""
        return [event for shape in self.shapes for event in shape.events()] + list(self._turn_events())

    def turns(self) -> dict[str, Shape]:
        """The shapes that appear ``first`` and ``last``; one is left out if two shapes appear at the same time."""
        order = sorted(self.shapes, key=lambda shape: shape.visible.start_s)
        turns = {}
        for turn, shape, rival in (("first", order[0], order[1:2]), ("last", order[-1], order[-2:-1])):
            if not rival or rival[0].visible.start_s != shape.visible.start_s:
                turns[turn] = shape
        return turns

    def _turn_events(self) -> Iterator[Event]:
        """When the first and the last shape are visible: events that do not name color and kind."""
        for turn, shape in self.turns().items():
            if not shape.blinks:
                yield Event(f"{turn} shape", "is visible", shape.visible)

    def listing(self, shown: Span) -> str:
        """List which shapes are visible, second by second, as the thought of think mode.

        A second lists the shapes that are visible for at least a quarter of it, so every shape is listed somewhere.

        Args:
            shown: The part of the video that is listed.
        """
        seconds = range(int(shown.start_s), int(np.ceil(shown.end_s)))
        return "; ".join(f"{second} {self._seen_during(second)}" for second in seconds)

    def _seen_during(self, second: int) -> str:
        middle = Span(second, second + 1)
        seen = [
            shape.name
            for shape in self.shapes
            if min(shape.visible.end_s, middle.end_s) - max(shape.visible.start_s, middle.start_s) >= 0.25 - 1e-9
        ]
        return ", ".join(seen) or "nothing"


def make_scene(
    name: str, seed: tuple[int, ...], settings: WorldSettings | None = None, *, defects: bool = False
) -> Scene:
    """Make a random scene.

    With ``settings.details`` shapes are visible for a shorter time, in larger frames, and have marks and flashes.

    Args:
        name: Of the scene.
        seed: The same seed and settings give the same scene.
        settings: None has the defaults.
        defects: Give a quarter of the scenes a visual defect; their events stay the same.
    """
    settings = settings or WorldSettings()
    rng = np.random.default_rng(seed)
    width_px, height_px = SIZES_PX[rng.integers(len(SIZES_PX))]
    num_frames = int(rng.integers(round(settings.duration_s[0] * FPS), round(settings.duration_s[1] * FPS) + 1))
    num_shapes = int(rng.integers(1, settings.max_shapes + 1))
    looks = rng.permutation(len(COLORS) * len(KINDS))[:num_shapes]
    # Each shape starts in its own cell and moves into a free one: one hides another only in passing.
    cells, free = np.split(rng.permutation(len(CELLS)), [num_shapes])
    goals = [*free.tolist(), *[None] * num_shapes][:num_shapes]
    shapes = tuple(
        _make_shape(
            rng,
            divmod(int(look), len(COLORS)),
            int(cell),
            goal,
            num_frames,
            DETAILED if settings.details else PLAIN,
        )
        for look, cell, goal in zip(looks, cells, goals, strict=True)
    )
    spoil = np.random.default_rng((*seed, 3))
    defect = DEFECTS[spoil.integers(len(DEFECTS))] if defects and spoil.random() < DEFECT_SHARE else None
    if not settings.details:
        return Scene(name, seed, width_px, height_px, num_frames, shapes, defect)
    fine = np.random.default_rng((*seed, 5))
    shapes = tuple(replace(shape, detail=_make_detail(shape, settings.mark_share, fine)) for shape in shapes)
    return Scene(name, seed, width_px * DETAIL_SCALE, height_px * DETAIL_SCALE, num_frames, shapes, defect)


def _make_detail(shape: Shape, mark_share: tuple[float, float], rng: np.random.Generator) -> Detail:
    """A mark, and a flash at a random time while ``shape`` is visible, but not in its first or last frame."""
    others = [color for color in COLORS if color != shape.color]
    first, last = round(shape.visible.start_s * FPS) + 1, round(shape.visible.end_s * FPS) - 1
    start = int(rng.integers(first, last - FLASH_FRAMES + 1))
    flash = Span(start / FPS, (start + FLASH_FRAMES) / FPS)
    mark_color, flash_color = (others[n] for n in rng.integers(len(others), size=2))
    return Detail(mark_color, float(rng.uniform(*mark_share)), flash_color, flash)


def _make_shape(
    rng: np.random.Generator,
    look: tuple[int, int],
    cell: int,
    goal: int | None,
    num_frames: int,
    visible_share: tuple[float, float],
) -> Shape:
    """A shape of ``look`` (kind, color) in ``cell``; it may move only if there is a cell to move to."""
    visible = _make_span(rng, 0, num_frames, *visible_share)
    action = rng.choice(["stays", "moves", "blinks"], p=[0.5, 0.3, 0.2])
    inside = (round(visible.start_s * FPS), round(visible.end_s * FPS))
    long_enough = visible.length_s >= MIN_ACTING_S
    moves = long_enough and action == "moves" and goal is not None
    blinks = long_enough and action == "blinks"
    begin = _near(rng, cell)
    return Shape(
        color=list(COLORS)[look[1]],
        kind=KINDS[look[0]],
        radius=float(rng.uniform(0.15, 0.2)),
        begin=begin,
        end=_near(rng, goal) if moves and goal is not None else begin,
        visible=visible,
        moves=_make_span(rng, *inside, 0.5, 0.9) if moves else None,
        blinks=_make_span(rng, *inside, 0.6, 0.95) if blinks else None,
    )


def _make_span(rng: np.random.Generator, first: int, last: int, least: float, most: float) -> Span:
    """A span inside frames [first, last) that covers between ``least`` and ``most`` of them."""
    length = max(6, round(rng.uniform(least, most) * (last - first)))
    start = int(rng.integers(first, max(first, last - length) + 1))
    return Span(start / FPS, min(last, start + length) / FPS)


def _near(rng: np.random.Generator, cell: int) -> tuple[float, float]:
    """A point near the middle of ``cell``."""
    x, y = rng.uniform(-0.03, 0.03, size=2)
    return (CELLS[cell][0] + float(x), CELLS[cell][1] + float(y))
