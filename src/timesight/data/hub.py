"""Samples from a data set of the Hugging Face hub, or from a folder that ``datasets`` saved.

Columns are the fields of samples; without ``id``, rows are numbered. ``video`` is a path relative to the folder, or
to the root of the hub's repository, which is then downloaded; or it is the content of a file, which is written to
disk undecoded, for the same reader as all other videos.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from timesight.data.records import make_sample, pop_task
from timesight.errors import InputError, SampleError
from timesight.files import whole_file
from timesight.tasks import TASKS, TaskRegistry
from timesight.types import Sample


def read_hub(name: str, split: str, files: Path, tasks: TaskRegistry = TASKS) -> list[Sample]:
    """Read the samples of a data set of the hub, or of a folder that ``datasets`` saved.

    Args:
        name: Hub id or folder.
        split: Of the data set.
        files: Folder for videos whose content is in the data set; each is written once.
        tasks: The tasks that samples may belong to.

    Raises:
        InputError: If ``datasets`` is not installed, the data set or split cannot be loaded, or a video cannot be
            written.
        SampleError: If a row is not a valid sample, or there are none.
    """
    rows = _load(name, split)
    videos = [key for key, feature in rows.features.items() if type(feature).__name__ == "Video"]
    for key in videos:
        rows = rows.cast_column(key, type(rows.features[key])(decode=False))
    root = _root(name, isinstance(rows[0].get("video"), str) if len(rows) else False)
    samples = []
    for number, row in enumerate(rows):
        record = {key: value for key, value in row.items() if value is not None}
        where = f"{name} {split} row {number}"
        task = pop_task(where, record, tasks)
        record.setdefault("id", f"{Path(name).name}/{split}-{number}")
        record["video"] = _video(record.get("video"), where, root, files)
        samples.append(make_sample(where, task, tasks, **record))
    if not samples:
        raise SampleError(f"{name} {split}: holds no samples")
    return samples


def _load(name: str, split: str) -> Any:
    try:
        from datasets import DatasetDict, load_dataset, load_from_disk
        from datasets.exceptions import DatasetsError
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise InputError(f"{name}: data sets of the hub need datasets: pip install timesight[data]") from None
    try:
        saved = (Path(name) / "dataset_dict.json").exists() or (Path(name) / "state.json").exists()
        loaded = load_from_disk(name) if saved else load_dataset(name, split=split)
        return loaded[split] if isinstance(loaded, DatasetDict) else loaded
    except KeyError:
        raise InputError(f"{name}: has no split {split}; it has {', '.join(loaded)}") from None
    except (DatasetsError, HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be loaded ({str(error).splitlines()[0]})") from None


def _root(name: str, has_paths: bool) -> Path:
    """The folder that paths are relative to."""
    if Path(name).is_dir() or not has_paths:
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, repo_type="dataset"))


def _video(value: Any, where: str, root: Path, files: Path) -> Any:
    """The video of a row; written to ``files`` if the row holds its content."""
    if isinstance(value, str):
        return root / value
    if not isinstance(value, dict):
        raise SampleError(f"{where}: key 'video' is missing")
    if value.get("bytes") is None:  # a path, or a path with a window
        known = {name: part for name, part in value.items() if part is not None}
        return known | {"path": root / known.get("path", "")}
    content: bytes = value["bytes"]
    suffix = Path(value.get("path") or "video.mp4").suffix
    file = files / f"{hashlib.blake2b(content, digest_size=20).hexdigest()}{suffix}"
    if not file.exists():
        with whole_file(file) as unfinished:
            unfinished.write_bytes(content)
    return file
