"""One GRPO update of a 7B model on a GPU, packed and plain: python benchmarks/gpu_7b.py

Qwen2.5-VL-7B's architecture with random weights in bf16, gradient checkpointing, a prompt of about 3,700 tokens
with 3,584 visual ones, 8 replies of 256 tokens. Prints seconds, peak memory, tokens a second and the share of the
card's measured matrix rate for each path. ``--layers 1 --device cpu`` is a dry run of the script itself.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from timesight.bench.clock import seconds_of
from timesight.bench.memory import peak_above
from timesight.bench.rates import matrix_rate
from timesight.policy.encode import EncodedPrompt, collate, encode_prompt
from timesight.policy.load import as_policy
from timesight.policy.logprobs import completion_logprobs
from timesight.policy.operations import group_operations
from timesight.policy.outline import KNOWN
from timesight.policy.packing import Completions
from timesight.policy.policy import Policy
from timesight.policy.tiny import embedded_path
from timesight.types import TextPart, Video, VideoPart
from timesight.video import Frames

NAME = "Qwen/Qwen2.5-VL-7B-Instruct"
FRAMES, FRAME_PX = 128, (196, 224)  # 64 pairs of 7 × 8 tokens
QUESTION = " the red circle is visible" * 20


def main() -> None:
    """Both paths, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, help="fewer layers in text model and tower, for a dry run")
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--completion", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    policy = build(args.device, args.layers)
    prompt = encode(policy)
    rate = matrix_rate()
    weights = sum(p.numel() for p in policy.model.parameters())
    print(f"{weights / 1e9:.2f} billion weights, prompt of {len(prompt)} tokens")
    print(f"bf16 matrix rate of this device: {rate / 1e12:.1f} TFLOP/s")
    for packed in (True, False):
        measure(policy, prompt, args, packed, rate)


def measure(policy: Policy, prompt: EncodedPrompt, args: Any, packed: bool, rate: float) -> None:
    """Print the figures of one path; plain runs the tower and the prompt once for each reply."""
    group, length = args.generations, args.completion
    prompts = collate(policy, [prompt] if packed else [prompt] * group)
    allowed = (~policy.banned_mask).nonzero().flatten().cpu()
    replies = allowed[torch.randint(len(allowed), (group, length))].tolist()
    completions = Completions.of(replies, 1 if packed else group, policy.device)

    def update() -> None:
        policy.model.zero_grad()
        completion_logprobs(policy, prompts, completions, packed=packed)[0].sum().backward()

    name = "packed" if packed else "plain"
    policy.model.zero_grad()
    try:
        peak = peak_above(policy.device, update)
        seconds = [seconds_of(update) for _ in range(args.runs)]
    except torch.OutOfMemoryError:
        print(f"{name}: out of memory")
        return
    middle = statistics.median(seconds)
    operations = group_operations(policy, prompt.grid_thw, len(prompt), group, length, packed=packed).total
    tokens, share = len(prompt) + group * length, 4 * operations / middle / rate
    print(
        f"{name}: {middle:.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), peak {peak / 1e9:.1f} GB above the "
        f"weights, {tokens / middle:,.0f} distinct tokens/s, {share:.0%} of the matrix rate"
    )


def build(device: str, layers: int | None) -> Policy:
    """The 7B architecture with random weights; the embedded model lends its processor."""
    processor = AutoProcessor.from_pretrained(embedded_path())
    convert = processor.tokenizer.convert_tokens_to_ids
    shape = {name: dict(value) if isinstance(value, dict) else value for name, value in KNOWN[NAME].items()}
    if layers is not None:
        shape["text_config"]["num_hidden_layers"] = layers
        shape["vision_config"] |= {"depth": layers, "fullatt_block_indexes": [layers - 1]}
    config = Qwen2_5_VLConfig(
        **shape,
        image_token_id=convert("<|image_pad|>"),
        video_token_id=convert("<|video_pad|>"),
        vision_start_token_id=convert("<|vision_start|>"),
        vision_end_token_id=convert("<|vision_end|>"),
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.gradient_checkpointing_enable()
    model.train()
    return as_policy(model, processor, "7B")


def encode(policy: Policy) -> EncodedPrompt:
    """A question on noise."""
    width, height = FRAME_PX
    pixels = np.random.default_rng(0).integers(0, 256, (FRAMES, height, width, 3), dtype=np.uint8)
    frames = Frames(pixels, np.arange(FRAMES) / 2.0, (0.0, FRAMES / 2.0), FRAMES / 2.0)
    return encode_prompt(policy, [VideoPart(Video(path="noise")), TextPart(QUESTION)], [frames])


if __name__ == "__main__":
    main()
