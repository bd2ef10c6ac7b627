"""The tasks: one file each; ``TASKS`` is all of them. Nothing here needs a decoder, torch or a network."""

from typing import Any

from timesight.tasks.base import Graded, Task
from timesight.tasks.captioning import Captioning
from timesight.tasks.grounded_qa import GroundedQa
from timesight.tasks.multiple_choice import MultipleChoice
from timesight.tasks.object_tracking import ObjectTracking
from timesight.tasks.open_qa import OpenQa
from timesight.tasks.quality_assessment import QualityAssessment
from timesight.tasks.temporal_grounding import TemporalGrounding

TASKS: dict[str, Task[Any, Any]] = {
    task.name: task
    for task in (
        TemporalGrounding(),
        ObjectTracking(),
        MultipleChoice(),
        GroundedQa(),
        Captioning(),
        QualityAssessment(),
        OpenQa(),
    )
}

__all__ = ["TASKS", "Graded", "Task"]
