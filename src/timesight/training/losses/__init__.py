"""Losses, one file each. A new one is a file and a line below; a custom one is ``module:function`` in a recipe.

A loss for GRPO takes ``LossInputs`` and, as keywords, those of the options in ``GrpoSettings`` that it names.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from timesight.training.losses.base import Loss, LossInputs, LossOutput
from timesight.training.losses.bnpo import bnpo_loss
from timesight.training.losses.dapo import dapo_loss
from timesight.training.losses.dr_grpo import dr_grpo_loss
from timesight.training.losses.grpo import grpo_loss
from timesight.training.losses.sft import replies_weight, sft_loss
from timesight.training.options import LOSS_TYPES, import_function

LOSSES: dict[str, Loss] = {"grpo": grpo_loss, "bnpo": bnpo_loss, "dr_grpo": dr_grpo_loss, "dapo": dapo_loss}

__all__ = ["LOSSES", "Loss", "LossInputs", "LossOutput", "find_loss", "replies_weight", "sft_loss"]


def find_loss(name: str, options: Mapping[str, Any]) -> Loss:
    """The loss called ``name``, with those of ``options`` that it takes.

    Args:
        name: One of ``LOSSES``, or ``module:function``.
        options: By keyword.

    Raises:
        RecipeError: If there is no such loss.
    """
    loss = LOSSES.get(name) or import_function(name, LOSS_TYPES)
    takes = inspect.signature(loss).parameters
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in takes.values())
    return partial(loss, **{key: value for key, value in options.items() if takes_all or key in takes})
