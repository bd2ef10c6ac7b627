"""Multiple-choice questions of the synthetic world, and their options."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from timesight.world.corruption import Corruption
from timesight.world.generate import SEEN_PAIRS
from timesight.world.scene import COLORS, DIRECTIONS, KINDS, Scene
from timesight.world.wording import wording_of

NUM_OPTIONS = 3
NUM_PLAIN = 2  # of the plain questions that a scene allows


@dataclass(frozen=True)
class Choice:
    """A question with its right answer, wrong ones of which the first are options, and how long it shows."""

    question: str
    right: str
    wrong: Sequence[str]
    kind: str
    visible_s: float = math.inf

    def options(self, rng: np.random.Generator) -> list[str]:
        """The right answer among wrong ones, shuffled."""
        wrong = [other for other in dict.fromkeys(self.wrong) if other != self.right][: NUM_OPTIONS - 1]
        return [[self.right, *wrong][n] for n in rng.permutation(len(wrong) + 1)]

    def fields(self, corruption: Corruption, rng: np.random.Generator) -> dict[str, object]:
        """Fields of a sample; the thought ends with the answer's text, so that only its letter is left to find."""
        options = self.options(rng)
        answer = corruption.option(options.index(self.right), self.visible_s, rng)
        return {"question": self.question, "options": options, "answer": answer, "so": options[answer]}


def plain_choices(scene: Scene, rng: np.random.Generator) -> list[Choice]:
    """Questions about which shapes there are, what they look like and what they do."""
    words = wording_of(scene)
    shape = scene.shapes[int(rng.integers(len(scene.shapes)))]
    actions = ["It stays", "It moves", "It blinks"]
    asked = [
        Choice(words.in_video, shape.name, absent_names(scene, rng), "presence", shape.visible.length_s),
        Choice(
            words.what_does(shape),
            f"It {shape.action}",
            [actions[n] for n in rng.permutation(3)],
            "action",
            shape.visible.length_s,
        ),
    ]
    for action, actor in scene.sole_actors():
        names, shown_s = shape_names(scene, rng), actor.visible.length_s
        asked.append(Choice(words.which_does(action), actor.name, names, "which", shown_s))
    for kind in KINDS:
        alike = [shape for shape in scene.shapes if shape.kind == kind]
        if len(alike) == 1:
            colors = [list(COLORS)[n] for n in rng.permutation(len(COLORS))]
            shown_s = alike[0].visible.length_s
            asked.append(Choice(words.color.format(kind=kind), alike[0].color, colors, "color", shown_s))
    return [asked[n] for n in rng.permutation(len(asked))[:NUM_PLAIN]]


def general_choices(scene: Scene, rng: np.random.Generator) -> Iterator[Choice]:
    """Questions about number, order, direction, before and after."""
    yield Choice("How many shapes are there?", str(len(scene.shapes)), ["1", "2", "3", "4"], "counting")
    for shape in scene.shapes:
        if shape.direction is not None:
            others = [DIRECTIONS[n] for n in rng.permutation(len(DIRECTIONS))]
            yield Choice(f"Which way does the {shape.name} move?", shape.direction, others, "direction")
    if len(scene.shapes) == 1:
        return
    for turn, shape in scene.turns().items():
        yield Choice(wording_of(scene).turn.format(turn=turn), shape.name, shape_names(scene, rng), "order")
    order = scene.in_order
    for one, other in pairwise(order):
        if one.visible.start_s == other.visible.start_s:
            continue
        relation, asked, right = ("after", one, other) if rng.random() < 0.5 else ("before", other, one)
        names = [name for name in shape_names(scene, rng) if name != asked.name]
        yield Choice(f"Which shape appears {relation} the {asked.name}?", right.name, names, "before and after")


def shape_names(scene: Scene, rng: np.random.Generator) -> list[str]:
    """The shapes of the scene in random order, and then such as are not in it."""
    return [scene.shapes[n].name for n in rng.permutation(len(scene.shapes))] + absent_names(scene, rng)


def absent_names(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Shapes that are not in the scene, in random order."""
    there = {shape.name for shape in scene.shapes}
    names = [f"{color} {kind}" for color, kind in SEEN_PAIRS]
    return [names[n] for n in rng.permutation(len(names)) if names[n] not in there]
