"""The list of broken videos of a run, which are counted and never replaced by others."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from timesight.artifacts import QuarantineEntry, append_record
from timesight.errors import TrainingError, VideoError

MIN_SEEN = 20  # with fewer videos the share is too noisy to stop a run


class Quarantine:
    """The videos of a run that could not be read. ``reasons`` has the reason for each by path.

    Args:
        file: JSONL of ``QuarantineEntry``; entries of an earlier run are read, new ones appended.
        max_share: Allowed share of broken videos among those requested since the start, in [0, 1]. Those that an
            earlier run found do not count until they are requested again, as this run has not seen the rest either.
    """

    def __init__(self, file: Path, max_share: float = 1.0) -> None:
        self._file = file
        self._max_share = max_share
        self._seen: set[str] = set()
        self._broken: set[str] = set()  # of those that were requested since the start
        self.reasons: dict[str, str] = {}
        kept = file.read_text(encoding="utf-8") if file.exists() else ""
        for line in kept.splitlines():
            with suppress(ValueError):  # the last line may be cut off: its video will be found again
                entry = QuarantineEntry.model_validate_json(line)
                self.reasons[entry.path] = entry.reason
        self._begin = "" if kept.endswith("\n") or not kept else "\n"

    def __len__(self) -> int:
        return len(self.reasons)

    def saw(self, path: Path) -> None:
        """Count a video that was requested, whether or not it can be read."""
        self._seen.add(str(path))

    def put(self, error: VideoError) -> None:
        """Add a broken video, once.

        Raises:
            InputError: If it cannot be kept on record.
            TrainingError: If the share of broken videos is above ``max_share``, from 20 videos on.
        """
        if error.path not in self.reasons:
            self.reasons[error.path] = error.reason
            append_record(self._file, QuarantineEntry(path=error.path, reason=error.reason), self._begin)
            self._begin = ""
        self._broken.add(error.path)
        broken, seen = len(self._broken), len(self._seen | self._broken)
        if seen >= MIN_SEEN and broken > self._max_share * seen:
            raise TrainingError(
                f"{broken} of {seen} videos cannot be read, more than the {self._max_share:.0%} allowed; "
                f"they are listed in {self._file}. Fix them or raise train.max_broken_share"
            )
