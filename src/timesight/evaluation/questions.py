"""What identifies a reply: its question and video, and the model, weights and settings that it was made with."""

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
from timesight.generate.base import Generator
from timesight.infer.answer import InferenceConfig, asked_as
from timesight.infer.clue import ClueGenerator
from timesight.model.load import base_folder, resolve
from timesight.types import PromptPart, Sample, TextPart

WEIGHTS = (".safetensors", ".bin", ".pt")


def eval_settings(
    suite: str,
    model: str | None,
    generator: Generator,
    config: InferenceConfig,
    *,
    url: str | None = None,
    split: str | None = None,
    subtitles: bool = False,
) -> dict[str, Any]:
    """Return what replies depend on besides their questions, as ``eval.json`` records it.

    Args:
        suite: Name of the suite or of the file of samples.
        model: Model folder, run directory, hub id, or name of a served model. None for a policy or generator that
            is already in memory: its name is recorded, its weights are not.
        generator: The model's generator; the settings of a ``ClueGenerator`` are recorded.
        config: How the questions are asked.
        url: Address of a served model.
        split: Split of the suite; None for its default.
        subtitles: Whether the prompts contain subtitles.

    Returns:
        Settings by name; all replies in a folder are made with the same ones (``folder.init_eval_dir``).
    """
    is_local = model is not None and url is None
    return {
        "suite": suite,
        "model": model or generator.name,
        "model_url": url,
        "think": config.think,
        "temperature": config.temperature,
        "seed": config.seed,
        "max_new_tokens": config.max_new_tokens,
        "split": split,
        "subtitles": subtitles,
        "clue": generator.settings.model_dump() if isinstance(generator, ClueGenerator) else None,
        "second_look": config.second_look.model_dump() if config.second_look else None,
        "weights": weight_files(str(model)) if is_local else {},
        "video": config.budget.model_dump(),
    }


def question_digest(sample: Sample, config: InferenceConfig) -> str:
    """Return a digest of the question asked about ``sample``: its prompt, its videos, the frames the task demands.

    The frame budget is not part of it; ``eval_settings`` records it.

    Returns:
        16 hexadecimal digits.
    """
    asked = asked_as(sample, config)
    request = config.tasks.of(sample).frames(sample)
    parts = [_told(part) for part in config.tasks.of(asked).prompt(asked, config.think)]
    told = json.dumps([parts, None if request is None else asdict(request)])
    return sha256(told.encode()).hexdigest()[:16]


def require_same_questions(folder: Path, digests: Mapping[str, str]) -> None:
    """Check that the replies in ``folder`` answer the questions that are asked now.

    Args:
        folder: Folder of an evaluation, finished or not.
        digests: The ``question_digest`` of each sample, by id.

    Raises:
        InputError: If ``folder`` holds a reply to another question, or to an unrecorded one, under one of the ids.
    """
    kept = kept_questions(folder)
    others = [id_ for id_, digest in digests.items() if id_ in kept and kept[id_] != digest]
    if others:
        more = f" (and under {len(others) - 1} more)" if len(others) > 1 else ""
        raise InputError(
            f"{folder} holds a reply to another question, prompt or video under id {others[0]}{more}: "
            "choose another folder"
        )


def weight_files(model: str) -> dict[str, str]:
    """Return size and modification time of the weights of a model, which show whether a file was replaced.

    Args:
        model: Model folder, run directory, adapter (the files of its base model are included), or hub id.

    Returns:
        A text for each file, by path; empty for a hub id.

    Raises:
        InputError: If there is no model at a local path.
    """
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
