"""What a reply is a reply to: the question and the video, and the very weights that were asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from timesight.errors import InputError
from timesight.evaluation.replies import kept_questions
from timesight.infer.answer import InferenceConfig, asked_as
from timesight.model.load import base_folder, resolve
from timesight.types import PromptPart, Sample, TextPart

WEIGHTS = (".safetensors", ".bin", ".pt")


def question_digest(sample: Sample, config: InferenceConfig) -> str:
    """What tells the question put to ``sample`` from any other: its text, its videos, its frames."""
    asked = asked_as(sample, config)
    request = config.tasks.of(sample).frames(sample)
    parts = [_told(part) for part in config.tasks.of(asked).prompt(asked, config.think)]
    told = json.dumps([parts, None if request is None else asdict(request)])
    return sha256(told.encode()).hexdigest()[:16]


def require_same_questions(folder: Path, digests: Mapping[str, str]) -> None:
    """Raise InputError where ``folder`` holds a reply to another question under one of these ids."""
    kept = kept_questions(folder)
    others = [id_ for id_, digest in digests.items() if id_ in kept and kept[id_] != digest]
    if others:
        more = f" (and under {len(others) - 1} more)" if len(others) > 1 else ""
        raise InputError(
            f"{folder} holds a reply to another question, prompt or video under id {others[0]}{more}: "
            "choose another folder"
        )


def weight_files(model: str) -> dict[str, str]:
    """Size and time of each file of weights of a local ``model``, by path; one that was written anew differs."""
    places = map(Path, (resolve(model), base_folder(model)))  # an adapter's, and its base model's
    return {
        str(file): f"of {about.st_size} bytes, written {datetime.fromtimestamp(about.st_mtime, UTC).isoformat()}"
        for folder in dict.fromkeys(place.resolve() for place in places if place.is_dir())
        for file in sorted(folder.iterdir())
        if file.suffix in WEIGHTS and (about := file.stat())
    }


def _told(part: PromptPart) -> Any:
    if isinstance(part, TextPart):
        return part.text
    return part.video.model_copy(update={"path": part.video.path.resolve()}).model_dump(mode="json")
