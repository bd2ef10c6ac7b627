"""Two processes on one machine: what they learn together is what one learns from all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from timesight.data import read_jsonl
from timesight.infer.answer import InferenceConfig
from timesight.model.load import load_policy
from timesight.training.validate import validate
from timesight.video import FrameBudget

pytestmark = pytest.mark.slow

TRAIN = {"learning_rate": 1e-3, "max_steps": 2, "save_steps": 2}
VIDEO = {"min_pixels": 784, "max_pixels": 4704, "max_frames": 8}


def run(command: str, recipe: Path, out: Path, processes: int) -> None:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "timesight", command, str(recipe), "--out", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-12000:]


def write(file: Path, recipe: dict[str, object]) -> Path:
    file.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    return file


@pytest.fixture
def uneven_samples(world: Path, tmp_path: Path) -> Path:
    """Samples whose gold replies have one, two or three spans."""
    records = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()][:16]
    for index, record in enumerate(records):
        record["video"] = str(world / record["video"])
        record["spans"] = [[n + 0.5, n + 1.0] for n in range(1 + index % 3)]
    file = tmp_path / "uneven.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def test_two_processes_share_their_gradients(uneven_samples: Path, tmp_path: Path) -> None:
    """The gradient of two halves of a batch is that of the batch, and not that of a half."""
    recipe = {"kind": "sft", "model": "tiny", "seed": 1, "data": {"jsonl": str(uneven_samples)}, "video": VIDEO}
    norms = {}
    for processes, batch_size in ((1, 4), (2, 2), (1, 2)):
        name = f"{processes}x{batch_size}"
        file = write(
            tmp_path / f"{name}.yaml", recipe | {"train": TRAIN | {"max_steps": 1, "batch_size": batch_size}}
        )
        run("sft", file, tmp_path / name, processes)
        norms[name] = json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])["grad_norm"]
    assert norms["2x2"] == pytest.approx(norms["1x4"], rel=0.003)
    assert norms["2x2"] != pytest.approx(norms["1x2"], rel=0.01)


def test_grpo_on_two_processes(world: Path, tmp_path: Path) -> None:
    """Every process samples for other prompts; a broken video on one does not hold up the other."""
    records = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    for index, record in enumerate(records):
        record["video"] = str(world / record["video"]) if index % 3 else str(tmp_path / "gone.mp4")
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    recipe = {
        "kind": "grpo",
        "data": {"jsonl": str(tmp_path / "samples.jsonl")},
        "video": VIDEO,
        "train": TRAIN | {"max_steps": 4, "batch_size": 1, "max_broken_share": 1.0},
        "grpo": {"num_generations": 4, "max_completion_length": 16, "loss_type": "dapo", "scale_rewards": "task"},
        "validation": {"jsonl": str(world / "test.jsonl"), "every_steps": 4},
    }
    out = tmp_path / "run"
    run("train", write(tmp_path / "grpo.yaml", recipe), out, processes=2)
    entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4, 4]
    budget = FrameBudget(**VIDEO)
    alone = validate(
        load_policy(out, dtype="mixed"),
        read_jsonl(world / "test.jsonl"),
        InferenceConfig(budget, batch_size=8, max_new_tokens=16),
    )
    shared = {name: value for name, value in entries[-1].items() if name not in ("step", "version", "validate_s")}
    assert shared.keys() == alone.keys()
    assert shared == pytest.approx(alone, abs=0.02)  # of the same weights, in batches of other shapes
    asked = {json.loads(f.read_text().splitlines()[0])["id"] for f in (out / "completions").iterdir()}
    assert len(asked) > 1
    assert all(torch.isfinite(t).all() for t in load_policy(out).model.state_dict().values())
