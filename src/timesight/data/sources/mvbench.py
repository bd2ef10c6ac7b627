"""MVBench: twenty JSON files of questions, one per task, on videos from a dozen data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from timesight.data.records import make_sample
from timesight.data.sources.choices import worded_answer
from timesight.data.sources.files import Source, field, files_present, read_records
from timesight.data.videos import Videos
from timesight.errors import InputError
from timesight.tasks.multiple_choice import MultipleChoice
from timesight.types import Sample, Video

# The folder of each task's videos in the official tree: some file names occur in several data sets.
FOLDERS = {
    "action_sequence": "star",
    "action_prediction": "star",
    "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw",
    "unexpected_action": "FunQA_test",
    "object_existence": "clevrer",
    "object_interaction": "star",
    "object_shuffle": "perception",
    "moving_direction": "clevrer",
    "action_localization": "sta",
    "scene_transition": "scene_qa",
    "action_count": "perception",
    "moving_count": "clevrer",
    "moving_attribute": "clevrer",
    "state_change": "perception",
    "fine_grained_pose": "nturgbd",
    "character_order": "perception",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa",
    "counterfactual_inference": "clevrer",
}
FRAMES_FPS = 3.0  # of the folders of frames in episodic_reasoning


def read(annotations: Path, videos: Videos, split: str, *, task: str | None = None) -> list[Sample]:
    """Read one multiple-choice sample per record; ``meta.task`` names its task.

    Records with a start and an end ask about that window only. A warning names tasks whose files are missing.

    Args:
        annotations, videos, split: As in ``Source``.
        task: Of MVBench, such as ``action_count``; None reads all.
    """
    if task is not None and task not in FOLDERS:
        raise InputError(f"mvbench has no task {task}: choose one of {', '.join(FOLDERS)}")
    wanted = (task,) if task else tuple(FOLDERS)
    files = files_present(annotations, {name: (f"{name}.json",) for name in wanted})
    return [sample for name, file in files.items() for sample in _task(name, file, videos)]


def _task(name: str, file: Path, videos: Videos) -> list[Sample]:
    samples = []
    for index, (where, record) in enumerate(read_records(file)):
        options = [str(option) for option in field(where, record, "candidates", list)]
        window, problems = _window(record)
        frames = {"fps": record.get("fps", FRAMES_FPS)} if name == "episodic_reasoning" else {}
        samples.append(
            make_sample(
                where,
                MultipleChoice.name,
                id=f"mvbench/{name}#{index}",
                video={"path": _path(videos, record, where, name), **window, **frames},
                question=field(where, record, "question"),
                options=options,
                answer=worded_answer(field(where, record, "answer"), options),
                subtitles=record.get("subtitle", ""),
                meta={"task": name},
                problems=problems,
            )
        )
    return samples


def _window(record: Any) -> tuple[dict[str, Any], list[str]]:
    """The window that a record asks about, and what is wrong with it."""
    window = {"start_s": record.get("start"), "end_s": record.get("end")}
    if all(edge is None for edge in window.values()):
        return {}, []
    try:
        Video.model_validate({"path": "", **window})
    except ValidationError:
        is_one = False
    else:
        is_one = None not in window.values()
    return (window, []) if is_one else ({}, [f"{window['start_s']} to {window['end_s']} s is no window of a video"])


def _path(videos: Videos, record: object, where: str, name: str) -> Path:
    video = field(where, record, "video", str)
    return videos.path(video, within=FOLDERS[name], extension="" if name == "episodic_reasoning" else ".mp4")


SOURCE = Source(task=MultipleChoice.name, splits={"test": "test"}, files="{task}.json for twenty tasks", read=read)
