"""Scenes of the synthetic world: shapes that appear, move, blink and vanish, with exact ground truth.

All times are multiples of the frame interval (1 / FPS), so that the truth is exactly what the decoded frames show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from timesight.geometry import clip_box
from timesight.types import Box, Span
from timesight.world.settings import Shift

FPS = 10
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (225, 45, 40),
    "green": (40, 190, 70),
    "blue": (50, 90, 235),
    "yellow": (240, 215, 50),
    "white": (245, 245, 245),
}
KINDS = ("circle", "square", "triangle")
BLINK_FRAMES = 10  # half of them dark
NOTHING = "nothing"
LONG_S = 20.0  # from here on a video is long: it is not listed second by second, nor shown whole in a second look
LISTED_S = 0.25  # of a second: a shape that is visible for less of it is not listed

Action = Literal["is visible", "moves", "blinks"]
Direction = Literal["left", "right", "up", "down"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
DefectKind = Literal["snow", "blocks", "dark", "pale"]
DEFECT_KINDS: tuple[DefectKind, ...] = get_args(DefectKind)
# How far a shape reaches left and right, up, and down from its center, in radii.
REACH = {"circle": (1.0, 1.0, 1.0), "square": (0.88, 0.88, 0.88), "triangle": (1.0, 1.1, 0.9)}


@dataclass(frozen=True)
class Event:
    """An event: ``shape`` ("red circle", "first shape") does ``action`` during ``span``."""

    shape: str
    action: Action
    span: Span


@dataclass(frozen=True)
class Defect:
    """What lowers the visual quality of a video, and how strongly, in (0, 1]."""

    kind: DefectKind
    strength: float


@dataclass(frozen=True)
class Detail:
    """Details of a shape: a dot in its middle, which needs resolution, and a spark, which needs frame rate too.

    Args:
        radius: Of dot and spark, as a share of the shape's.
        dot: Color of the dot, one of ``COLORS``.
        spark: Color of the spark, which lights up next to the shape.
        spark_span: When it does.
    """

    radius: float
    dot: str
    spark: str
    spark_span: Span


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
        detail: Its dot and spark; None without details.
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

    @property
    def action(self) -> str:
        """What it does while it is visible: ``stays``, ``moves`` or ``blinks``."""
        return "moves" if self.moves else "blinks" if self.blinks else "stays"

    @property
    def direction(self) -> Direction | None:
        """Where it moves, by the larger of the two distances; None if it stays where it is."""
        if self.moves is None:
            return None
        x, y = self.end[0] - self.begin[0], self.end[1] - self.begin[1]
        if abs(x) > abs(y):
            return "right" if x > 0 else "left"
        return "down" if y > 0 else "up"

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
        defects: What lowers it in each second, in place of ``defect``; empty: the same all along.
        shift: In what it differs from the scenes that models are trained on; None for one of these.
    """

    name: str
    seed: tuple[int, ...]
    width_px: int
    height_px: int
    num_frames: int
    shapes: tuple[Shape, ...]
    defect: Defect | None = None
    defects: tuple[Defect | None, ...] = ()
    shift: Shift | None = None

    @property
    def duration_s(self) -> float:
        """Length of the video in seconds."""
        return self.num_frames / FPS

    @property
    def has_defects(self) -> bool:
        """Whether something lowers the visual quality at any time."""
        return self.defect is not None or any(self.defects)

    def defect_at(self, time_s: float) -> Defect | None:
        """What lowers the visual quality of the frame at ``time_s``."""
        return self.defects[int(time_s)] if self.defects else self.defect

    @property
    def has_details(self) -> bool:
        """Whether shapes have details (``Detail``)."""
        return any(shape.detail for shape in self.shapes)

    @property
    def in_order(self) -> list[Shape]:
        """The shapes in order of appearance."""
        return sorted(self.shapes, key=lambda shape: shape.visible.start_s)

    def events(self) -> list[Event]:
        """All events of all shapes, and those that name a shape only by its turn ("first shape")."""
        return [event for shape in self.shapes for event in shape.events()] + list(self._turn_events())

    def sole_actors(self) -> Iterator[tuple[Action, Shape]]:
        """What only one shape does, with that shape: moving, blinking."""
        actions: tuple[Action, ...] = ("moves", "blinks")
        for action in actions:
            doing = [shape for shape in self.shapes if shape.action == action]
            if len(doing) == 1:
                yield action, doing[0]

    def turns(self) -> dict[str, Shape]:
        """The shapes that appear ``first`` and ``last``; one is left out if two shapes appear at the same time."""
        order = self.in_order
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

        A second lists the shapes that are visible for at least a quarter of it. Long videos leave out the seconds
        that show nothing.

        Args:
            shown: The part of the video that is listed.
        """
        seen = {
            second: ", ".join(self._seen_during(second)) or NOTHING
            for second in range(int(shown.start_s), int(np.ceil(shown.end_s)))
        }
        if self.duration_s > LONG_S:
            seen = {second: names for second, names in seen.items() if names != NOTHING}
        return "; ".join(f"{second} {names}" for second, names in seen.items()) or NOTHING

    def _seen_during(self, second: int) -> list[str]:
        return [
            shape.name
            for shape in self.shapes
            if min(shape.visible.end_s, second + 1) - max(shape.visible.start_s, second) >= LISTED_S - 1e-9
        ]
