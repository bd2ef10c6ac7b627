"""Low-rank adapters: training a few per cent of the weights, through PEFT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import LoraConfig

from timesight.errors import InputError
from timesight.model.load import ADAPTER_FILE, load_policy, resolve
from timesight.model.policy import Policy


def add_adapter(policy: Policy, *, r: int, alpha: int, dropout: float) -> None:
    """Freeze all weights and add adapters to the linear layers that the family names, which alone will learn."""
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
