"""Families of models, one file each: what differs between them is said there and nowhere else.

A new family is a file with a ``FAMILY`` and its name in the tuple below.
"""

from __future__ import annotations

from typing import Any

from timesight.model.families import qwen2_5_vl, qwen2_vl, qwen3_vl
from timesight.model.families.base import Family

__all__ = ["FAMILIES", "Family", "family_of"]

FAMILIES = {module.FAMILY.model_type: module.FAMILY for module in (qwen2_vl, qwen2_5_vl, qwen3_vl)}


def family_of(config: Any) -> Family:
    """The family of a model's configuration; one that is not registered takes the plain path."""
    return FAMILIES.get(config.model_type) or Family(config.model_type)
