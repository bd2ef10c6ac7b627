"""AdamW, or Muon for the matrices inside the model."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from torch import nn

from timesight.errors import RecipeError
from timesight.training import loop
from timesight.training.optimizer import Muon, make_optimizer, orthogonal
from timesight.training.settings import TrainSettings

ADAMW = TrainSettings(learning_rate=1e-2, weight_decay=0.1)
MUON = ADAMW.model_copy(update={"muon_learning_rate": 2e-2})


class Model(nn.Module):
    """One parameter of each sort."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(12, 8)
        self.patches = nn.Conv3d(3, 8, 2)
        self.inner = nn.Linear(8, 16)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(16, 12, bias=False)

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def train(model: Model, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("shape", [(40, 40), (24, 64), (64, 24)])
def test_singular_values_become_about_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    cosine = (orthogonal(matrix) * (u @ v)).sum() / (orthogonal(matrix).norm() * (u @ v).norm())
    assert cosine > 0.95


def test_each_parameter_that_learns_is_in_one_group() -> None:
    model = Model()
    optimizer = make_optimizer(model, MUON)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    assert groups == [
        ["embedding.weight", "head.weight"],
        ["patches.bias", "inner.bias"],
        ["patches.weight", "inner.weight"],
    ]


def test_all_but_the_matrices_inside_learn_as_with_adamw() -> None:
    plain, mixed = Model(), Model()
    train(plain, make_optimizer(plain, ADAMW), 3)
    train(mixed, make_optimizer(mixed, MUON), 3)
    different = [n for n, p in plain.named_parameters() if not torch.equal(p, mixed.get_parameter(n))]
    assert different == ["patches.weight", "inner.weight"]


def test_an_update_is_as_long_in_all_directions() -> None:
    model = Model()
    before = model.inner.weight.detach().clone()
    train(model, make_optimizer(model, MUON.model_copy(update={"weight_decay": 0.0})), 1)
    values = torch.linalg.svdvals(model.inner.weight - before)
    tall = 2**0.5  # rows / columns
    assert values.min() > 0.5 * tall * 2e-2
    assert values.max() < 1.3 * tall * 2e-2


def test_matrices_decay_as_much_as_with_adamw() -> None:
    model = Model()
    before = model.inner.weight.detach().clone()
    model.inner.weight.grad = torch.zeros_like(before)
    make_optimizer(model, MUON).step()
    torch.testing.assert_close(model.inner.weight, before * (1 - 1e-2 * 0.1))


def test_it_goes_on_from_its_state() -> None:
    whole, first = Model(), Model()
    optimizer = make_optimizer(first, MUON)
    train(first, optimizer, 2)
    second = copy.deepcopy(first)
    resumed = make_optimizer(second, MUON)
    resumed.load_state_dict(optimizer.state_dict())
    assert isinstance(resumed, Muon)
    train(second, resumed, 2, seed=1)
    unbroken = make_optimizer(whole, MUON)
    train(whole, unbroken, 2)
    train(whole, unbroken, 2, seed=1)
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_sharded_matrices_are_refused(
    kind: DistributedType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loop, "Accelerator", lambda **options: SimpleNamespace(distributed_type=kind))
    policy: Any = None
    with pytest.raises(RecipeError, match="start without FSDP and ZeRO"):
        loop.make_accelerator(policy, MUON, tmp_path)
