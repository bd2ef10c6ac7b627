"""Peak memory of an update with a large vocabulary: python benchmarks/update_memory.py

Qwen2.5-VL with two layers of width 256 and the 7B's vocabulary of 152,064 tokens, random weights, float32; four
prompts with G replies of C tokens each. The peak is above the resting process, which holds the weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from timesight.bench.memory import peak_above
from timesight.model.encode import encode_prompt
from timesight.model.load import as_policy
from timesight.model.prompt import Prompt
from timesight.model.tiny import embedded_path
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.types import TextPart, Video, VideoPart
from timesight.video import Frames

VOCABULARY, NUM_PROMPTS = 152_064, 4


def main() -> None:
    """One forward and backward pass of log-probabilities."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--completion-tokens", type=int, default=1024)
    parser.add_argument("--num-generations", type=int, default=1)
    options = parser.parse_args()
    config = AutoConfig.from_pretrained(embedded_path())
    layers = {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2}
    sizes = {"hidden_size": 256, "num_attention_heads": 8, "num_key_value_heads": 2}
    config.text_config.update(layers | sizes | {"vocab_size": VOCABULARY, "tie_word_embeddings": False})
    config.vision_config.update({"out_hidden_size": 256})
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    policy = as_policy(model, AutoProcessor.from_pretrained(embedded_path()), "two layers")
    frames = Frames(np.zeros((8, 56, 56, 3), np.uint8), np.arange(8) / 2, (0.0, 4.0), 4.0)
    prompt = encode_prompt(policy, Prompt([VideoPart(Video(path=Path("noise"))), TextPart("When?")], [frames]))
    replies = torch.randint(20, 90, (NUM_PROMPTS * options.num_generations, options.completion_tokens)).tolist()
    tree = build_tree(policy, [prompt] * NUM_PROMPTS, share=False).with_replies(replies)
    for parameter in policy.model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # there in training already
    begin = time.perf_counter()
    peak = peak_above(policy.device, lambda: completion_logprobs(policy, tree)[0].sum().backward())
    seconds = time.perf_counter() - begin
    print(f"{len(replies)} replies of {options.completion_tokens} tokens: {peak / 1e9:.2f} GB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
