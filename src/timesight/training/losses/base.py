"""What a loss sees, and what it gives. A loss is a pure function of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, eq=False)
class LossInputs:
    """One pass: R replies of up to C tokens.

    The step's loss is the mean over its passes, on all processes.

    Args:
        logps: (R, C) log-probabilities under the policy that learns; the only tensor with a gradient.
        old_logps: (R, C) under the policy that sampled, as the trainer computes them.
        advantages: (R,).
        mask: (R, C) 1 for tokens in the loss.
        tokens_per_pass: Learned tokens of the whole step, on all processes, over its number of passes.
        max_completion_length: C at most.
        replies_per_pass: Replies of the whole step over its number of passes: passes with more questions on their
            videos have more. None: as many as this pass has.
        ref_logps: (R, C) under the reference model, where there is one.
        sampling_logps: (R, C) as the generator gave them, where it did.
    """

    logps: Tensor
    old_logps: Tensor
    advantages: Tensor
    mask: Tensor
    tokens_per_pass: float
    max_completion_length: int
    replies_per_pass: float | None = None
    ref_logps: Tensor | None = None
    sampling_logps: Tensor | None = None

    @property
    def num_replies(self) -> float:
        """What a mean over replies is divided by, so that each weighs the same in the step."""
        return len(self.mask) if self.replies_per_pass is None else self.replies_per_pass


@dataclass(frozen=True, eq=False)
class LossOutput:
    """The loss of one pass, and what there is to report about it."""

    loss: Tensor
    metrics: dict[str, float] = field(default_factory=dict)


Loss = Callable[..., LossOutput]
