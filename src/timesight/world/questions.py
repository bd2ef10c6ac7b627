"""Questions about a scene: samples of every task, with exact ground truth and thoughts for think mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timesight.geometry import rounded_box
from timesight.tasks import TASKS
from timesight.tasks.captioning import Captioning
from timesight.tasks.grounded_qa import GroundedQa
from timesight.tasks.multiple_choice import MultipleChoice
from timesight.tasks.object_tracking import ObjectTracking
from timesight.tasks.open_qa import OpenQa
from timesight.tasks.quality_assessment import QualityAssessment
from timesight.tasks.temporal_grounding import TemporalGrounding
from timesight.types import Sample, Span
from timesight.world.corruption import Corruption
from timesight.world.scene import COLORS, DEFECT_SHARE, FPS, KINDS, Scene, Shape, make_scene
from timesight.world.settings import WorldSettings

NUM_TRACKED = 4  # frames; the paper's eight would make the tiny model's replies twice as long
BOX_DIGITS = 2  # a hundredth of the frame is about a pixel of these videos
NUM_OPTIONS = 3
WHOLE_SHARE = 0.15  # of the segments
STILL_SHARE = 0.3  # of the shapes that do not move: for these, repeating the first box is enough
Fields = dict[str, Any]


def samples_of(scene: Scene, video: Path, settings: WorldSettings) -> Iterator[Sample]:
    """Make the samples that ask about a scene.

    ``meta.needs_video`` is false for questions that name their answer. A scene with a defect only has questions
    about its quality. Each task has its own random numbers, so that its samples do not depend on
    ``settings.tasks``; which of them show segments does.

    Args:
        scene: From ``make_scene``.
        video: Path of its file, for the samples.
        settings: Tasks and label noise.
    """
    corruption = Corruption(settings)
    naming, cutting = (np.random.default_rng((*scene.seed, stream)) for stream in (4, 6))
    for number, (task, ask) in enumerate(QUESTIONS.items()):
        if task not in (settings.tasks or QUESTIONS) or (scene.defect and task != QualityAssessment.name):
            continue
        rng = np.random.default_rng((*scene.seed, 2, number))
        for count, fields in enumerate(ask(scene, corruption, rng)):
            named = task == MultipleChoice.name and naming.random() < settings.named_share
            if named:
                fields["question"] = f"Which option says {fields['options'][fields['answer']]}?"
            meta = {"duration_s": scene.duration_s} | ({"needs_video": not named} if settings.named_share else {})
            shown = Span(0.0, scene.duration_s)
            rests_on = fields.pop("rests_on", None)
            if rests_on is not None and cutting.random() < settings.second_look_share:
                shown = _around(rests_on, scene.duration_s, cutting)
                fields["segments"] = [_pair(shown)]
            so = f"; so: {fields.pop('so')}" if "so" in fields else ""
            yield TASKS[task].Sample.model_validate(
                {
                    "id": f"world/{scene.name}/{task}#{count}",
                    "task": task,
                    "video": video,
                    "meta": {"thought": scene.listing(shown) + so} | meta | fields.pop("meta", {}),
                }
                | ({"video": {"path": video} | fields.pop("window")} if "window" in fields else {})
                | fields
            )


def unseen_samples(num_scenes: int, seed: int = 0) -> list[Sample]:
    """Make samples of every task without writing their videos, for prompts, replies and rewards.

    Args:
        num_scenes: Number of scenes, each with several samples.
        seed: Of the scenes.
    """
    scenes = [make_scene(f"unseen-{n}", (seed, n), defects=True) for n in range(num_scenes)]
    return [s for scene in scenes for s in samples_of(scene, Path("unseen.mp4"), WorldSettings())]


def _grounding(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    for event in scene.events():
        span = corruption.span(event.span, scene.duration_s, rng)
        yield {"query": event.sentence, "spans": [_pair(span)], "rests_on": event.span}


def _tracking(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """One shape while it is visible, a moving one if there is one; a blinking one is absent while it is dark."""
    moving = [shape for shape in scene.shapes if shape.moves]
    if not moving and rng.random() > STILL_SHARE:
        return
    shape = (moving or scene.shapes)[0]
    first, length = round(shape.visible.start_s * FPS), round(shape.visible.length_s * FPS)
    times_s = [(first + k * length // NUM_TRACKED) / FPS for k in range(NUM_TRACKED)]
    absent = [n for n, time_s in enumerate(times_s) if not shape.shown_at(time_s)]
    if 0 in absent or len(absent) == NUM_TRACKED - 1:
        return
    boxes = [shape.box_at(time_s, (scene.width_px, scene.height_px)) for time_s in times_s]
    given, *rest = boxes
    said = [rounded_box(box, BOX_DIGITS) for box in (given, *corruption.boxes(rest, rng))]
    yield {
        "object": shape.name,
        "times_s": times_s,
        "boxes": [[box.x0, box.y0, box.x1, box.y1] for box in said],
        "absent": absent,
        "window": {"start_s": shape.visible.start_s, "end_s": shape.visible.end_s},
        "meta": {"thought": f"the {shape.name} {shape.action}"},
    }


def _choice(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """Two questions about which shapes there are, how many, in which order, and what one does."""
    shape = scene.shapes[int(rng.integers(len(scene.shapes)))]
    asked = [
        ("Which shape is in the video?", shape.name, _absent_names(scene, rng)),
        (f"What does the {shape.name} do?", f"It {shape.action}", ["It stays", "It moves", "It blinks"]),
        ("How many shapes are there?", str(len(scene.shapes)), ["1", "2", "3"]),
    ]
    asked += [
        (
            f"Which shape is {turn} to appear?",
            found.name,
            [s.name for s in scene.shapes] + _absent_names(scene, rng),
        )
        for turn, found in scene.turns().items()
        if len(scene.shapes) > 1
    ]
    for index in rng.permutation(len(asked))[:2]:
        yield _options(*asked[int(index)], corruption, rng)


def _grounded(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """Which shape does something, and when; in scenes with details, only questions about these."""
    for question, right, others, fields in _details(scene, corruption, rng):
        yield _options(question, right, others, corruption, rng) | fields
    if (asked := _asked(scene, rng)) is None or scene.has_details:
        return
    question, shape, span = asked
    others = [s.name for s in scene.shapes] + _absent_names(scene, rng)
    spans = [_pair(corruption.span(span, scene.duration_s, rng))]
    yield _options(question, shape.name, others, corruption, rng) | {"spans": spans, "rests_on": span}


def _open(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """Which, what and when, to be answered in words; in scenes with details, also questions about these."""
    for question, right, others, fields in _details(scene, corruption, rng):
        yield {"question": question, "answer": corruption.choice(right, [right, *others], rng)} | fields
    shape = scene.shapes[int(rng.integers(len(scene.shapes)))]
    event = scene.events()[int(rng.integers(len(scene.events())))]
    when = f"When is it that {event.sentence}?" if rng.random() < 0.5 else event.sentence
    asked = [
        (f"What does the {shape.name} do?", f"It {shape.action}", shape.visible),
        (when, event.sentence, event.span),
    ]
    if (found := _asked(scene, rng)) is not None:
        question, shown, span = found
        asked.append((question, shown.name, span))
    for question, answer, span in asked:
        spans = [_pair(corruption.span(span, scene.duration_s, rng))]
        yield {"question": question, "answer": answer, "so": answer, "spans": spans, "rests_on": span}


def _details(
    scene: Scene, corruption: Corruption, rng: np.random.Generator
) -> Iterator[tuple[str, str, list[str], Fields]]:
    """Questions about details that need a second look: question, answer, wrong answers, and the evidence."""
    for shape in scene.shapes:
        if shape.detail is None or shape.blinks:
            continue
        colors = [color for color in COLORS if color != shape.color]
        for kind, question, right in (
            ("mark", f"Which color is the mark inside the {shape.name}?", shape.detail.mark_color),
            ("flash", f"Which color does the {shape.name} flash?", shape.detail.flash_color),
        ):
            others = [colors[n] for n in rng.permutation(len(colors)) if colors[n] != right]
            spans = [_pair(corruption.span(shape.visible, scene.duration_s, rng))]
            yield question, right, others, {"spans": spans, "rests_on": shape.visible, "meta": {"detail": kind}}


def _around(span: Span, duration_s: float, rng: np.random.Generator) -> Span:
    """The segment of a second look at ``span``: a bit longer, by a random padding; sometimes the whole video."""
    if rng.random() < WHOLE_SHARE:
        return Span(0.0, duration_s)
    before_s, after_s = rng.uniform(0.2, 1.0, size=2)
    return Span(round(max(0.0, span.start_s - before_s), 1), round(min(duration_s, span.end_s + after_s), 1))


def _asked(scene: Scene, rng: np.random.Generator) -> tuple[str, Shape, Span] | None:
    """A random question which shape does something, with the shape and when; None if none is unambiguous."""
    asked: list[tuple[str, Shape, Span]] = []
    for action in ("moves", "blinks"):
        doing = [shape for shape in scene.shapes if shape.action == action]
        if len(doing) == 1:
            (event,) = (event for event in doing[0].events() if event.action == action)
            asked.append((f"Which shape {action}?", doing[0], event.span))
    asked += [(f"Which shape is {turn} to appear?", s, s.visible) for turn, s in scene.turns().items()]
    return asked[int(rng.integers(len(asked)))] if asked else None


def _caption(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """What each shape does, in order of appearance, without times; in scenes with details, only these."""
    for question, right, others, fields in _details(scene, corruption, rng):
        del fields["spans"]
        yield {"question": question, "caption": corruption.choice(right, [right, *others], rng)} | fields
    if scene.has_details:
        return
    names = _absent_names(scene, rng)
    events = []
    for shape in sorted(scene.shapes, key=lambda shape: shape.visible.start_s):
        name = corruption.choice(shape.name, names, rng)
        events.append(f"the {name} is visible")
        action = corruption.choice(shape.action, ("stays", "moves", "blinks"), rng)
        events += [f"the {name} {action}"] if action != "stays" else []
    yield {"caption": ". ".join(events) + ".", "events": events}


def _quality(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """One question about each scene with a defect, and about as many others."""
    if scene.defect is None and rng.random() > DEFECT_SHARE / (1 - DEFECT_SHARE):
        return
    label = "low quality" if scene.defect else "high quality"
    said = corruption.choice(label, ("low quality", "high quality"), rng)
    yield {"label": said, "meta": {"thought": f"the picture is {_LOOKS[scene.defect]}"}}


_LOOKS = {None: "clear", "noise": "full of noise", "blocks": "made of blocks", "dark": "too dark"}

QUESTIONS: dict[str, Callable[[Scene, Corruption, np.random.Generator], Iterator[Fields]]] = {
    TemporalGrounding.name: _grounding,
    ObjectTracking.name: _tracking,
    MultipleChoice.name: _choice,
    GroundedQa.name: _grounded,
    Captioning.name: _caption,
    QualityAssessment.name: _quality,
    OpenQa.name: _open,
}


def _options(
    question: str,
    right: str,
    others: Sequence[str],
    corruption: Corruption,
    rng: np.random.Generator,
) -> Fields:
    """A question with shuffled options, ``right`` among them; the rest are the first of ``others``.

    The thought ends with the text of the answer, so that only its letter is left to find.
    """
    wrong = [other for other in dict.fromkeys(others) if other != right][: NUM_OPTIONS - 1]
    options = [[right, *wrong][n] for n in rng.permutation(len(wrong) + 1)]
    answer = corruption.choice(options.index(right), range(len(options)), rng)
    return {"question": question, "options": options, "answer": answer, "so": options[answer]}


def _absent_names(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Shapes that are not in the scene, in random order."""
    there = {shape.name for shape in scene.shapes}
    names = [f"{color} {kind}" for color in COLORS for kind in KINDS]
    return [names[n] for n in rng.permutation(len(names)) if names[n] not in there]


def _pair(span: Span) -> list[float]:
    return [span.start_s, span.end_s]
