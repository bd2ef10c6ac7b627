"""What a process learns from a micro-batch that is empty while those of other processes are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from timesight.model.encode import encode_prompt
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.types import TextPart, Video, VideoPart
from timesight.video import Frames


def zero_loss(policy: Policy) -> Tensor:
    """A loss of 0 that every weight has a part in, for a batch with nothing to learn from.

    It is that of the shortest reply to the smallest video, in the same passes that the batches of other processes
    make at the same time.
    """
    side = policy.factor
    frames = Frames(np.zeros((2, side, side, 3), np.uint8), np.array([0.0, 0.5]), (0.0, 1.0), 1.0)
    prompt = Prompt([VideoPart(Video(path=Path("black"))), TextPart(".")], [frames])
    tree = build_tree(policy, [encode_prompt(policy, prompt)]).with_replies(
        [[policy.processor.tokenizer.eos_token_id]]
    )
    logps, _ = completion_logprobs(policy, tree)
    loss: Tensor = logps.sum() * 0.0
    return loss
