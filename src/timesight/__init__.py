"""Teach a video language model to see when and where, with rewards that can be checked.

The flat public face of the package. Names load on first use: importing timesight does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timesight.errors import (
        InputError,
        RecipeError,
        SampleError,
        TimesightError,
        TrainingError,
        VideoError,
    )
    from timesight.infer.ask import ask
    from timesight.model.load import load_policy
    from timesight.model.policy import Policy
    from timesight.tasks import TASKS
    from timesight.types import Box, Question, Reply, Sample, Span, Video

__version__ = "0.1.0"

_HOME = {
    "TASKS": "tasks",
    "Box": "types",
    "InputError": "errors",
    "Policy": "model.load",
    "Question": "types",
    "RecipeError": "errors",
    "Reply": "types",
    "Sample": "types",
    "SampleError": "errors",
    "Span": "types",
    "TimesightError": "errors",
    "TrainingError": "errors",
    "Video": "types",
    "VideoError": "errors",
    "ask": "infer.ask",
    "load_policy": "model.load",
}

__all__ = [
    "TASKS",
    "Box",
    "InputError",
    "Policy",
    "Question",
    "RecipeError",
    "Reply",
    "Sample",
    "SampleError",
    "Span",
    "TimesightError",
    "TrainingError",
    "Video",
    "VideoError",
    "ask",
    "load_policy",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"timesight.{_HOME[name]}"), name)
    raise AttributeError(f"module 'timesight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
