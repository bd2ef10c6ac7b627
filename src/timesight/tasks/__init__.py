"""The tasks, one file each; ``TASKS`` is the registry of the package's. Nothing here needs torch or a network."""

from timesight.tasks.base import Graded, Task
from timesight.tasks.captioning import Captioning
from timesight.tasks.grounded_qa import GroundedQa
from timesight.tasks.multiple_choice import MultipleChoice
from timesight.tasks.object_tracking import ObjectTracking
from timesight.tasks.open_qa import OpenQa
from timesight.tasks.quality_assessment import QualityAssessment
from timesight.tasks.registry import TaskRegistry
from timesight.tasks.temporal_grounding import TemporalGrounding

TASKS = TaskRegistry(
    (
        TemporalGrounding(),
        ObjectTracking(),
        MultipleChoice(),
        GroundedQa(),
        Captioning(),
        QualityAssessment(),
        OpenQa(),
    )
)

__all__ = ["TASKS", "Graded", "Task", "TaskRegistry"]
