"""The benchmark measures what it says; how fast it is is nobody's test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from timesight.bench.grpo import Case, bench_grpo
from timesight.model.flops import group_flops, vision_flops
from timesight.model.load import load_policy


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny Qwen2.5-VL", "6M Qwen3-VL"])
def test_plain_and_packed_agree_in_every_row(model: str, tmp_path: Path) -> None:
    (row,) = bench_grpo(tmp_path, [Case(model, 2, 120, 4, whole_step=model.startswith("tiny"))])
    assert row.max_logp_difference < 1e-5
    assert row.max_grad_difference < 1e-4
    assert 1 < row.flops_ratio < 2
    assert row.plain_s > 0
    assert row.packed_s > 0
    assert (row.step_speedup is not None) == model.startswith("tiny")


@pytest.mark.slow
def test_peak_memory_is_seen() -> None:
    # In a new process: one that has freed a lot before would take from that.
    script = (
        "import torch; from timesight.bench.memory import peak_above; "
        'print(peak_above(torch.device("cpu"), lambda: torch.ones(16 * 2**20).sum()))'
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 60 * 2**20 < int(printed) < 80 * 2**20


def test_flops_by_hand(new_model: Path) -> None:
    """Against the library's own count of what a forward pass multiplies."""
    from torch.utils.flop_counter import FlopCounterMode

    policy = load_policy(new_model, dtype="float32")
    grid = torch.tensor([[4, 8, 8]])
    patches = torch.randn(4 * 8 * 8, policy.core.visual.patch_embed.proj.weight[0].numel())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        policy.core.get_video_features(patches, grid, return_dict=True)
    assert vision_flops(policy, grid) == pytest.approx(counter.get_total_flops(), rel=0.01)
    packed, plain = (group_flops(policy, grid, 100, 8, 10, packed=packed) for packed in (True, False))
    assert plain.vision == 8 * packed.vision
    assert plain.text / packed.text == pytest.approx(8 * 110 / 180)
    assert plain.attention / packed.attention == pytest.approx(8 * 6105 / (5050 + 8 * 1055))
