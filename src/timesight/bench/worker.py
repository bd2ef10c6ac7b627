"""One measurement of ``bench.measure``: ``python -m timesight.bench.worker ORDER FOLDER``.

ORDER is JSON, the fields of an ``Order``. Prints one line of JSON, the fields of a ``Measured``.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timesight.bench.clock import seconds_of
from timesight.bench.measure import MODELS, Measured, Order, result_file
from timesight.bench.memory import peak_above
from timesight.generate.base import Sampling
from timesight.generate.decode import sample_replies
from timesight.model.encode import EncodedPrompt, encode_prompt, encode_prompts
from timesight.model.flops import group_flops, tree_flops
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
THINGS = (
    "red circle",
    "blue square",
    "green star",
    "white ring",
    "gray cross",
    "red star",
    "blue ring",
    "one cross",
)
QUESTIONS = [
    f"When does this happen, in seconds: the {thing} moves? Reply as <answer>START to END</answer>"
    for thing in THINGS
]


def run(order: Order, out: Path) -> Measured:
    """Time and peak memory of forward and backward on one group a question, and of a whole step if asked for."""
    policy = _policy(order.model, out)
    prompts = _prompts(policy, order.prompt_tokens, order.num_questions)
    allowed = (~policy.banned_mask).nonzero().flatten()
    torch.manual_seed(0)
    num_replies = order.num_questions * order.num_generations
    drawn = allowed[torch.randint(len(allowed), (num_replies, order.completion_tokens))]
    update = _update(policy, prompts, drawn, order)

    logps: list[Tensor] = []
    peak_bytes = peak_above(policy.device, lambda: logps.append(update()))  # the first pass of a fresh process
    grads = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    torch.save({"logps": logps[0], "grads": grads}, result_file(out, order.layout))
    times = _times(update)
    step_s = None
    if order.whole_step:
        step = _whole_step(policy, prompts[0], order)
        step()
        step_s = statistics.median(_times(step))
    return Measured(
        prompt_tokens=len(prompts[0]),
        median_s=statistics.median(times),
        spread_s=(min(times), max(times)),
        peak_bytes=peak_bytes,
        step_s=step_s,
        flops=_flops(policy, prompts, order),
    )


def _is_plain(order: Order) -> bool:
    return order.layout not in ("row", "tree")


def _update(policy: Policy, prompts: Sequence[EncodedPrompt], drawn: Tensor, order: Order) -> Callable[[], Tensor]:
    """Forward and backward of the log-probs of all replies; returns the log-probs."""
    if _is_plain(order):
        policy.core.language_model.config._attn_implementation = order.layout
    tree = _tree(policy, prompts, order).with_replies(drawn.tolist())
    weights = torch.linspace(-1, 1, drawn.numel(), device=policy.device).view(drawn.shape)

    def update() -> Tensor:
        policy.model.zero_grad()
        logps, _ = completion_logprobs(policy, tree, packed=not _is_plain(order))
        (logps * weights).sum().backward()  # type: ignore[no-untyped-call]
        return logps.detach()

    return update


def _flops(policy: Policy, prompts: Sequence[EncodedPrompt], order: Order) -> float:
    grid, sizes = prompts[0].grid_thw, (order.num_generations, order.completion_tokens)
    if order.layout == "tree" and len(prompts) > 1:
        levels = build_tree(policy, prompts).levels
        root, own = (level.mask.sum(1).tolist() for level in levels)
        return tree_flops(policy, grid, root[0], own, *sizes).total
    packed = not _is_plain(order)
    return sum(group_flops(policy, grid, len(prompt), *sizes, packed=packed).total for prompt in prompts)


def _whole_step(policy: Policy, prompt: EncodedPrompt, order: Order) -> Callable[[], Any]:
    """Sampling and the update for one prompt; nothing ends early, so that all paths sample as many tokens."""
    group, length = order.num_generations, order.completion_tokens
    end_ids = sorted(policy.end_ids)
    policy.__dict__["end_ids"] = frozenset()
    for name in ("banned_token_ids", "banned_mask"):
        policy.__dict__.pop(name, None)
    banned = policy.banned_mask.nonzero().flatten().tolist() + end_ids
    tree = _tree(policy, [prompt], order)
    (prompts,) = tree.levels
    seconds = (
        {} if prompt.seconds_per_grid is None else {"second_per_grid_ts": prompt.seconds_per_grid.repeat(group)}
    )

    def sample() -> Tensor:
        if not _is_plain(order):
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
        _update(policy, [prompt], sample(), order)()

    return step


def _tree(policy: Policy, prompts: Sequence[EncodedPrompt], order: Order) -> PrefixTree:
    if _is_plain(order):
        prompts = [prompt for prompt in prompts for _ in range(order.num_generations)]
    return build_tree(policy, prompts, share=order.layout == "tree")


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
        create(folder, family, 0, QUESTIONS, size)  # type: ignore[arg-type] # from the table
    return load_policy(folder, dtype="float32")


def _prompts(policy: Policy, num_tokens: int, num_questions: int) -> list[EncodedPrompt]:
    """Grounding questions on noise, with as many frames as come nearest to ``num_tokens`` for each of them."""
    side = FRAME_TOKENS_ALONG_SIDE * policy.factor
    rng = np.random.default_rng(0)

    def ask(pairs: int) -> list[Prompt]:
        count = 2 * pairs
        pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        length_s = count / FRAMES_PER_SECOND
        frames = [Frames(pixels, np.arange(count) / FRAMES_PER_SECOND, (0.0, length_s), length_s)]
        return [Prompt([VideoPart(NOISE), TextPart(text)], frames) for text in QUESTIONS[:num_questions]]

    one, two = (len(encode_prompt(policy, ask(pairs)[0])) for pairs in (1, 2))
    return encode_prompts(policy, ask(max(1, 1 + round((num_tokens - one) / (two - one)))))


if __name__ == "__main__":
    print(json.dumps(asdict(run(Order(**json.loads(sys.argv[1])), Path(sys.argv[2])))))
