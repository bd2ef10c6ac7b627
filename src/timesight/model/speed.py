"""Making stock models fast, without changing what they compute.

Everything goes through public interfaces: a module's class, the attention registry, the C library's settings. Tests
compare the results with the untouched model's.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import torch
from torch import Tensor, nn

from timesight.model.attention import install_attention

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def speed_up(model: Any) -> None:
    """Swap in the fast parts."""
    install_attention(model)
    if model.device.type == "cuda":
        # cuDNN plans for 0.1 s at every new length, and most prompts differ in length (docs/performance.md).
        torch.backends.cuda.enable_cudnn_sdp(False)
    else:
        keep_freed_memory()
    for module in model.modules():
        if type(module) is nn.Conv3d and module.kernel_size == module.stride:
            module.__class__ = PatchLinear


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for the next ones.

    It maps blocks over 32 MB one by one and returns them at once, and the system then clears each page anew: up to
    half the time of a large step on CPUs (docs/performance.md). Other C libraries stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


class PatchLinear(nn.Conv3d):
    """A Conv3d over inputs of exactly one kernel each, computed as one matrix product.

    On CPUs the convolution takes longer than the rest of a small vision tower.
    """

    def forward(self, patches: Tensor) -> Tensor:
        """(N, C, T, H, W) patches of the kernel's size → (N, out, 1, 1, 1)."""
        flat = nn.functional.linear(patches.flatten(1), self.weight.flatten(1), self.bias)  # (N, out)
        return flat[:, :, None, None, None]
