"""Everything timesight raises on purpose.

    TimesightError          one clear line: what is wrong, where, and what to do
    ├── InputError          what the user passed: a path, a flag, a name
    │   ├── RecipeError     a recipe: unknown key, wrong value
    │   └── SampleError     an annotation file: file, line, sample id
    ├── VideoError          a video that cannot be read: file and reason
    ├── ModelError          a model that gives no reply: a server that is down, a prompt that it refuses
    └── TrainingError       a run that cannot continue

The command line prints the message of any of these and exits with code 2. Anything else is a bug and
keeps its traceback.
"""

from __future__ import annotations


def reason_of(error: Exception) -> str:
    """The reason of an error in lower case, for use in a message, such as "no such file or directory"."""
    return str(getattr(error, "strerror", None) or error).lower()


class TimesightError(Exception):
    """Base of all errors raised on purpose; its message is meant for the user."""


class InputError(TimesightError):
    """Something the user passed is wrong: the message names it and says what to do."""


class RecipeError(InputError):
    """A recipe has an unknown key or a value that cannot be used."""


class SampleError(InputError):
    """An annotation record is wrong: the message names file, line and field."""


class VideoError(TimesightError):
    """A video cannot be read: the message names the file and the reason.

    Args:
        path: The file or folder.
        reason: Completes the sentence that begins with the path, such as "has no video stream".
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return VideoError, (self.path, self.reason)  # so that it passes from one process to another


class ModelError(TimesightError):
    """A model gives no reply: the message names the model and the reason."""


class TrainingError(TimesightError):
    """A training run cannot continue: the message says why and what to change."""
