"""How the synthetic world puts its questions: the usual way, and one that only scenes out of domain have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from timesight.world.scene import Action, Event, Scene, Shape


@dataclass(frozen=True)
class Wording:
    """Sentences and questions; the fields are templates."""

    actions: Mapping[Action, str]
    in_video: str
    does: str
    which: str
    turn: str
    color: str

    def event(self, event: Event) -> str:
        """An event as a sentence, without a full stop."""
        return f"the {event.shape} {self.actions[event.action]}"

    def which_does(self, action: Action) -> str:
        """Which shape does ``action``?"""
        return self.which.format(action=self.actions[action])

    def what_does(self, shape: Shape) -> str:
        """What does ``shape`` do?"""
        return self.does.format(name=shape.name)


USUAL = Wording(
    actions={"is visible": "is visible", "moves": "moves", "blinks": "blinks"},
    in_video="Which shape is in the video?",
    does="What does the {name} do?",
    which="Which shape {action}?",
    turn="Which shape is {turn} to appear?",
    color="Which color is the {kind}?",
)
OTHER = Wording(
    actions={"is visible": "can be seen", "moves": "is in motion", "blinks": "goes on and off"},
    in_video="What can be seen in the video?",
    does="What is it that the {name} does?",
    which="What is the shape that {action}?",
    turn="What is {turn} to be seen?",
    color="What is the color of the {kind}?",
)


def wording_of(scene: Scene) -> Wording:
    """How questions about ``scene`` are put."""
    return OTHER if scene.shift == "wording" else USUAL
