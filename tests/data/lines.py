"""Files of samples as the tests of ``data check`` write them, and what is found in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from timesight.data.check import Line
from timesight.data.surveys import survey_all
from timesight.types import Video
from timesight.video.survey import VideoFacts

GROUNDING = {"task": "temporal_grounding", "video": "v.mp4", "query": "a", "spans": [[1, 2]]}
TRACKING = {"task": "object_tracking", "video": "v.mp4", "object": "dog", "times_s": [0, 1]}
BOX = [0.1, 0.1, 0.5, 0.5]


def write(file: Path, records: Sequence[dict[str, Any] | str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records)
    file.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return file


def kinds(lines: Sequence[Line]) -> list[list[str]]:
    return [[problem.kind for problem in line.problems] for line in lines]


def survey(lines: Sequence[Line], kept: Path, limit_s: float = 60) -> dict[Video, VideoFacts | str]:
    return survey_all([line.sample.video for line in lines if line.sample], kept, workers=1, limit_s=limit_s)
