"""Questions about a scene: samples of every task, with exact ground truth and thoughts for think mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from timesight.tasks.quality_assessment import Label, QualityAssessment
from timesight.tasks.temporal_grounding import TemporalGrounding
from timesight.types import Sample, Span
from timesight.world.choices import Choice, general_choices, plain_choices, shape_names
from timesight.world.corruption import Corruption
from timesight.world.generate import DEFECT_SHARE, make_scene
from timesight.world.scene import COLORS, FPS, LONG_S, Defect, DefectKind, Scene, Shape
from timesight.world.settings import WorldSettings
from timesight.world.wording import wording_of

NUM_ASKED = 2  # of the questions which shape does something
NUM_TRACKED = 4  # frames; the paper's eight would make the tiny model's replies twice as long
BOX_DIGITS = 2  # a hundredth of the frame is about a pixel of these videos
WHOLE_SHARE = 0.15  # of the segments
PADDING_S = (0.2, 1.2)  # of a segment around what is asked about
Fields = dict[str, Any]
Ask = Callable[[Scene, Corruption, np.random.Generator], Iterator[Fields]]


def samples_of(scene: Scene, video: Path, settings: WorldSettings) -> Iterator[Sample]:
    """Make the samples that ask about a scene.

    ``meta.needs_video`` is false for questions that name their answer. Of a scene with a defect only its picture is
    asked about. Each task has its own random numbers, so that its samples do not depend on
    ``settings.tasks``; which of them show segments does.

    Args:
        scene: From ``make_scene``.
        video: Path of its file, for the samples.
        settings: Tasks and label noise.
    """
    corruption, segments = Corruption(settings), _Segments(scene, settings.second_look_share)
    for number, (task, ask) in enumerate(QUESTIONS.items()):
        if task not in (settings.tasks or QUESTIONS) or (scene.has_defects and task not in ASKED_DESPITE_DEFECTS):
            continue
        rng = np.random.default_rng((*scene.seed, 2, number))
        for count, fields in enumerate(ask(scene, corruption, rng)):
            rests_on = fields.pop("rests_on", None)
            shown = segments.around(rests_on) if rests_on is not None else None
            so = f"; so: {fields.pop('so')}" if "so" in fields else ""
            meta: Fields = {"thought": scene.listing(shown or Span(0.0, scene.duration_s)) + so}
            meta |= {"duration_s": scene.duration_s} | ({"shift": scene.shift} if scene.shift else {})
            yield TASKS[task].Sample.model_validate(
                {
                    "id": f"world/{scene.name}/{task}#{count}",
                    "task": task,
                    "video": {"path": video} | fields.pop("window", {}),
                    "meta": meta | fields.pop("meta", {}),
                }
                | ({"segments": [_pair(shown)]} if shown else {})
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


class _Segments:
    """Which questions show a segment instead of the whole video; all that rest on the same span show the same."""

    def __init__(self, scene: Scene, share: float) -> None:
        self._scene, self._share = scene, share
        self._chosen: dict[Span, Span | None] = {}
        self._rng = np.random.default_rng((*scene.seed, 6))

    def around(self, span: Span) -> Span | None:
        """The segment of a second look at ``span``; None for questions that show the whole video."""
        if span not in self._chosen:
            self._chosen[span] = self._cut(span) if self._rng.random() < self._share else None
        return self._chosen[span]

    def _cut(self, span: Span) -> Span:
        duration_s = self._scene.duration_s
        before_s, after_s = self._rng.uniform(*PADDING_S, size=2)
        if self._rng.random() < WHOLE_SHARE and duration_s <= LONG_S:
            return Span(0.0, duration_s)
        return Span(round(max(0.0, span.start_s - before_s), 1), round(min(duration_s, span.end_s + after_s), 1))


def _grounding(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    for event in scene.events():
        span = corruption.span(event.span, scene.duration_s, rng)
        yield {"query": wording_of(scene).event(event), "spans": [_pair(span)], "rests_on": event.span}


def _tracking(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """Each moving shape, from the first to the last frame that shows it: repeating its first box is not enough."""
    for shape in scene.shapes:
        if not shape.moves:
            continue
        first, length = round(shape.visible.start_s * FPS), round(shape.visible.length_s * FPS)
        times_s = [(first + k * (length - 1) // (NUM_TRACKED - 1)) / FPS for k in range(NUM_TRACKED)]
        boxes = [shape.box_at(time_s, (scene.width_px, scene.height_px)) for time_s in times_s]
        said = corruption.boxes([rounded_box(box, BOX_DIGITS) for box in boxes], rng)
        yield {
            "object": shape.name,
            "times_s": times_s,
            "boxes": [[box.x0, box.y0, box.x1, box.y1] for box in said],
            "window": {"start_s": shape.visible.start_s, "end_s": shape.visible.end_s},
            "meta": {"thought": f"the {shape.name} {shape.action}"},
        }


def _choice(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """Plain questions, or general ones; some name their answer."""
    settings = corruption.settings
    naming = np.random.default_rng((*scene.seed, 4))
    choices = general_choices(scene, rng) if settings.general else plain_choices(scene, rng)
    for choice in choices:
        kind = {"kind": choice.kind} if settings.general else {}
        fields = choice.fields(corruption, rng)
        yield fields | _naming(fields, settings.named_share, naming, kind)


def _naming(fields: Fields, share: float, rng: np.random.Generator, meta: Fields) -> Fields:
    """What changes in ``share`` of the questions, which name their answer: its letter is all there is to find."""
    if not share:
        return {"meta": meta}
    named = rng.random() < share
    question = {"question": f"Which option says {fields['so']}?"} if named else {}
    return question | {"meta": meta | {"needs_video": not named}}


def _grounded(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """Which shape does something, and when; some name their answer. In scenes with details, only about these."""
    for choice, shape in _details(scene, rng):
        yield choice.fields(corruption, rng) | _evidence(shape.visible, scene, corruption, rng) | _kind(choice)
    if scene.has_details:
        return
    naming = np.random.default_rng((*scene.seed, 5))
    for question, shape, span in _asked(scene, rng):
        choice = Choice(question, shape.name, shape_names(scene, rng), "which", shape.visible.length_s)
        fields = choice.fields(corruption, rng)
        fields |= _naming(fields, corruption.settings.named_share, naming, {})
        span = shape.visible if fields["question"] != question else span
        yield fields | _evidence(span, scene, corruption, rng)


def _open(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """Which, what and when, to be answered in words; in scenes with details, also questions about these."""
    for choice, shape in _details(scene, rng):
        answer = corruption.words(choice.right, choice.wrong, rng)
        fields = _evidence(shape.visible, scene, corruption, rng) | _kind(choice)
        yield {"question": choice.question, "answer": answer} | fields
    words = wording_of(scene)
    shape = scene.shapes[int(rng.integers(len(scene.shapes)))]
    event = scene.events()[int(rng.integers(len(scene.events())))]
    sentence = words.event(event)
    asked = [
        (words.what_does(shape), f"It {shape.action}", shape.visible),
        (f"When is it that {sentence}?" if rng.random() < 0.5 else sentence, sentence, event.span),
    ]
    asked += [(question, shown.name, span) for question, shown, span in _asked(scene, rng)]
    for question, answer, span in asked:
        fields = _evidence(span, scene, corruption, rng)
        yield {"question": question, "answer": answer, "so": answer} | fields


def _caption(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """What each shape does, in order of appearance; in scenes with details, one word about each of these."""
    settings = corruption.settings
    if scene.defects:
        looks = "; ".join(f"{second} {_looks(defect)}" for second, defect in enumerate(scene.defects))
        yield {"question": "What does the picture look like, second by second?", "caption": looks}
        return
    if scene.defect:
        return
    for choice, shape in _details(scene, rng):
        caption = corruption.words(choice.right, choice.wrong, rng)
        yield {"question": choice.question, "caption": caption, "rests_on": shape.visible} | _kind(choice)
    if scene.has_details:
        return
    sentences = [f"the {shape.name} {shape.action}" for shape in scene.in_order]
    said = corruption.sentences(sentences, [shape.visible.length_s for shape in scene.in_order], rng)
    yield {"caption": ". ".join(said) + ".", "events": sentences}
    if settings.listings:
        listing = scene.listing(Span(0.0, scene.duration_s))
        yield {"question": "List what is visible, second by second.", "caption": listing}


def _quality(scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Iterator[Fields]:
    """Both labels come equally often: only some of the scenes without a defect are asked about."""
    if scene.defects or (scene.defect is None and rng.random() > DEFECT_SHARE / (1 - DEFECT_SHARE)):
        return
    label: Label = "low quality" if scene.defect else "high quality"
    strength = scene.defect.strength if scene.defect else 0.0
    yield {
        "label": corruption.label(label, strength, rng),
        "meta": {"thought": f"the picture is {_looks(scene.defect)}"},
    }


def _looks(defect: Defect | None) -> str:
    return LOOKS[defect.kind if defect else None]


LOOKS: dict[DefectKind | None, str] = {
    None: "clear",
    "snow": "full of snow",
    "blocks": "full of holes",
    "dark": "too dark",
    "pale": "too pale",
}

QUESTIONS: dict[str, Ask] = {
    TemporalGrounding.name: _grounding,
    ObjectTracking.name: _tracking,
    MultipleChoice.name: _choice,
    GroundedQa.name: _grounded,
    Captioning.name: _caption,
    QualityAssessment.name: _quality,
    OpenQa.name: _open,
}

ASKED_DESPITE_DEFECTS = (QualityAssessment.name, Captioning.name)  # of captions only how the picture changes


def _details(scene: Scene, rng: np.random.Generator) -> Iterator[tuple[Choice, Shape]]:
    """Questions about details, which need a second look, each with the shape that shows the answer."""
    for shape in scene.shapes:
        if shape.detail is None or shape.blinks:
            continue
        colors = [color for color in COLORS if color != shape.color]
        for kind, right, question in (
            ("dot", shape.detail.dot, f"Which color is the dot in the {shape.name}?"),
            ("spark", shape.detail.spark, f"Which color is the spark of the {shape.name}?"),
        ):
            wrong = [colors[n] for n in rng.permutation(len(colors)) if colors[n] != right]
            yield Choice(question, right, wrong, kind, shape.visible.length_s), shape


def _kind(choice: Choice) -> Fields:
    return {"meta": {"detail": choice.kind}}


def _evidence(span: Span, scene: Scene, corruption: Corruption, rng: np.random.Generator) -> Fields:
    return {"spans": [_pair(corruption.span(span, scene.duration_s, rng))], "rests_on": span}


def _asked(scene: Scene, rng: np.random.Generator) -> list[tuple[str, Shape, Span]]:
    """Some of the unambiguous questions which shape does something, each with the shape and when."""
    words = wording_of(scene)
    asked: list[tuple[str, Shape, Span]] = []
    for action, actor in scene.sole_actors():
        (event,) = (event for event in actor.events() if event.action == action)
        asked.append((words.which_does(action), actor, event.span))
    asked += [(words.turn.format(turn=turn), s, s.visible) for turn, s in scene.turns().items()]
    return [asked[n] for n in rng.permutation(len(asked))[:NUM_ASKED]]


def _pair(span: Span) -> list[float]:
    return [span.start_s, span.end_s]
