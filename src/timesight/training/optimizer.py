"""The optimizer: AdamW, or Muon for the matrices inside the model and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from timesight.training.settings import TrainSettings

# Newton-Schulz: of the quintic whose steps push singular values towards 1, and how many of them.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_STEPS = 5
MOMENTUM = 0.95


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimizer of ``settings`` for the trainable parameters of ``model``.

    Matrices decay by ``weight_decay``, norms and biases do not.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    rate = settings.muon_learning_rate
    inside = [] if rate is None else _matrices_inside(model, learning)
    others = [p for p in learning if not any(p is matrix for matrix in inside)]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
    ]
    options: dict[str, Any] = {"lr": settings.learning_rate, "betas": (0.9, settings.adam_beta2), "fused": True}
    if rate is None:
        return torch.optim.AdamW(groups, **options)
    # AdamW multiplies decay by the learning rate: as much of it for these matrices as for the others
    decay = settings.weight_decay * settings.learning_rate / rate
    return Muon([*groups, {"params": inside, "weight_decay": decay, "lr": rate, "muon": True}], **options)


class Muon(torch.optim.AdamW):
    """AdamW that updates the matrices of the groups with ``muon: True`` by orthogonalized momentum instead.

    An update has the same length in every direction, so that what few gradients ask for is learned as fast as what
    all ask for: a model from random weights learns to see in a third of the steps (docs/embedded-model.md). Tall
    updates are multiplied by sqrt(rows / columns). Source: Jordan et al., "Muon: An optimizer for hidden layers in
    neural networks", 2024. ``torch.optim.Muon`` multiplies in bfloat16, which many CPUs emulate: 23 times slower
    than float32.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient; those of ``muon`` groups have none afterwards."""
        for group in self.param_groups:
            for parameter in group["params"] if group.get("muon") else ():
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["weight_decay"])
                    parameter.grad = None  # AdamW passes over it
        return super().step(closure)  # type: ignore[no-any-return]

    def _update(self, matrix: Tensor, gradient: Tensor, learning_rate: float, weight_decay: float) -> None:
        state: dict[str, Any] = self.state[matrix]
        if not state:
            # AdamW expects a step in every state that it loads
            state.update(step=torch.tensor(0.0), momentum_buffer=torch.zeros_like(matrix))
        momentum = state["momentum_buffer"]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        update = orthogonal(gradient.lerp(momentum, MOMENTUM).flatten(1))  # Nesterov's
        rows, columns = update.shape
        matrix.mul_(1 - learning_rate * weight_decay)
        matrix.add_(update.view_as(matrix), alpha=-learning_rate * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Roughly the orthogonal matrix nearest to ``matrix``: its singular values become 0.7 to 1.2.

    Args:
        matrix: Of float32, rows × columns.

    Returns:
        Of the same shape.
    """
    a, b, c = COEFFICIENTS
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(NUM_STEPS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if matrix.shape[0] > matrix.shape[1] else x


def _matrices_inside(model: nn.Module, learning: Iterable[Tensor]) -> list[Tensor]:
    """All matrices but the embeddings of tokens, whose rows learn one by one; that of patches is one, flattened."""
    ends = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    outputs = getattr(model, "get_output_embeddings", lambda: None)()
    tokens = [module.weight for module in (*ends, outputs) if module is not None]
    return [p for p in learning if p.ndim >= 2 and not any(p is embedding for embedding in tokens)]
