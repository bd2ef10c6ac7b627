"""Random scenes: a scene is a pure function of its seed and of the settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from timesight.tasks.quality_assessment import QualityAssessment
from timesight.types import Span
from timesight.world.scene import COLORS, DEFECT_KINDS, FPS, KINDS, Defect, Detail, Scene, Shape
from timesight.world.settings import Shift, WorldSettings

# Colors and kinds that no scene has together, but those whose shift is ``pair``.
UNSEEN_PAIRS = (("white", "circle"), ("green", "triangle"), ("blue", "square"))
SEEN_PAIRS = tuple((color, kind) for color in COLORS for kind in KINDS if (color, kind) not in UNSEEN_PAIRS)
LONGER = 3  # factor on the duration of scenes whose shift is ``longer``

SIZES_PX = ((64, 64), (96, 96), (96, 64), (64, 96), (128, 96))  # width, height
DETAILED_SIZES_PX = ((96, 96), (128, 96), (96, 128))
CELLS = ((0.23, 0.23), (0.77, 0.23), (0.23, 0.77), (0.77, 0.77))  # centers, as fractions of the frame
VISIBLE_SHARE = (0.15, 0.5)  # of the video, without ``visible_s``
ACTIONS = {"stays": 0.2, "moves": 0.5, "blinks": 0.3}
MOVING_SHARE, BLINKING_SHARE = (0.75, 1.0), (0.6, 0.95)  # of the time for which a shape is visible
MIN_ACTING_S = 1.5  # a shape shown for less neither moves nor blinks
DEFECT_SHARE = 0.25  # of the scenes, with ``defects``
STRENGTHS = (0.3, 1.0)  # of defects
SPARK_FRAMES = 2


def make_scenes(split: str, count: int, settings: WorldSettings, seed: int) -> list[Scene]:
    """The first ``count`` scenes of a split of a world; with questions about quality, some have defects."""
    defects = settings.tasks is None or QualityAssessment.name in settings.tasks
    stream = crc32(split.encode())
    return [
        make_scene(f"{split}-{index:05d}", (seed, stream, index), settings, defects=defects)
        for index in range(count)
    ]


def make_scene(
    name: str, seed: tuple[int, ...], settings: WorldSettings | None = None, *, defects: bool = False
) -> Scene:
    """Make a random scene.

    Args:
        name: Of the scene.
        seed: The same seed and settings give the same scene. Its last number chooses among ``settings.shifts``.
        settings: None has the defaults.
        defects: Give a quarter of the scenes a visual defect; their events stay the same.
    """
    settings = settings or WorldSettings()
    shift = settings.shifts[seed[-1] % len(settings.shifts)] if settings.shifts else None
    rng = np.random.default_rng(seed)
    sizes_px = DETAILED_SIZES_PX if settings.details else SIZES_PX
    width_px, height_px = sizes_px[rng.integers(len(sizes_px))]
    least_s, most_s = settings.duration_s
    num_frames = int(rng.integers(round(least_s * FPS), round(most_s * FPS) + 1))
    if shift == "longer":
        num_frames *= LONGER
    num_shapes = int(rng.integers(1, settings.max_shapes + 1))
    visible = [_visible(rng, num_frames, settings) for _ in range(num_shapes)]
    begins = rng.permutation(len(CELLS))[:num_shapes].tolist()
    places = zip(begins, _ends(begins, visible, rng), visible, strict=True)
    shapes = tuple(
        _make_shape(rng, pair, settings.radii, *place)
        for pair, place in zip(_pairs(num_shapes, shift, rng), places, strict=True)
    )
    if settings.details:
        fine = np.random.default_rng((*seed, 5))
        shapes = tuple(_with_detail(shape, settings.dot_share, fine) for shape in shapes)
    fault = np.random.default_rng((*seed, 3))
    changing = _change_defects(math.ceil(num_frames / FPS), fault) if settings.changing_defects else ()
    defect = _make_defect(fault) if defects and not changing else None
    return Scene(name, seed, width_px, height_px, num_frames, shapes, defect, changing, shift)


def _pairs(count: int, shift: Shift | None, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Colors and kinds of ``count`` shapes, all different; the first is an unseen one where ``shift`` says so."""
    pairs = [SEEN_PAIRS[n] for n in rng.permutation(len(SEEN_PAIRS))[:count]]
    unseen = UNSEEN_PAIRS[rng.integers(len(UNSEEN_PAIRS))]
    return [unseen, *pairs[1:]] if shift == "pair" else pairs


def _ends(begins: Sequence[int], visible: Sequence[Span], rng: np.random.Generator) -> list[int | None]:
    """For each shape a cell next to its own that it may move to, or None.

    It is one in which no other shape is at a time when it is visible itself, so that none hides another.
    """
    held: list[set[int]] = [{begin} for begin in begins]
    ends: list[int | None] = []
    for mine, (begin, span) in enumerate(zip(begins, visible, strict=True)):
        taken = set().union(*(held[n] for n, other in enumerate(visible) if n != mine and span.overlaps(other)))
        across, along = begin ^ 1, begin ^ 2
        near = [cell for cell in ((across, along) if rng.random() < 0.5 else (along, across)) if cell not in taken]
        ends.append(near[0] if near else None)
        held[mine].update(near[:1])
    return ends


def _make_defect(rng: np.random.Generator) -> Defect | None:
    kind = DEFECT_KINDS[rng.integers(len(DEFECT_KINDS))]
    return Defect(kind, float(rng.uniform(*STRENGTHS))) if rng.random() < DEFECT_SHARE else None


def _change_defects(seconds: int, rng: np.random.Generator) -> tuple[Defect | None, ...]:
    """What lowers the visual quality in each second; nothing is as frequent as each kind."""
    kinds = (None, *DEFECT_KINDS)
    drawn = [kinds[n] for n in rng.integers(len(kinds), size=seconds)]
    return tuple(None if kind is None else Defect(kind, float(rng.uniform(*STRENGTHS))) for kind in drawn)


def _with_detail(shape: Shape, radii: tuple[float, float], rng: np.random.Generator) -> Shape:
    """``shape`` with a dot, and a spark while it is visible, but not in its first or last frame."""
    others = [color for color in COLORS if color != shape.color]
    first, last = round(shape.visible.start_s * FPS) + 1, round(shape.visible.end_s * FPS) - 1
    start = int(rng.integers(first, last - SPARK_FRAMES + 1))
    spark_span = Span(start / FPS, (start + SPARK_FRAMES) / FPS)
    dot, spark = (others[n] for n in rng.integers(len(others), size=2))
    return replace(shape, detail=Detail(float(rng.uniform(*radii)), dot, spark, spark_span))


def _visible(rng: np.random.Generator, num_frames: int, settings: WorldSettings) -> Span:
    """When a shape is visible."""
    if settings.visible_s is None:
        return _make_span(rng, 0, num_frames, *VISIBLE_SHARE)
    least, most = (seconds * FPS / num_frames for seconds in settings.visible_s)
    return _make_span(rng, 0, num_frames, least, most)


def _make_shape(
    rng: np.random.Generator,
    pair: tuple[str, str],
    radii: tuple[float, float],
    begin: int,
    end: int | None,
    visible: Span,
) -> Shape:
    """A shape of ``pair`` (color, kind) in the cell ``begin``; it moves only if there is a cell to move to."""
    action = rng.choice(list(ACTIONS), p=list(ACTIONS.values()))
    inside = (round(visible.start_s * FPS), round(visible.end_s * FPS))
    long_enough = visible.length_s >= MIN_ACTING_S
    moves = long_enough and action == "moves" and end is not None
    blinks = long_enough and action == "blinks"
    first = _near(rng, begin)
    return Shape(
        color=pair[0],
        kind=pair[1],
        radius=float(rng.uniform(*radii)),
        begin=first,
        end=_near(rng, end) if moves and end is not None else first,
        visible=visible,
        moves=_make_span(rng, *inside, *MOVING_SHARE) if moves else None,
        blinks=_make_span(rng, *inside, *BLINKING_SHARE) if blinks else None,
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
