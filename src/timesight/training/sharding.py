"""Weights sharded over the processes of a run with FSDP2 or DeepSpeed's ZeRO, as the launcher asks for them.

A step has two halves. What ends at another time on every process (the tower, sampling, the reference, validation)
runs on whole weights, which are ``gathered`` once for all of it. The update runs on sharded weights, in which every
process makes the same passes: one for each micro-batch, including empty ones (``empty_batch.zero_loss``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, register_fsdp_forward_method

from timesight.errors import RecipeError
from timesight.model.policy import Policy

TOWER_PASS = "get_video_features"  # the method through which the vision tower runs outside the model's forward


def load_whole() -> None:
    """Let every process load all weights, whatever the launcher says.

    ``accelerate`` would leave all but the first process without them until they are sharded; here a reference is
    copied from them and a checkpoint is loaded into them before.
    """
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"


def fsdp_plugin(policy: Policy) -> FullyShardedDataParallelPlugin | None:
    """How FSDP2 shards ``policy``, or None where the launcher does not ask for it.

    Layers are the units. A tower that does not learn stays whole on every process. Where the policy multiplies in
    bf16, weights are gathered in bf16 and gradients are summed in float32.

    Raises:
        RecipeError: If the model cannot be sharded.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return None
    if getattr(policy.model, "is_quantized", False):
        raise RecipeError("train.lora.quantize: four-bit weights are not sharded; start without FSDP")
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        mixed_precision_policy=MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if policy.autocast_bf16 else None, reduce_dtype=torch.float32
        ),
        ignored_modules=None if policy.trains_vision else [policy.core.visual],
    )


def shard_frozen(accelerator: Accelerator, policy: Policy) -> None:
    """Shard a frozen model like the trained one."""
    if accelerator.is_fsdp2:
        fsdp2_prepare_model(accelerator, policy.model)
        finish_sharding(policy)


def finish_sharding(policy: Policy) -> None:
    """Make a model that ``accelerate`` has just sharded ready for passes of its tower alone."""
    policy.sharded = isinstance(policy.model, FSDPModule) or _is_zero3(policy)
    model = policy.model
    if isinstance(model, FSDPModule):
        register_fsdp_forward_method(model, TOWER_PASS)  # type: ignore[arg-type] # it is a module too
        pad = torch.tensor([[policy.processor.tokenizer.pad_token_id]], device=policy.device)
        with torch.no_grad():  # the model has to run before any of its layers is asked for
            policy(input_ids=pad, use_cache=False)
        model.reshard()
        _forget_passes(model)


def full_weights(accelerator: Accelerator, policy: Policy) -> dict[str, Tensor] | None:
    """Where the weights are sharded, all of them, on the CPU of the main process; every process has to ask."""
    if not policy.sharded:
        return None
    weights: dict[str, Tensor] | None = accelerator.get_state_dict(policy.wrapped)  # the others get nothing
    return weights


@contextmanager
def gathered(policy: Policy) -> Iterator[Policy]:
    """``policy`` with all weights on every process, each of which may pass through it as often as it likes.

    Weights must not change within; nothing is done where they are not sharded.
    """
    with ExitStack() as stack:
        if _is_zero3(policy):
            stack.enter_context(_gathered_zero3(policy))
        elif isinstance(policy.model, FSDPModule):
            stack.enter_context(_gathered_fsdp(policy.model))
        yield policy


@contextmanager
def _gathered_fsdp(model: Any) -> Iterator[None]:
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            # Layers alone: what comes last in a pass comes first on the way back, and stays for it.
            is_layer = any(kind.__name__ in model._no_split_modules for kind in type(unit).__mro__)
            unit.set_reshard_after_forward(is_layer, recurse=False)
            unit.reshard()
        _forget_passes(model)


def _forget_passes(model: Any) -> None:
    """Forget the order of passes so far, which the next backward would gather ahead for, on this process alone."""
    order = model._get_fsdp_state()._comm_ctx.post_forward_order
    for group in order:
        group._post_forward_indices.clear()
    order.clear()


def _is_zero3(policy: Policy) -> bool:
    stage = getattr(policy.wrapped, "zero_optimization_stage", None)
    return stage is not None and stage() == 3


@contextmanager
def _gathered_zero3(policy: Policy) -> Iterator[None]:
    """DeepSpeed's own way; meanwhile its hooks do not run, which would gather weights and give them back."""
    from deepspeed import zero

    offload = policy.wrapped.optimizer.parameter_offload
    with zero.GatheredParameters(list(policy.model.parameters())):
        offload._remove_module_hooks()
        offload.forward_hooks.clear()
        offload.backward_hooks.clear()
        try:
            yield
        finally:
            offload.setup_zero_stage3_hooks()
