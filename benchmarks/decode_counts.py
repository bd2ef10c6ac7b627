"""What a decoding step asks of a GPU, counted on a CPU: python benchmarks/decode_counts.py

Tensors made a token, and times the host waits for a value of the device, in the eager sampler and in the one whose
step can be captured. A captured step makes none of its tensors anew and starts none of its kernels one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from timesight.generate.base import Sampling
from timesight.generate.decode import sample_replies
from timesight.model.encode import encode_prompt
from timesight.model.load import load_policy
from timesight.model.prompt import Prompt
from timesight.prefix.tree import build_tree
from timesight.types import TextPart, Video, VideoPart
from timesight.video import Frames

ROWS, SHORT, LONG = 8, 17, 81  # tokens; the difference between the two leaves out the prefill


class Count(TorchDispatchMode):
    """Counts tensors that are made: outputs with new memory."""

    tensors = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at what it returns."""
        out = func(*args, **(kwargs or {}))
        is_view = any(a.alias_info is not None for a in func._schema.arguments)
        self.tensors += (
            0 if is_view else sum(isinstance(t, torch.Tensor) for t in torch.utils._pytree.tree_leaves(out))
        )
        return out


@contextmanager
def waits() -> Iterator[list[str]]:
    """The names of the calls that make a host wait for its device."""
    seen: list[str] = []

    def counted(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return original(*args, **kwargs)

        return patch.object(torch.Tensor, name, call)

    with counted("tolist"), counted("item"), counted("__bool__"), counted("nonzero"):
        yield seen


def main() -> None:
    """Both samplers on one prompt, replies that never end."""
    policy = load_policy(dtype="float32")
    policy.__dict__["end_ids"] = frozenset()
    frames = Frames(np.zeros((8, 56, 56, 3), np.uint8), np.arange(8) / 2, (0.0, 4.0), 4.0)
    prompt = Prompt([VideoPart(Video(path=Path("noise"))), TextPart("When?")], [frames])
    tree = build_tree(policy, [encode_prompt(policy, prompt)])
    for name, static in (("eager", False), ("static", True)):
        counts = []
        for length in (SHORT, LONG):
            with Count() as count, waits() as seen:
                sample_replies(policy, tree, ROWS, Sampling(temperature=1.0, max_new_tokens=length), static=static)
            counts.append((count.tensors, len(seen)))
        tensors, synchronizations = ((long - short) / (LONG - SHORT) for short, long in zip(*counts, strict=True))
        print(f"{name}: {tensors:.0f} tensors and {synchronizations:.2f} synchronizations a token")


if __name__ == "__main__":
    main()
