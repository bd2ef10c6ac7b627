"""Low-rank adapters: training a few per cent of the weights, through PEFT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer

from timesight.errors import InputError
from timesight.model.load import ADAPTER_FILE, load_policy, resolve
from timesight.model.policy import Policy


def add_adapter(policy: Policy, *, r: int, alpha: int, dropout: float) -> None:
    """Freeze all weights and add trainable adapters to the linear layers that the family names."""
    policy.model.requires_grad_(False)
    policy.model.add_adapter(
        LoraConfig(
            r=r,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=policy.family.lora_targets,
            task_type="CAUSAL_LM",
        )
    )
    for parameter in policy.model.parameters():
        if parameter.requires_grad:  # small steps vanish in the base model's bf16
            parameter.data = parameter.data.float()
    if policy.device.type == "cuda" and not getattr(policy.model, "is_quantized", False):
        policy.autocast_bf16 = True  # else adapters multiply in float32, which takes a third longer
    if policy.autocast_bf16:
        _cast_inputs(policy, False)


def has_adapter(policy: Policy) -> bool:
    """Whether adapters have been added to ``policy``."""
    return bool(getattr(policy.model, "_hf_peft_config_loaded", False))


@contextmanager
def without_autocast(policy: Policy) -> Iterator[None]:
    """Arithmetic in the weights' own type; adapters, in float32 on a bf16 base, cast their inputs themselves."""
    _cast_inputs(policy, True)
    try:
        yield
    finally:
        _cast_inputs(policy, not policy.autocast_bf16)


def _cast_inputs(policy: Policy, on: bool) -> None:
    """Whether adapters turn their inputs into float32: under autocast that would be undone right away."""
    for module in policy.model.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = on  # type: ignore[attr-defined] # PEFT reads it from any layer


@contextmanager
def adapter_off(policy: Policy) -> Iterator[Policy]:
    """``policy`` as it was before its adapter."""
    policy.model.disable_adapters()
    try:
        yield policy
    finally:
        policy.model.enable_adapters()


def merge_adapter(adapter: Path, out: Path) -> None:
    """Write an adapter, or a run directory's newest one, and its base model as one ordinary model folder.

    Raises InputError.
    """
    adapter = Path(resolve(adapter))
    if not (adapter / ADAPTER_FILE).is_file():
        raise InputError(f"{adapter} holds no adapter: there is no {ADAPTER_FILE}")
    load_policy(adapter, device="cpu", dtype="as_saved").save(out)
