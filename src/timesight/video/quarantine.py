"""Broken videos: named, counted, never replaced by others."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from timesight.artifacts import QuarantineEntry, append_record
from timesight.errors import TrainingError, VideoError

MIN_SEEN = 20  # below this many videos a share says nothing


class Quarantine:
    """The videos of a run that could not be read, kept in a JSONL file of ``path`` and ``reason``."""

    def __init__(self, file: Path, max_share: float = 1.0) -> None:
        self._file = file
        self._max_share = max_share
        self._seen: set[str] = set()
        self.reasons: dict[str, str] = {}
        kept = file.read_text(encoding="utf-8") if file.exists() else ""
        for line in kept.splitlines():
            with suppress(ValueError):  # a kill cut it off: the video will be met again
                entry = QuarantineEntry.model_validate_json(line)
                self.reasons[entry.path] = entry.reason
        self._begin = "" if kept.endswith("\n") or not kept else "\n"

    def __len__(self) -> int:
        return len(self.reasons)

    def saw(self, path: Path) -> None:
        """Count a video that was asked for, readable or not."""
        self._seen.add(str(path))

    def put(self, error: VideoError) -> None:
        """Set a broken video aside. Raises TrainingError past the share that was allowed."""
        if error.path not in self.reasons:
            self.reasons[error.path] = error.reason
            append_record(self._file, QuarantineEntry(path=error.path, reason=error.reason), self._begin)
            self._begin = ""
        seen = len(self._seen | self.reasons.keys())
        if seen >= MIN_SEEN and len(self) > self._max_share * seen:
            raise TrainingError(
                f"{len(self)} of {seen} videos cannot be read, more than the {self._max_share:.0%} allowed; "
                f"they are listed in {self._file}. Fix them or raise train.max_broken_share"
            )
