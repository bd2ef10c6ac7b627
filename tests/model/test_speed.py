"""The fast parts compute what the stock parts compute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from timesight.data import read_jsonl
from timesight.infer.prompts import encode_sample
from timesight.model import kernels, speed
from timesight.model.families import family_of
from timesight.model.load import as_policy
from timesight.model.policy import Policy
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.video import FrameReader


def stock(folder: Path) -> Policy:
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    family_of(model.config).prepare(model)
    return Policy(model, AutoProcessor.from_pretrained(folder), "stock")


def results(policy: Policy, world: Path) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probs and all gradients on prompts of different sizes."""
    samples = read_jsonl(world / "train.jsonl")[:5]
    reader = FrameReader(policy.default_budget, policy.factor)
    prompts = build_tree(policy, [encode_sample(policy, s, False, reader) for s in samples])
    rows = [[20, 21, 22 + i][: 1 + i % 3] for i in range(10)]
    logps, _ = completion_logprobs(policy, prompts.with_replies(rows), packed=False)
    logps.sum().backward()
    return logps.detach(), {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("longest", [512, 8])
def test_fast_equals_stock(new_model: Path, world: Path, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "MAX_PLAIN_LENGTH", longest)
    plain = stock(new_model)
    fast = as_policy(stock(new_model).model, plain.processor, "fast")
    assert any(isinstance(m, speed.PatchLinear) for m in fast.model.modules())
    logps, grads = results(plain, world)
    fast_logps, fast_grads = results(fast, world)
    torch.testing.assert_close(fast_logps, logps, atol=1e-5, rtol=1e-5)
    assert grads.keys() == fast_grads.keys()
    for name, grad in grads.items():
        assert (fast_grads[name] - grad).norm() <= 1e-4 * grad.norm() + 1e-7, name


def test_a_saved_fast_model_is_an_ordinary_folder(new_model: Path, tmp_path: Path) -> None:
    fast = as_policy(stock(new_model).model, AutoProcessor.from_pretrained(new_model), "fast")
    fast.save(tmp_path)
    assert "timesight" not in (tmp_path / "config.json").read_text()
    again = stock(tmp_path).model.state_dict()
    for name, tensor in stock(new_model).model.state_dict().items():
        torch.testing.assert_close(again[name], tensor)


FAULTS = """
import resource, sys, torch
from timesight.model.speed import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
torch.ones(2**24)  # 64 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_freed_memory_is_not_cleared_again() -> None:
    def page_faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert page_faults("keep") < 0.75 * page_faults("return")
