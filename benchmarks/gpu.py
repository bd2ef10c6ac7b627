"""What one GPU does with a 7B model: python benchmarks/gpu.py --out gpu.jsonl

Qwen2.5-VL-7B's architecture with random weights in bf16, built once, and phases in the order of their worth.
Each phase has a time limit, and each of its lines is written as soon as it is known, so that little is lost
when time ends.
``--device cpu --layers 1`` rehearses the script on small prompts; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn import functional
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from timesight.generate.base import Sampling
from timesight.generate.decode import sample_replies
from timesight.generate.past import TreeCache, prefill
from timesight.generate.static import StaticDecoder
from timesight.model.adapter import adapter_off, add_adapter
from timesight.model.encode import EncodedPrompt, encode_prompt
from timesight.model.families import FAMILIES
from timesight.model.flops import group_flops
from timesight.model.load import as_policy, load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.model.tiny import embedded_path
from timesight.model.tree_attention import TreeLayout, tree_attention
from timesight.prefix.layout import pack
from timesight.prefix.logprobs import completion_logprobs, sampling_logits, token_scores
from timesight.prefix.tree import Level, PrefixTree, build_tree
from timesight.types import TextPart, Video, VideoPart
from timesight.video import Frames

NAME = "Qwen/Qwen2.5-VL-7B-Instruct"
FRAME_PX, TOKENS_A_FRAME = (196, 224), 28  # two frames are 7 × 8 tokens
QUESTION = " the red circle is visible" * 20
HEADS, KEY_HEADS, HEAD_DIM = 28, 4, 128
GROUP = 8
Row = dict[str, Any]
PHASES: dict[str, tuple[float, Callable[[Bench], Iterator[Row]]]] = {}


@dataclass
class Bench:
    """The device, the sizes, and the models, each built when first asked for."""

    device: str
    layers: int | None
    rates: Row = field(default_factory=dict)

    @property
    def small(self) -> bool:
        """Whether this is a rehearsal."""
        return self.device == "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """bf16, which many processors only emulate."""
        return torch.float32 if self.small else torch.bfloat16

    @property
    def frames(self) -> int:
        """Frames of a usual prompt: 3,584 visual tokens."""
        return 8 if self.small else 128

    @cached_property
    def policy(self) -> Policy:
        """The 7B architecture with random weights; the embedded model lends its processor. Replies never end."""
        processor = AutoProcessor.from_pretrained(embedded_path())
        convert = processor.tokenizer.convert_tokens_to_ids
        config = copy.deepcopy(FAMILIES["qwen2_5_vl"].published[NAME])
        text, vision = config.text_config, config.vision_config
        if self.layers is not None:
            text.update({"num_hidden_layers": self.layers, "layer_types": text.layer_types[: self.layers]})
            vision.update({"depth": self.layers, "fullatt_block_indexes": [self.layers - 1]})
        if self.small:
            text.update({"vocab_size": 4096, "hidden_size": 896, "intermediate_size": 1024})
            text.update({"num_attention_heads": 7, "num_key_value_heads": 1})
            vision.update({"out_hidden_size": 896})
        config.update(
            {
                "image_token_id": convert("<|image_pad|>"),
                "video_token_id": convert("<|video_pad|>"),
                "vision_start_token_id": convert("<|vision_start|>"),
                "vision_end_token_id": convert("<|vision_end|>"),
            }
        )
        torch.manual_seed(0)
        torch.set_default_dtype(self.dtype)
        with torch.device(self.device):
            model = Qwen2_5_VLForConditionalGeneration(config)
        torch.set_default_dtype(torch.float32)
        model.gradient_checkpointing_enable()
        model.train()
        policy = as_policy(model, processor, "7B")
        policy.__dict__["end_ids"] = frozenset()
        return policy

    def encoded(self, frames: int | None = None, seed: int = 0) -> EncodedPrompt:
        """A question on noise."""
        count, (width, height) = frames or self.frames, FRAME_PX
        pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        shown = Frames(pixels, np.arange(count) / 2.0, (0.0, count / 2.0), count / 2.0)
        return encode_prompt(self.policy, Prompt([VideoPart(Video(path="noise")), TextPart(QUESTION)], [shown]))

    def tree(self, num_prompts: int) -> PrefixTree:
        """Prompts on the device with their videos' features."""
        tree = build_tree(self.policy, [self.encoded(seed=seed) for seed in range(num_prompts)], share=False)
        with torch.no_grad():
            return tree.with_features(tree.vision(self.policy))

    def replies(self, num_prompts: int, length: int) -> list[list[int]]:
        """Random replies, G to each prompt."""
        allowed = (~self.policy.banned_mask).nonzero().flatten().cpu()
        drawn: list[list[int]] = allowed[torch.randint(len(allowed), (num_prompts * GROUP, length))].tolist()
        return drawn

    def add_lora(self) -> None:
        """Adapters on the 7B, once; before it nothing else may learn."""
        if not hasattr(self.policy.model, "peft_config"):
            self.policy.model.zero_grad()
            add_adapter(self.policy, r=64, alpha=64, dropout=0.0)

    def seconds(self, run: Callable[[], Any], repeats: int = 3, warmups: int = 1) -> Row:
        """Median, least and most seconds of ``run``, the device's work included."""
        for _ in range(warmups):
            run()
        times = []
        for _ in range(repeats):
            times.append(self.once(run))
        return {"s": round(statistics.median(times), 5), "range_s": [round(min(times), 5), round(max(times), 5)]}

    def once(self, run: Callable[[], Any]) -> float:
        """Seconds of one run."""
        self.wait()
        begin = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - begin

    def wait(self) -> None:
        """Until the device has nothing left to do."""
        if not self.small:
            torch.cuda.synchronize()

    def peak_gb(self, run: Callable[[], Any]) -> float | None:
        """Memory that ``run`` adds at its highest."""
        if self.small:
            run()
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        self.wait()
        return round((torch.cuda.max_memory_allocated() - before) / 1e9, 2)


def phase(limit_s: float) -> Callable[[Callable[[Bench], Iterator[Row]]], Callable[[Bench], Iterator[Row]]]:
    """Register a phase that is stopped after ``limit_s``."""

    def register(function: Callable[[Bench], Iterator[Row]]) -> Callable[[Bench], Iterator[Row]]:
        PHASES[function.__name__] = (limit_s, function)
        return function

    return register


@phase(30)
def machine(bench: Bench) -> Iterator[Row]:
    """Versions, matrix rate at 8192³, copy rate, cost of a launch."""
    card = "cpu" if bench.small else torch.cuda.get_device_name()
    yield {"card": card, "torch": torch.__version__, "transformers": transformers.__version__}
    side = 512 if bench.small else 8192
    a = torch.randn(side, side, device=bench.device).bfloat16()
    b = torch.randn(side, side, device=bench.device).bfloat16()
    bench.rates["matrix"] = 2.0 * side**3 / bench.seconds(lambda: a @ b, repeats=20, warmups=3)["s"]
    data = torch.empty(2**24 if bench.small else 2**32, dtype=torch.uint8, device=bench.device)
    to = torch.empty_like(data)
    bench.rates["copy"] = 2 * data.numel() / bench.seconds(lambda: to.copy_(data), repeats=10)["s"]
    one = torch.zeros(1, device=bench.device)

    def thousand() -> None:
        for _ in range(1000):
            one.add_(1)

    launch_s = bench.seconds(thousand)["s"] / 1000
    yield {
        "matrix_tflops": round(bench.rates["matrix"] / 1e12, 1),
        "copy_tb_s": round(bench.rates["copy"] / 1e12, 3),
        "launch_us": round(launch_s * 1e6, 2),
    }


@phase(60)
def equality(bench: Bench) -> Iterator[Row]:
    """Packed = plain with the embedded model in float32: log-probabilities and all gradients; static = eager."""
    policy = load_policy(device=bench.device, dtype="float32")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 56, 84, 3), dtype=np.uint8)
    frames = Frames(pixels, np.arange(16) / 2.0, (0.0, 8.0), 8.0)
    parts = [VideoPart(Video(path="noise")), TextPart("When is the red circle visible?")]
    encoded = encode_prompt(policy, Prompt(parts, [frames]))
    rows = [[20 + i, 21, 22 + i, 23][: 2 + i % 3] for i in range(GROUP)]
    results = {}
    for packed in (True, False):
        tree = build_tree(policy, [encoded], share=False).with_replies(rows)
        policy.model.zero_grad()
        logps, _ = completion_logprobs(policy, tree, packed=packed)
        logps.sum().backward()
        results[packed] = logps.detach(), {n: p.grad.clone() for n, p in policy.model.named_parameters()}
    difference = float((results[True][0] - results[False][0]).abs().max())
    worst = max(
        float((grad - results[False][1][name]).norm() / results[False][1][name].norm().clamp(min=1e-9))
        for name, grad in results[True][1].items()
    )
    yield {"max_logp_difference": difference, "max_grad_difference": worst}
    tree = build_tree(policy, [encoded], share=False)
    greedy = Sampling(temperature=0.0, max_new_tokens=48)
    (eager,) = sample_replies(policy, tree, 1, greedy, static=False)
    (static,) = sample_replies(policy, tree, 1, greedy, static=True)
    torch.manual_seed(0)
    sampled = sample_replies(policy, tree, 64, Sampling(temperature=1.0, max_new_tokens=32), static=True)
    scored, _ = completion_logprobs(
        policy, tree.with_replies([reply.token_ids for reply in sampled]), packed=False, temperature=1.0
    )
    drawn = [score for reply in sampled for score in reply.logprobs]
    kept = [
        float(s) for row, reply in zip(scored.detach(), sampled, strict=True) for s in row[: len(reply.token_ids)]
    ]
    yield {
        "static_equals_eager": static.token_ids == eager.token_ids,
        "static_reply": static.text[:80],
        "max_sampled_difference": max(abs(a - b) for a, b in zip(drawn, kept, strict=True)),
        "distinct_samples": len({reply.text for reply in sampled}),
    }


@phase(75)
def decode(bench: Bench) -> Iterator[Row]:
    """A decoding step with 8, 32 and 64 rows, eager and as a graph, bf16."""
    yield from _decode_rows(bench, "bf16", (8, 32, 64))


@phase(60)
def prefill_attention(bench: Bench) -> Iterator[Row]:
    """Causal attention over a prompt, forward and backward: ten lengths, first call and second, by kernel."""
    lengths = [64 + 8 * i for i in range(10)] if bench.small else [3600 + 24 * i for i in range(10)]
    settings = ((True, "library default"),) if bench.small else ((True, "cudnn on"), (False, "cudnn off"))
    for cudnn, name in settings:
        if not bench.small:
            torch.backends.cuda.enable_cudnn_sdp(cudnn)
        first, second = [], []
        for length in lengths:
            q, k, v = _heads(bench, length)

            def run(q: Tensor = q, k: Tensor = k, v: Tensor = v) -> None:
                out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
                out.backward(torch.ones_like(out))

            first.append(bench.once(run))
            second.append(bench.once(run))
        yield {
            "setting": name,
            "kernels": _kernels(bench, run),
            "first_ms": [round(1e3 * s, 2) for s in first],
            "second_ms": [round(1e3 * s, 2) for s in second],
        }


@phase(60)
def update_full(bench: Bench) -> Iterator[Row]:
    """Forward and backward with gradients of all weights, packed next to plain, G 8, C 256."""
    length = 16 if bench.small else 256
    encoded = bench.encoded()
    replies = {packed: bench.replies(1, length) for packed in (True, False)}
    for packed in (True, False):
        prompts = [encoded] if packed else [encoded] * GROUP
        tree = build_tree(bench.policy, prompts, share=False).with_replies(replies[packed])

        def run(packed: bool = packed, tree: PrefixTree = tree) -> None:
            bench.policy.model.zero_grad()
            logps, _ = completion_logprobs(bench.policy, tree, packed=packed)
            logps.sum().backward()

        yield {"path": "packed" if packed else "plain"} | _update_row(bench, run, encoded, 1, length, 4, packed)
    bench.policy.model.zero_grad()


@phase(110)
def update_lora(bench: Bench) -> Iterator[Row]:
    """The same with adapters: as they are and under autocast; C 32, 256, 1,024; one prompt and four."""
    bench.add_lora()
    cases = ((1, 8), (2, 8)) if bench.small else ((1, 256), (4, 256), (1, 32), (1, 1024), (4, 1024))
    for num_prompts, length in cases:
        tree = bench.tree(num_prompts).with_replies(bench.replies(num_prompts, length))
        for autocast in (True, False) if num_prompts * length <= 1024 else (True,):
            _set_autocast(bench.policy, autocast)

            def run(tree: PrefixTree = tree) -> None:
                bench.policy.model.zero_grad()
                completion_logprobs(bench.policy, tree)[0].sum().backward()

            row = _update_row(bench, run, bench.encoded(), num_prompts, length, 3, True, tower=False)
            yield {"prompts": num_prompts, "C": length, "autocast": autocast} | row
    _set_autocast(bench.policy, False)


@phase(45)
def decode_lora(bench: Bench) -> Iterator[Row]:
    """A decoding step through adapters."""
    bench.add_lora()
    _set_autocast(bench.policy, False)
    yield from _decode_rows(bench, "lora", (8, 64))


@phase(60)
def grpo_step(bench: Bench) -> Iterator[Row]:
    """One GRPO step with adapters by stage: one prompt, G 8, C 256; and decoding for eight prompts at once."""
    bench.add_lora()
    _set_autocast(bench.policy, False)
    length = 16 if bench.small else 256
    policy = bench.policy
    policy.model.eval()  # gradient checkpointing leaves no cache; the update below trains
    stages: Row = {}
    stages["processor"] = bench.seconds(bench.encoded, repeats=2)["s"]
    encoded = bench.encoded()
    stages["to_device"] = bench.seconds(lambda: build_tree(policy, [encoded], share=False), repeats=2)["s"]
    bare = build_tree(policy, [encoded], share=False)
    with torch.no_grad():
        stages["tower"] = bench.seconds(lambda: bare.vision(policy), repeats=2)["s"]
        tree = bare.with_features(bare.vision(policy))
        stages["prefill"] = bench.seconds(lambda: prefill(policy, tree, 1), repeats=2)["s"]
    sampling = Sampling(temperature=1.0, max_new_tokens=length)
    stages["sample_eager"] = bench.once(lambda: sample_replies(policy, tree, GROUP, sampling, static=False))
    stages["sample_static"] = bench.once(lambda: sample_replies(policy, tree, GROUP, sampling, static=True))
    replied = tree.with_replies(bench.replies(1, length))
    policy.model.train()
    _set_autocast(policy, True)

    def reference() -> None:
        with torch.no_grad(), adapter_off(policy):
            completion_logprobs(policy, replied)

    def update() -> None:
        policy.model.zero_grad()
        completion_logprobs(policy, replied)[0].sum().backward()

    stages["reference"] = bench.seconds(reference, repeats=2)["s"]
    stages["update"] = bench.seconds(update, repeats=2)["s"]
    _set_autocast(policy, False)
    yield {"C": length} | {name: round(s, 4) for name, s in stages.items()}
    eight = bench.tree(2 if bench.small else 8)
    yield {
        "rows": GROUP * len(eight.leaves.input_ids),
        "sample_static": bench.once(lambda: sample_replies(policy, eight, GROUP, sampling, static=True)),
    }


@phase(40)
def vocabulary(bench: Bench) -> Iterator[Row]:
    """Log-probabilities from hidden states: full logits next to the head inside each chunk, as in training."""
    head, policy = bench.policy.model.lm_head.weight.detach(), bench.policy
    allowed = (~policy.banned_mask).nonzero().flatten()
    for count in (64, 128) if bench.small else (2048, 8192, 32768):
        hidden = torch.randn(count, head.shape[1], device=bench.device, dtype=head.dtype, requires_grad=True)
        tokens = allowed[torch.randint(len(allowed), (count,), device=bench.device)]

        def full(hidden: Tensor = hidden, tokens: Tensor = tokens) -> Tensor:
            logps = torch.log_softmax(sampling_logits(functional.linear(hidden, head), policy.banned_mask, 1.0), -1)
            return logps.gather(-1, tokens[:, None])

        def inside(hidden: Tensor = hidden, tokens: Tensor = tokens) -> Tensor:
            def apply(states: Tensor) -> Tensor:
                return functional.linear(states, head)

            return token_scores(apply, hidden, tokens, policy.banned_mask, 1.0)[:, 0]

        for name, scores in (("full logits", full), ("head in chunks", inside)):
            try:
                run = lambda scores=scores: scores().sum().backward()  # noqa: E731
                peak = bench.peak_gb(run)
                yield {"tokens": count, "path": name, "peak_gb": peak} | bench.seconds(run, repeats=2, warmups=0)
            except torch.OutOfMemoryError:
                yield {"tokens": count, "path": name, "error": "out of memory"}


@phase(45)
def reply_attention(bench: Bench) -> Iterator[Row]:
    """Attention of a packed row (P 3,660, G 8, C 256), forward and backward: with expanded keys, and varlen."""
    past, length = (64, 8) if bench.small else (3660, 256)
    ones = torch.ones(1, past, dtype=torch.long, device=bench.device)
    prompt = Level(
        input_ids=ones,
        mask=ones,
        position_ids=torch.zeros(3, 1, past, dtype=torch.long, device=bench.device),
        parents=torch.zeros(1, dtype=torch.long, device=bench.device),
        next_position=torch.ones(1, dtype=torch.long, device=bench.device),
    )
    tree = PrefixTree((prompt,), torch.zeros(0, 1), torch.zeros(0, 3, dtype=torch.long), videos_of=((),))
    layout = pack(tree.with_replies(bench.replies(1, length)), 0).tree_layout
    q, k, v = _heads(bench, past + GROUP * length + (-(past + GROUP * length)) % 64)
    for name, attend in (("expanded", _expanded), ("varlen", _varlen)):
        if name == "varlen" and bench.small:
            continue

        def run(attend: Callable[..., Tensor] = attend) -> None:
            out = attend(q, k, v, layout, past, length)
            out.backward(torch.ones_like(out))

        try:
            yield {"path": name, "peak_gb": bench.peak_gb(run)} | bench.seconds(run, repeats=5)
        except Exception as error:  # such as a version whose varlen_attn takes other arguments
            yield {"path": name, "error": f"{type(error).__name__}: {error}"[:300]}


@phase(90)
def long_prompts(bench: Bench) -> Iterator[Row]:
    """An update with adapters under autocast, G 8, C 256, on ever longer videos until memory runs out."""
    bench.add_lora()
    _set_autocast(bench.policy, True)
    for visual in (224, 448) if bench.small else (8192, 16384, 32768, 65536):
        encoded = bench.encoded(visual // TOKENS_A_FRAME // 2 * 2)
        replies = bench.replies(1, 8 if bench.small else 256)
        tree = build_tree(bench.policy, [encoded], share=False).with_replies(replies)

        def run(tree: PrefixTree = tree) -> None:
            bench.policy.model.zero_grad()
            with torch.no_grad():
                features = tree.vision(bench.policy)
            completion_logprobs(bench.policy, tree.with_features(features))[0].sum().backward()

        try:
            peak = bench.peak_gb(run)
            yield {"P": len(encoded), "peak_gb": peak, "s": round(bench.once(run), 3)}
        except torch.OutOfMemoryError:
            yield {"P": len(encoded), "error": "out of memory"}
            break


def _decode_rows(bench: Bench, weights: str, sizes: tuple[int, ...]) -> Iterator[Row]:
    tokens = 8 if bench.small else 32
    text, head = bench.policy.core.language_model.layers, bench.policy.model.lm_head
    read = sum(p.numel() * p.element_size() for part in (text, head) for p in part.parameters())
    floor_s = read / bench.rates.get("copy", 3e12)
    for rows in sizes[:1] if bench.small else sizes:
        tree = bench.tree(rows // GROUP)

        def eager(count: int, tree: PrefixTree = tree) -> None:
            sample_replies(bench.policy, tree, GROUP, Sampling(temperature=1.0, max_new_tokens=count), static=False)

        eager(2)
        step_s = (bench.once(lambda: eager(1 + tokens)) - bench.once(lambda: eager(1))) / tokens
        counted = _launches(bench, lambda: eager(5), lambda: eager(1), 4)
        yield {"weights": weights, "rows": rows, "path": "eager", "ms": round(1e3 * step_s, 2)} | counted
        with torch.no_grad():
            row = _static_row(bench, tree, tokens)
        yield {"weights": weights, "rows": rows, "path": "graph", "floor_ms": round(1e3 * floor_s, 2)} | row


def _static_row(bench: Bench, tree: PrefixTree, tokens: int) -> Row:
    """A step of fixed shape, with room for 256 tokens: without and with the graph."""
    policy = bench.policy
    policy.model.eval()
    past, logits = prefill(policy, tree, GROUP)
    assert isinstance(past, TreeCache)
    position = tree.leaves.next_position.repeat_interleave(GROUP)
    decoder = StaticDecoder(
        policy, past.levels, position, banned=policy.banned_mask, max_new_tokens=256, temperature=1.0
    )
    capture_s = 0.0 if bench.small else bench.once(decoder.capture)
    decoder.start(logits)
    times = bench.seconds(lambda: [decoder.step() for _ in range(tokens)])
    policy.model.train()
    step_s = times["s"] / tokens
    return {
        "ms": round(1e3 * step_s, 3),
        "range_ms": [round(1e3 * s / tokens, 3) for s in times["range_s"]],
        "tokens_s": round(len(position) / step_s),
        "capture_s": round(capture_s, 3),
    }


def _update_row(
    bench: Bench,
    run: Callable[[], None],
    encoded: EncodedPrompt,
    num_prompts: int,
    length: int,
    passes: int,
    packed: bool,
    tower: bool = True,
) -> Row:
    """Time, memory and share of the matrix rate; ``passes`` forward passes' worth of products in an update."""
    try:
        peak = bench.peak_gb(run)
        times = bench.seconds(run, repeats=2, warmups=0)
    except torch.OutOfMemoryError:
        return {"error": "out of memory"}
    counted = group_flops(bench.policy, encoded.grid_thw, len(encoded), GROUP, length, packed=packed)
    flops = passes * num_prompts * (counted.total - (0 if tower else counted.vision))
    distinct = num_prompts * (len(encoded) + GROUP * length)
    return times | {
        "peak_gb": peak,
        "tokens_s": round(distinct / times["s"]),
        "share_of_matrix_rate": round(flops / times["s"] / bench.rates.get("matrix", 8e14), 3),
    }


def _set_autocast(policy: Policy, on: bool) -> None:
    """bf16 products in adapters too: autocast, and adapters that do not cast their input to float32 first."""
    policy.autocast_bf16 = on
    for module in policy.model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = not on


def _heads(bench: Bench, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of one layer in bf16, (1, heads, length, d)."""
    heads, key_heads = (7, 1) if bench.small else (HEADS, KEY_HEADS)
    q, k, v = (
        torch.randn(1, n, length, HEAD_DIM, device=bench.device, dtype=bench.dtype, requires_grad=True)
        for n in (heads, key_heads, key_heads)
    )
    return q, k, v


def _expanded(q: Tensor, k: Tensor, v: Tensor, layout: TreeLayout, past: int, length: int) -> Tensor:
    return tree_attention(q, k, v, layout, HEAD_DIM**-0.5)


def _varlen(q: Tensor, k: Tensor, v: Tensor, layout: TreeLayout, past: int, length: int) -> Tensor:
    """One call over the prompt and all replies: keys gathered, heads shared, causal from the bottom right."""
    from torch.nn.attention.varlen import varlen_attn

    takes = inspect.signature(varlen_attn).parameters
    causal: Row = {"is_causal": True} if "is_causal" in takes else {"window_size": (-1, 0)}
    prompt = torch.arange(past, device=q.device)
    own = past + torch.arange(GROUP * length, device=q.device).view(GROUP, length)
    keys = torch.cat([prompt, *(torch.cat([prompt, reply]) for reply in own)])
    rows = past + GROUP * length
    ends_q = torch.tensor([0, *range(past, rows + 1, length)], device=q.device, dtype=torch.int32)
    ends_k = torch.tensor(
        [0, past, *(past + (n + 1) * (past + length) for n in range(GROUP))], device=q.device, dtype=torch.int32
    )
    query = q[0, :, :rows].transpose(0, 1)
    key, value = (t[0].transpose(0, 1).index_select(0, keys) for t in (k, v))
    if "enable_gqa" in takes:
        causal["enable_gqa"] = True
    else:
        key, value = (t.repeat_interleave(HEADS // KEY_HEADS, dim=1) for t in (key, value))
    return varlen_attn(query, key, value, ends_q, ends_k, past, past + length, **causal)


def _kernels(bench: Bench, run: Callable[[], Any]) -> list[str]:
    """The attention kernels that ``run`` starts."""
    if bench.small:
        return []
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        bench.wait()
    names = {event.key for event in profile.key_averages()}
    return sorted(n[:70] for n in names if any(word in n.lower() for word in ("flash", "fmha", "cudnn", "sdpa")))


def _launches(bench: Bench, longer: Callable[[], Any], shorter: Callable[[], Any], tokens: int) -> Row:
    """Kernels a token, and the time they keep the device busy."""
    if bench.small:
        return {}
    counts, busy = [], []
    for run in (longer, shorter):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            run()
            bench.wait()
        events = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
        counts.append(len(events))
        busy.append(sum(e.device_time for e in events))
    return {
        "kernels": round((counts[0] - counts[1]) / tokens),
        "busy_ms": round((busy[0] - busy[1]) / tokens / 1e3, 2),
    }


def main() -> None:
    """Run the phases, each within its limit and what is left of the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, help="fewer layers in text model and tower")
    parser.add_argument("--seconds", type=float, default=540.0, help="when to stop")
    parser.add_argument("--phases", default=",".join(PHASES), help="which, in which order")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "gpu.jsonl")
    args = parser.parse_args()
    ends = time.monotonic() + args.seconds
    bench = Bench(args.device, args.layers)
    signal.signal(signal.SIGALRM, _raise_timeout)
    with args.out.open("a", encoding="utf-8") as out:
        for name in args.phases.split(","):
            limit_s, function = PHASES[name]
            left_s = ends - time.monotonic()
            if left_s < min(limit_s, 20):
                _tell(out, name, {"skipped": f"{left_s:.0f} s left"})
                continue
            _run_phase(bench, name, function, min(limit_s, left_s), out)


def _run_phase(
    bench: Bench, name: str, function: Callable[[Bench], Iterator[Row]], limit_s: float, out: TextIO
) -> None:
    begin = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        for row in function(bench):
            _tell(out, name, row)
    except Exception as error:  # one phase that fails leaves the others
        places = [f"{Path(at.filename).name}:{at.lineno}" for at in traceback.extract_tb(sys.exc_info()[2])[-5:]]
        _tell(out, name, {"error": f"{type(error).__name__}: {error}"[:400], "at": places})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if not bench.small:
        torch.cuda.empty_cache()
    _tell(out, name, {"phase_s": round(time.monotonic() - begin, 1)})


def _raise_timeout(*_: Any) -> None:
    raise TimeoutError("the phase's time is over")


def _tell(out: TextIO, name: str, row: Row) -> None:
    line = json.dumps({"phase": name, **row})
    print(line, flush=True)
    out.write(line + "\n")
    out.flush()


if __name__ == "__main__":
    main()
