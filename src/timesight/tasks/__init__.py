"""The tasks: one file each; ``TASKS`` is all of them. Nothing here needs a decoder, torch or a network."""

from typing import Any

from timesight.tasks.base import Graded, Task
from timesight.tasks.temporal_grounding import TemporalGrounding

TASKS: dict[str, Task[Any, Any]] = {task.name: task for task in (TemporalGrounding(),)}

__all__ = ["TASKS", "Graded", "Task"]
