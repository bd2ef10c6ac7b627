"""Two processes, with whole weights and with sharded ones, learn what one process learns from the same batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from timesight.model.load import load_policy

pytestmark = pytest.mark.slow

VIDEO = {"min_pixels": 784, "max_pixels": 4704, "max_frames": 8}
TRAIN = {"learning_rate": 1e-4, "max_steps": 4, "save_steps": 2, "max_grad_norm": 1e9, "max_broken_share": 1.0}
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}  # accelerate launch sets both
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"}
ZERO3 = {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true"}
GONE = (1, 4, 8)  # samples without a video: of the second step one batch is empty, of the third both


def start(recipe: Path, out: Path, processes: int, env: dict[str, str]) -> subprocess.Popen[str]:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    script = Path(__file__).with_name("recorded_run.py")
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), str(recipe), str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(recipe: Path, out: Path, processes: int, env: dict[str, str]) -> None:
    process = start(recipe, out, processes, env)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed[-12000:]


@pytest.fixture
def samples(world: Path, tmp_path: Path) -> Path:
    """Samples with gold replies of unequal lengths; some have no video, so that batches are empty."""
    records = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()][:12]
    for index, record in enumerate(records):
        record["video"] = str(tmp_path / "gone.mp4" if index in GONE else world / record["video"])
        record["spans"] = [[n + 0.5, n + 1.0] for n in range(1 + index % 3)]
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def recipe_file(folder: Path, kind: str, samples: Path, processes: int, train: dict[str, Any], **more: Any) -> Path:
    """Two micro-batches a step, on one process or one each."""
    recipe: dict[str, Any] = {"kind": kind, "model": "tiny", "data": {"jsonl": str(samples)}, "video": VIDEO}
    recipe["train"] = TRAIN | train | {"gradient_accumulation_steps": 2 // processes}
    if kind == "grpo":
        recipe["grpo"] = {"num_generations": 4, "max_completion_length": 32, "beta": 0.5, "scale_rewards": "task"}
    file = folder / f"{processes}.yaml"
    file.write_text(json.dumps(recipe | more))  # JSON is YAML
    return file


def metrics(run: Path) -> list[dict[str, float]]:
    """Every step's metrics without those that a clock gives."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.endswith("_s")} for line in lines]


def assert_same_metrics(one: Path, other: Path) -> None:
    for mine, theirs in zip(metrics(one), metrics(other), strict=True):
        assert mine == pytest.approx(theirs, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "train"),
    [
        ("sft", {"freeze": ["tower", "merger"]}),
        ("grpo", {}),
        ("grpo", {"lora": {"r": 4, "alpha": 8}, "gradient_checkpointing": True}),
    ],
    ids=["frozen tower", "all weights", "adapters"],
)
def test_two_processes_learn_what_one_does(kind: str, train: dict[str, Any], samples: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    run(recipe_file(tmp_path, kind, samples, 1, train), one, 1, {})
    assert [entry["num_broken"] for entry in metrics(one)] == [0, 1, 2, 0]
    two = recipe_file(tmp_path, kind, samples, 2, train)
    for name, env in (("ddp", {}), ("fsdp", FSDP)):
        out = tmp_path / name
        run(two, out, 2, env)
        for number in (1, 2, 3, 4):
            mine, theirs = (torch.load(folder / f"gradients-{number}.pt") for folder in (one, out))
            assert mine.keys() == theirs.keys()
            for parameter in mine:
                scale = max(float(mine[parameter].abs().max()), 1e-3)
                difference = float((mine[parameter] - theirs[parameter]).abs().max()) / scale
                # Adam divides by the gradient's size: weights are as far apart after a step as its rounding says.
                assert difference < (1e-5 if number == 1 else 2e-4), (name, number, parameter, difference)
        assert_same_metrics(one, out)


@pytest.mark.parametrize("stage", [2, 3])
def test_two_processes_learn_what_one_does_with_deepspeed(stage: int, samples: Path, tmp_path: Path) -> None:
    if find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    one, two = tmp_path / "one", tmp_path / "two"
    run(recipe_file(tmp_path, "grpo", samples, 1, {}), one, 1, {})
    env = ZERO | ZERO3 | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": str(stage)}
    run(recipe_file(tmp_path, "grpo", samples, 2, {}), two, 2, env)
    assert_same_metrics(one, two)


def test_a_killed_process_ends_the_others_and_the_run_goes_on(samples: Path, world: Path, tmp_path: Path) -> None:
    """Under FSDP, with a validation: the state that a run resumes from is sharded too."""
    validation = {"jsonl": str(world / "test.jsonl"), "num_samples": 4, "every_steps": 2}
    recipe = recipe_file(tmp_path, "grpo", samples, 2, {}, validation=validation)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(recipe, whole, 2, FSDP)
    process = start(recipe, killed, 2, FSDP)
    while not (killed / "checkpoint-2").exists():
        assert process.poll() is None
        time.sleep(0.02)
    second = next(pid for pid in workers(process.pid) if "RANK=1" in environment(pid))
    os.kill(second, signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"Signal 9 (SIGKILL) received by PID {second}" in printed
    run(recipe, killed, 2, FSDP)
    assert metrics(killed) == metrics(whole)
    weights, again = (load_policy(out, dtype="float32").model.state_dict() for out in (whole, killed))
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def workers(launcher: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]


def environment(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
