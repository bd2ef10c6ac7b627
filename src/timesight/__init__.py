"""Teach a video language model to see when and where, with rewards that can be checked.

The public API. Names load on first use: importing timesight does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timesight.data.dataset import read_dataset
    from timesight.errors import (
        InputError,
        ModelError,
        RecipeError,
        SampleError,
        TimesightError,
        TrainingError,
        VideoError,
    )
    from timesight.evaluation.evaluate import evaluate
    from timesight.generate.base import Completion, Generator, Sampling
    from timesight.infer.ask import ask
    from timesight.model.load import load_policy
    from timesight.model.policy import Policy
    from timesight.tasks import TASKS, Task, TaskRegistry
    from timesight.training.run import train
    from timesight.types import Box, Evidence, Question, Reply, Sample, Span, Video

__version__ = "0.2.0"

_HOME = {
    "TASKS": "tasks",
    "Box": "types",
    "Completion": "generate.base",
    "Evidence": "types",
    "Generator": "generate.base",
    "InputError": "errors",
    "ModelError": "errors",
    "Policy": "model.policy",
    "Question": "types",
    "RecipeError": "errors",
    "Reply": "types",
    "Sample": "types",
    "SampleError": "errors",
    "Sampling": "generate.base",
    "Span": "types",
    "Task": "tasks",
    "TaskRegistry": "tasks",
    "TimesightError": "errors",
    "TrainingError": "errors",
    "Video": "types",
    "VideoError": "errors",
    "ask": "infer.ask",
    "evaluate": "evaluation.evaluate",
    "load_policy": "model.load",
    "read_dataset": "data.dataset",
    "train": "training.run",
}

__all__ = [
    "TASKS",
    "Box",
    "Completion",
    "Evidence",
    "Generator",
    "InputError",
    "ModelError",
    "Policy",
    "Question",
    "RecipeError",
    "Reply",
    "Sample",
    "SampleError",
    "Sampling",
    "Span",
    "Task",
    "TaskRegistry",
    "TimesightError",
    "TrainingError",
    "Video",
    "VideoError",
    "ask",
    "evaluate",
    "load_policy",
    "read_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"timesight.{_HOME[name]}"), name)
    raise AttributeError(f"module 'timesight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
