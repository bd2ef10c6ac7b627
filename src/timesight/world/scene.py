"""What happens in a made video: shapes that appear, move, blink and vanish, with exact truth.

A scene is a pure function of its seed. All times are multiples of one video frame (1 / FPS), so that
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
CELLS = ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73))  # middles, as fractions of the frame
BLINK_FRAMES = 10  # half of them dark
MIN_ACTING_S = 1.5  # a shape shown for less neither moves nor blinks

DEFECT_SHARE = 0.25  # of the scenes, where defects are wanted at all
PLAIN, DETAILED = (0.12, 0.5), (0.1, 0.25)  # the least and the most of a video that a shape is visible
DETAIL_SCALE = 2  # how much larger the frames are where shapes have details
FLASH_FRAMES = 2

Action = Literal["is visible", "moves", "blinks"]
Defect = Literal["noise", "blocks", "dark"]
DEFECTS: tuple[Defect, ...] = get_args(Defect)
# How far a shape reaches left and right, up, and down from its center, in radii.
REACH = {"circle": (1.0, 1.0, 1.0), "square": (0.88, 0.88, 0.88), "triangle": (1.0, 1.1, 0.9)}


@dataclass(frozen=True)
class Event:
    """One thing that happens: ``shape`` ("red circle", "first shape") does ``action`` during ``span``."""

    shape: str
    action: Action
    span: Span

    @property
    def sentence(self) -> str:
        """The event in words, as a query asks for it."""
        return f"the {self.shape} {self.action}"


@dataclass(frozen=True)
class Detail:
    """What only a closer look at a shape shows: a small mark inside, and a flash of another color."""

    mark_color: str
    mark_share: float  # the mark's radius, of the shape's
    flash_color: str
    flash: Span


@dataclass(frozen=True)
class Shape:
    """One colored shape; positions and radius are fractions of the frame's width and height."""

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
        """Such as "red circle"; unique within a scene."""
        return f"{self.color} {self.kind}"

    def shown_at(self, time_s: float) -> bool:
        """Whether the shape is drawn in the frame presented at ``time_s``."""
        if not self.visible.start_s <= time_s < self.visible.end_s:
            return False
        if self.blinks and self.blinks.start_s <= time_s < self.blinks.end_s:
            frames_in = round((time_s - self.blinks.start_s) * FPS)
            return frames_in % BLINK_FRAMES >= BLINK_FRAMES // 2
        return True

    def center_at(self, time_s: float) -> tuple[float, float]:
        """Centre (x, y) at ``time_s``."""
        if self.moves is None:
            return self.begin
        share = float(np.clip((time_s - self.moves.start_s) / self.moves.length_s, 0.0, 1.0))
        return (
            self.begin[0] + share * (self.end[0] - self.begin[0]),
            self.begin[1] + share * (self.end[1] - self.begin[1]),
        )

    def box_at(self, time_s: float, size_px: tuple[int, int]) -> Box:
        """The box around the shape at ``time_s`` in frames of ``size_px`` (width, height), seen or not."""
        x, y = self.center_at(time_s)
        sideways, up, down = (reach * self.radius * min(size_px) for reach in REACH[self.kind])
        width_px, height_px = size_px
        edges = (x - sideways / width_px, y - up / height_px, x + sideways / width_px, y + down / height_px)
        return clip_box(*edges)

    @property
    def action(self) -> str:
        """What it does while it is visible: it stays, moves or blinks."""
        return "moves" if self.moves else "blinks" if self.blinks else "stays"

    def events(self) -> Iterator[Event]:
        """What this shape does. A blinking shape is asked about by its blinking only: it is visible on and off."""
        if self.blinks:
            yield Event(self.name, "blinks", self.blinks)
            return
        yield Event(self.name, "is visible", self.visible)
        if self.moves:
            yield Event(self.name, "moves", self.moves)


@dataclass(frozen=True)
class Scene:
    """Everything needed to draw one video and to ask about it."""

    name: str
    seed: tuple[int, ...]
    width_px: int
    height_px: int
    num_frames: int
    shapes: tuple[Shape, ...]
    defect: Defect | None = None

    @property
    def scale(self) -> int:
        """How much larger than usual the frames are."""
        return DETAIL_SCALE if self.has_details else 1

    @property
    def duration_s(self) -> float:
        """Length of the video in seconds."""
        return self.num_frames / FPS

    @property
    def has_details(self) -> bool:
        """Whether there is more to shapes than a cheap look shows."""
        return any(shape.detail for shape in self.shapes)

    def events(self) -> list[Event]:
        """All events of all shapes, and those that name a shape only by its turn."""
        return [event for shape in self.shapes for event in shape.events()] + list(self._turn_events())

    def turns(self) -> dict[str, Shape]:
        """The shape that appears first and the one that appears last, where these are not two shapes at once."""
        order = sorted(self.shapes, key=lambda shape: shape.visible.start_s)
        turns = {}
        for turn, shape, rival in (("first", order[0], order[1:2]), ("last", order[-1], order[-2:-1])):
            if not rival or rival[0].visible.start_s != shape.visible.start_s:
                turns[turn] = shape
        return turns

    def _turn_events(self) -> Iterator[Event]:
        """When the first and the last shape is visible: questions that do not give a shape away."""
        for turn, shape in self.turns().items():
            if not shape.blinks:
                yield Event(f"{turn} shape", "is visible", shape.visible)

    def listing(self, shown: Span) -> str:
        """What is visible when in ``shown``, second by second: the thought of think mode.

        A second lists what is shown for at least a quarter of it, so every shape is listed somewhere.
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
    """The scene of ``seed`` in a world of ``settings``.

    With ``defects`` a share of the scenes is shown badly; what happens in them is the same. With ``details`` shapes
    are shown for a shorter while, in larger frames, and have flashes and marks.
    """
    settings = settings or WorldSettings()
    rng = np.random.default_rng(seed)
    width_px, height_px = SIZES_PX[rng.integers(len(SIZES_PX))]
    num_frames = int(rng.integers(round(settings.duration_s[0] * FPS), round(settings.duration_s[1] * FPS) + 1))
    num_shapes = int(rng.integers(1, settings.max_shapes + 1))
    looks = rng.permutation(len(COLORS) * len(KINDS))[:num_shapes]
    # Shapes rest in cells of their own and move into free ones: only passing hides a shape.
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
    """A mark, and a flash somewhere while ``shape`` is visible, neither at its very beginning nor at its end."""
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
