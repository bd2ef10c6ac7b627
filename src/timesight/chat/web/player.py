"""The video player with its timeline and boxes; its client side is ``evidence.js``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui

from timesight.chat.timeline import write_spans
from timesight.types import Reply, Span


@dataclass
class Lane:
    """One row of the timeline: a model's spans and boxes, drawn in its color.

    Args:
        number: Index of the row.
        name: Label of spans and boxes.
        color: In CSS.
        segments: Spans in the form of ``evidence.js``.
        tracks: Boxes in the form of ``evidence.js``.
    """

    number: int
    name: str
    color: str
    segments: list[dict[str, Any]] = field(default_factory=list)
    tracks: list[dict[str, Any]] = field(default_factory=list)

    def take_spans(self, spans: Sequence[Span]) -> None:
        """Set the spans, longest first, so that a short one lies over a long one and can be clicked."""
        self.segments = [
            {
                "start": span.start_s,
                "end": span.end_s,
                "label": f"{self.name}: {write_spans([span])}",
                "color": self.color,
                "lane": self.number,
            }
            for span in sorted(spans, key=lambda span: -span.length_s)
        ]

    def take_boxes(self, reply: Reply) -> None:
        """Set the boxes to those of ``reply``; none if it has none."""
        points = [[time_s, b.x0, b.y0, b.x1, b.y1] for time_s, b in zip(reply.times_s, reply.boxes, strict=False)]
        self.tracks = [{"label": self.name, "color": self.color, "points": points}] if points else []


class Player(ui.element, component="evidence.js"):
    """A video with boxes over it and a timeline of spans under it."""

    def show(self, **props: Any) -> None:
        """Set properties of the component: ``src``, ``segments``, ``tracks``, ``drawing``."""
        self._props.update(props)
        self.update()

    def draw(self, lanes: Sequence[Lane]) -> None:
        """Replace all spans and boxes by those of ``lanes``."""
        self.show(
            segments=[segment for lane in lanes for segment in lane.segments],
            tracks=[track for lane in lanes for track in lane.tracks],
        )

    def play(self, span: Span) -> None:
        """Play the video from the start of ``span`` to its end."""
        self.run_method("play", span.start_s, span.end_s)

    def drop_box(self) -> None:
        """Remove the box that the visitor drew."""
        self.run_method("dropBox")


def within(spans: Sequence[Span], duration_s: float) -> list[Span]:
    """Clip spans to a video of ``duration_s`` seconds; those outside it are left out."""
    return [
        Span(max(0.0, span.start_s), min(span.end_s, duration_s))
        for span in spans
        if span.end_s >= 0 and span.start_s < duration_s
    ]
