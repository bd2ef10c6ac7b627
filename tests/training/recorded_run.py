"""A run whose gradients are kept: what ``test_sharding.py`` starts, once or once for each process.

The arithmetic is float32. Replies do not depend on chance: each question gets the same ones, of unequal lengths, on
whichever process it is asked. Usage: ``recorded_run.py RECIPE OUT``; the whole gradients of each update are written
to ``OUT/gradients-N.pt``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedType
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from timesight.generate.base import Completion, Sampling
from timesight.generate.local import LocalGenerator
from timesight.model import load
from timesight.model.prompt import Prompt
from timesight.training import build, run, sharding
from timesight.training.loop import make_accelerator
from timesight.training.recipe import load_recipe

REPLIES = ("<answer>0.0 to 1.0</answer>", "<answer>1.5 to 2.5 and 0.1 to 0.2</answer>", "no", "<answer>")


class ScriptedGenerator(LocalGenerator):
    """Some of ``REPLIES``, the more the longer the question; the policy samples too, and is not listened to."""

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[Any]:
        super().generate(prompts, num_generations, sampling)
        tokenizer = self.policy.processor.tokenizer
        groups = []
        for prompt in prompts:
            first = len(str(prompt.parts[-1]))
            texts = [REPLIES[(first + n) % len(REPLIES)] * (1 + n % 2) for n in range(num_generations)]
            ids = [(*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id) for text in texts]
            groups.append([Completion(text, of_text) for text, of_text in zip(texts, ids, strict=True)])
        return groups


def sharding_accelerator(policy: Any, *args: Any) -> Accelerator:
    """An accelerator that shards on CPUs too, where it would pass over what the launcher asks for."""
    accelerator = make_accelerator(policy, *args)
    plugin = sharding.fsdp_plugin(policy)
    if plugin is not None:
        accelerator.state.fsdp_plugin = plugin
        set_type(accelerator, DistributedType.FSDP)
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        zero = DeepSpeedPlugin()
        zero.set_mixed_precision("no")
        zero.select(_from_accelerator_state=True)
        accelerator.state.deepspeed_plugins = {"default": zero}
        set_type(accelerator, DistributedType.DEEPSPEED)
        zero.deepspeed_config |= {"train_micro_batch_size_per_gpu": 1, "gradient_clipping": 1e9}
    return accelerator


def set_type(accelerator: Accelerator, kind: DistributedType) -> None:
    for state in (PartialState(), accelerator.state):  # the second takes on what the first says, time and again
        state.distributed_type = kind


def main() -> None:
    """Run the recipe, keep its gradients."""
    recipe, out = sys.argv[1], Path(sys.argv[2])
    load._multiplies_bf16 = lambda: False  # float32 throughout
    build.LocalGenerator = ScriptedGenerator  # type: ignore[misc]
    models: list[Any] = []
    loaded = run.load_model

    def load_model(*args: Any) -> Any:
        policy = loaded(*args)
        models.append(policy)
        return policy

    run.load_model = load_model
    run.make_accelerator = sharding_accelerator
    updates = []

    def keep(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = {
            name: (p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad).clone()
            for name, p in models[0].model.named_parameters()
            if p.grad is not None
        }
        updates.append(gradients)

    register_optimizer_step_pre_hook(keep)
    run.run_recipe(load_recipe(recipe), out)
    if run.this_process().is_main_process:
        for number, gradients in enumerate(updates, start=1):
            torch.save(gradients, out / f"gradients-{number}.pt")


if __name__ == "__main__":
    main()
