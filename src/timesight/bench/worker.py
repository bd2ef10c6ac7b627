"""One measurement of ``bench.grpo``, in a process of its own: ``python -m timesight.bench.worker ORDER``.

ORDER is JSON: the fields of a ``Case``, ``path`` (``packed``, or the attention of the plain path) and ``out``.
Prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timesight.bench.clock import seconds_of
from timesight.bench.grpo import MODELS, result_file
from timesight.bench.memory import peak_above
from timesight.generate.base import Sampling
from timesight.generate.decode import sample_replies
from timesight.model.encode import EncodedPrompt, encode_prompt
from timesight.model.flops import group_flops
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.model.tiny import create
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import PrefixTree, build_tree
from timesight.types import TextPart, Video, VideoPart
from timesight.video import Frames

FRAME_TOKENS_ALONG_SIDE = 7
ENOUGH_S, MOST_RUNS = 3.0, 5
FRAMES_PER_SECOND = 2.0
NOISE = Video(path=Path("noise"))
QUESTION = "When does this happen, in seconds: the red circle moves? Reply as <answer>START to END</answer>"


def measure(
    model: str,
    num_generations: int,
    prompt_tokens: int,
    completion_tokens: int,
    whole_step: bool,
    path: str,
    out: str,
) -> dict[str, Any]:
    """Time and peak memory of forward and backward on one group, and of a whole step if asked for."""
    policy = _policy(model, Path(out))
    prompt = _prompt(policy, prompt_tokens)
    allowed = (~policy.banned_mask).nonzero().flatten()
    torch.manual_seed(0)
    drawn = allowed[torch.randint(len(allowed), (num_generations, completion_tokens))]
    update = _update(policy, prompt, drawn, path)

    logps: list[Tensor] = []
    peak_bytes = peak_above(policy.device, lambda: logps.append(update()))  # the first pass of a fresh process
    grads = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    torch.save({"logps": logps[0], "grads": grads}, result_file(Path(out), path))
    times = _times(update)
    step_s = None
    if whole_step:
        step = _whole_step(policy, prompt, num_generations, completion_tokens, path)
        step()
        step_s = statistics.median(_times(step))
    flops = {
        f"{name}_flops": group_flops(
            policy, prompt.grid_thw, len(prompt), num_generations, completion_tokens, packed=name == "packed"
        ).total
        for name in ("plain", "packed")
    }
    return {
        "prompt_tokens": len(prompt),
        "median_s": statistics.median(times),
        "spread_s": [min(times), max(times)],
        "peak_bytes": peak_bytes,
        "step_s": step_s,
        **flops,
    }


def _update(policy: Policy, prompt: EncodedPrompt, drawn: Tensor, path: str) -> Callable[[], Tensor]:
    """Forward and backward of a group's log-probs; returns the log-probs (G, C)."""
    group = len(drawn)
    packed = path == "packed"
    if not packed:
        policy.core.language_model.config._attn_implementation = path
    tree = _tree(policy, prompt, group, packed).with_replies(drawn.tolist())
    weights = torch.linspace(-1, 1, drawn.numel(), device=policy.device).view(drawn.shape)

    def update() -> Tensor:
        policy.model.zero_grad()
        logps, _ = completion_logprobs(policy, tree, packed=packed)
        (logps * weights).sum().backward()  # type: ignore[no-untyped-call]
        return logps.detach()

    return update


def _whole_step(policy: Policy, prompt: EncodedPrompt, group: int, length: int, path: str) -> Callable[[], Any]:
    """Sampling ``length`` tokens and the update; nothing ends early, so that both paths sample as many."""
    packed = path == "packed"
    end_ids = sorted(policy.end_ids)
    policy.__dict__["end_ids"] = frozenset()
    for name in ("banned_token_ids", "banned_mask"):
        policy.__dict__.pop(name, None)
    banned = policy.banned_mask.nonzero().flatten().tolist() + end_ids
    tree = _tree(policy, prompt, group, packed)
    (prompts,) = tree.levels
    seconds = (
        {} if prompt.seconds_per_grid is None else {"second_per_grid_ts": prompt.seconds_per_grid.repeat(group)}
    )

    def sample() -> Tensor:
        if packed:
            replies = sample_replies(policy, tree, group, Sampling(temperature=1.0, max_new_tokens=length))
            return torch.tensor([reply.token_ids for reply in replies])
        ids: Tensor = policy.model.generate(
            input_ids=prompts.input_ids,
            mm_token_type_ids=prompt.token_types.expand(len(prompts.input_ids), -1).to(policy.device),
            attention_mask=prompts.mask,
            pixel_values_videos=tree.patches,
            video_grid_thw=tree.grid_thw,
            min_new_tokens=length,
            max_new_tokens=length,
            do_sample=True,
            top_k=0,
            suppress_tokens=banned,
            **seconds,
        )
        return ids[:, -length:]

    def step() -> None:
        _update(policy, prompt, sample(), path)()

    return step


def _tree(policy: Policy, prompt: EncodedPrompt, group: int, packed: bool) -> PrefixTree:
    return build_tree(policy, [prompt] if packed else [prompt] * group, share=False)


def _times(run: Callable[[], Any]) -> list[float]:
    """Seconds of several runs: up to MOST_RUNS, fewer once ENOUGH_S have passed, two at least."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < MOST_RUNS and sum(times) < ENOUGH_S):
        times.append(seconds_of(run))
    return times


def _policy(model: str, out: Path) -> Policy:
    """A new model in float32, made once."""
    family, size = MODELS[model]
    folder = out / f"{family}-{size}"
    if not (folder / "config.json").exists():
        create(folder, family, 0, [QUESTION], size)  # type: ignore[arg-type] # from the table
    return load_policy(folder, dtype="float32")


def _prompt(policy: Policy, num_tokens: int) -> EncodedPrompt:
    """A grounding question on noise, with as many frames as come nearest to ``num_tokens``."""
    side = FRAME_TOKENS_ALONG_SIDE * policy.factor
    rng = np.random.default_rng(0)

    def encode(pairs: int) -> EncodedPrompt:
        count = 2 * pairs
        pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        length_s = count / FRAMES_PER_SECOND
        frames = Frames(pixels, np.arange(count) / FRAMES_PER_SECOND, (0.0, length_s), length_s)
        return encode_prompt(policy, Prompt([VideoPart(NOISE), TextPart(QUESTION)], [frames]))

    one, two = len(encode(1)), len(encode(2))
    return encode(max(1, 1 + round((num_tokens - one) / (two - one))))


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
