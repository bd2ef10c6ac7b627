"""A training run over everything that can be wrong with a video: each is named once, the rest is learned from."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from timesight.artifacts import METRICS_FILE
from timesight.training.loop import Callback
from timesight.training.run import run_recipe
from timesight.training.settings import GrpoRecipe
from timesight.video import Frames
from timesight.video import reader as reader_module

REASONS = {
    "text.mp4": "cannot be opened as a video",
    "empty.mp4": "cannot be opened as a video",
    "cut.mp4": "cannot be opened as a video",
    "pipe.mp4": "is not a regular file",
    "gone.mp4": "no such file",
}
CLOSED = {"closed/v.mp4": "cannot be read (permission denied)"}
NOBODY = 65534


@pytest.fixture
def root(world: Path) -> Iterator[Path]:
    """A folder of broken and whole videos."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        whole = sorted((world / "train").glob("*.mp4"))[:16]
        for path in whole:
            shutil.copy(path, root)
        (root / "text.mp4").write_text("not a video")
        (root / "empty.mp4").touch()
        (root / "cut.mp4").write_bytes(whole[0].read_bytes()[:-600])  # without its index
        os.mkfifo(root / "pipe.mp4")
        yield root


@pytest.fixture
def closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that nobody may look into; videos are read by a user without rights, whom alone that stops."""
    load = reader_module._load

    def without_rights(*args: Any) -> Frames:
        before = os.geteuid()
        os.seteuid(NOBODY if before == 0 else before)
        try:
            return load(*args)
        finally:
            os.seteuid(before)

    (root / "closed").mkdir(mode=0)
    root.chmod(0o777)
    monkeypatch.setattr(reader_module, "_load", without_rights)
    yield
    (root / "closed").chmod(0o700)


class Vanish(Callback):
    """Deletes videos that no step has asked for, when the third step begins."""

    def __init__(self, run: Path, whole: list[Path]) -> None:
        self.run = run
        self.whole = whole
        self.deleted: list[Path] = []

    def on_step(self, step: int) -> None:
        if step == 2:
            used = "".join(file.read_text() for file in (self.run / "completions").iterdir())
            self.deleted = [path for path in self.whole if f'"{path.name}"' not in used][-6:]
            for path in self.deleted:
                path.unlink()


@pytest.mark.slow
def test_a_run_over_every_fault_while_the_disk_is_full(
    root: Path, closed: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without workers, since the full disk is played in this process."""
    reader_module._open_cache.cache_clear()
    monkeypatch.setattr(Path, "write_bytes", _no_room)
    run_over(root, REASONS | CLOSED, workers=0)
    assert caplog.text.count("nothing more is cached (no space left on device)") == 1


@pytest.mark.slow
def test_a_run_over_every_fault_that_reads_ahead(root: Path) -> None:
    run_over(root, REASONS, workers=1)


def run_over(root: Path, expected: dict[str, str], workers: int) -> None:
    """Train on broken videos, on whole ones, and on some that vanish; check that each is accounted for."""
    whole = sorted(root.glob("0*.mp4"))
    sample = {"task": "temporal_grounding", "query": "the red circle is visible", "spans": [[0.5, 1.0]]}
    lines = [sample | {"id": str(name), "video": str(name)} for name in [*expected, *(p.name for p in whole)]]
    (root / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "model": "tiny",
            "data": {"jsonl": root / "train.jsonl"},
            "video": {"min_pixels": 784, "max_pixels": 784, "max_frames": 4},
            "reading": {"workers": workers, "ahead": 1, "cache": root / "cache"},
            "train": {"max_steps": 11, "batch_size": 4, "save_steps": 11, "max_broken_share": 0.9},
            "grpo": {"num_generations": 2, "max_completion_length": 4, "beta": 0.0},
        }
    )
    vanish = Vanish(root / "run", whole)
    result = run_recipe(recipe, root / "run", callbacks=[vanish])

    told = [json.loads(line) for line in (root / "run/quarantine.jsonl").read_text().splitlines()]
    reasons = {str(Path(entry["path"]).relative_to(root)): entry["reason"] for entry in told}
    assert len(told) == len(reasons) == result.num_quarantined
    for name, reason in expected.items():
        assert reasons.pop(name).startswith(reason)
    assert reasons  # at most a few of the deleted had been read ahead
    assert set(reasons) <= {path.name for path in vanish.deleted}
    assert set(reasons.values()) == {"no such file"}
    entries = [json.loads(line) for line in (root / "run" / METRICS_FILE).read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(1, 12))
    assert sum(entry["num_broken"] for entry in entries) >= len(told)
    learned = {
        json.loads(line)["id"]
        for file in (root / "run/completions").iterdir()
        for line in file.read_text().splitlines()
    }
    assert learned == {line["id"] for line in lines} - set(expected) - set(reasons)


def _no_room(self: Path, content: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
