"""What losses and advantages are called in a recipe; loads no torch, so that a wrong name is reported at once."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

from timesight.errors import RecipeError

LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo")
SCALE_REWARDS = ("group", "batch", "none", "task")
LossAverage = Literal["token", "square", "reply"]


def import_function(path: str, known: tuple[str, ...] = ()) -> Any:
    """The function at ``module:function``. Raises RecipeError, which says what else there is (``known``)."""
    otherwise = f"it is one of {', '.join(known)}, or module:function"
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise RecipeError(f"{path} is not known: {otherwise}")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"{path}: cannot be imported ({error}); {otherwise}") from None
    if not callable(function):
        raise RecipeError(f"{path}: is not a function")
    return function
