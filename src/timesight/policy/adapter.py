"""Low-rank adapters: training a few per cent of the weights, through PEFT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel

from timesight.errors import InputError
from timesight.policy.load import ADAPTER_FILE, Policy, load_policy

# The language model's linear layers; the vision tower and its merger are left as they are.
TARGETS = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"


def add_adapter(policy: Policy, *, r: int, alpha: int, dropout: float) -> None:
    """Freeze all weights and add adapters to the language model's linear layers, which alone will learn."""
    policy.model.requires_grad_(False)
    policy.model.add_adapter(
        LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=TARGETS, task_type="CAUSAL_LM")
    )


@contextmanager
def adapter_off(policy: Policy) -> Iterator[Policy]:
    """``policy`` as it was before its adapter."""
    policy.model.disable_adapters()
    try:
        yield policy
    finally:
        policy.model.enable_adapters()


def merge_adapter(adapter: Path, out: Path, base: str | None = None) -> None:
    """Write base model and ``adapter`` as one ordinary model folder. Raises InputError.

    ``base`` wins over the base model that the adapter names.
    """
    if not (adapter / ADAPTER_FILE).is_file():
        raise InputError(f"{adapter} holds no adapter: there is no {ADAPTER_FILE}")
    named: Any = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    policy = load_policy(base or named, dtype="as_saved")
    merged = PeftModel.from_pretrained(policy.model, str(adapter)).merge_and_unload()
    Policy(merged, policy.processor, policy.name).save(out)
