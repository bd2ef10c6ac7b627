"""timesight next to TRL's GRPOTrainer, on the embedded model: python benchmarks/trl_grpo.py

Text: the same prompt and replies through TRL's own log-prob method and through ours, in float32: the largest
difference, and the seconds of forward and backward. Video: one TRL training step on a conversation with a video,
twice, with two different videos: whether the video's pixels reach the pass that is learned from.

The second part gives TRL decoded frames in place of a file, so that no video library is needed; what becomes of
them afterwards is all TRL's.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import Qwen2VLVideoProcessor
from transformers.video_utils import VideoMetadata
from trl import GRPOConfig, GRPOTrainer

from timesight.model.encode import encode_prompt
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.types import TextPart

GROUP, PROMPT_WORDS, LENGTH, REPEATS = 8, 600, 64, 5


def main() -> None:
    """Both comparisons."""
    policy = load_policy(dtype="float32")
    compare_text(policy)
    for name, difference in video_differences().items():
        print(f"video, {name}: swapping it changes the log-probs by at most {difference:.1e}")


def compare_text(policy: Policy) -> None:
    """The same group through both, timed in turns."""
    torch.manual_seed(0)
    prompt = encode_prompt(policy, Prompt([TextPart(" the red circle is visible" * (PROMPT_WORDS // 5))], []))
    allowed = (~policy.banned_mask).nonzero().flatten()
    replies = allowed[torch.randint(len(allowed), (GROUP, LENGTH))]
    tree = build_tree(policy, [prompt], share=False).with_replies(replies.tolist())
    trainer = trl_trainer(policy)
    trainer.temperature = 1.0
    rows = torch.cat([prompt.input_ids.expand(GROUP, -1), replies], dim=1)

    def ours() -> Tensor:
        return completion_logprobs(policy, tree)[0]

    def theirs() -> Tensor:
        # TRL's distribution is over the whole vocabulary, ours over what may be sampled.
        return trainer._get_per_token_logps_and_entropies(policy.model, rows, torch.ones_like(rows), LENGTH)[0]

    allowed_mass = torch.log1p(-_banned_probability(policy, rows, LENGTH))
    with torch.no_grad():
        difference = (ours() - (theirs() - allowed_mass)).abs().max()
    print(f"text, prompt of {len(prompt)} tokens, {GROUP} replies of {LENGTH}: largest difference {difference:.1e}")
    for name, seconds in timed({"TRL": theirs, "timesight": ours}, policy).items():
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"text, {name}: forward and backward {statistics.median(seconds):.2f} s ({spread}, {REPEATS} runs)")


def _banned_probability(policy: Policy, rows: Tensor, length: int) -> Tensor:
    with torch.no_grad():
        logits = policy.model(input_ids=rows, logits_to_keep=length + 1).logits[:, :-1]
    return logits.softmax(-1)[..., policy.banned_mask].sum(-1)


def timed(runs: dict[str, Callable[[], Tensor]], policy: Policy) -> dict[str, list[float]]:
    """Seconds of forward and backward of each, one after the other, after one run to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(REPEATS + 1):
        for name, run in runs.items():
            policy.model.zero_grad()
            begin = time.perf_counter()
            run().sum().backward()
            seconds[name].append(time.perf_counter() - begin)
    return {name: values[1:] for name, values in seconds.items()}


def video_differences() -> dict[str, float]:
    """For sampling and for the training pass: the largest change of the next token's logits by another video."""
    seen = [run_on_video(seed) for seed in (0, 1)]
    return {name: float((seen[0][name] - seen[1][name]).abs().max()) for name in seen[0]}


def run_on_video(seed: int) -> dict[str, Tensor]:
    """One TRL step on the video of ``seed``: logits after the prompt, from what it gives the model in each pass."""
    given: dict[str, dict[str, Any]] = {}
    policy = load_policy(dtype="float32")

    def keep(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        given.setdefault("the training pass" if torch.is_grad_enabled() else "sampling", dict(inputs))

    policy.model.register_forward_pre_hook(keep, with_kwargs=True)
    frames = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (8, 3, 56, 56), dtype=np.uint8))
    times = VideoMetadata(total_num_frames=8, fps=2.0, duration=4.0, frames_indices=list(range(8)))
    Qwen2VLVideoProcessor.fetch_videos = lambda self, videos, sample_indices_fn=None: (
        [frames.clone() for _ in videos],
        [times for _ in videos],
    )
    question = [{"type": "video", "video": "frames"}, {"type": "text", "text": "When is the red circle visible?"}]
    trl_trainer(policy, [{"prompt": [{"role": "user", "content": question}]}] * GROUP).train()
    fresh = load_policy(dtype="float32").model
    length = given["sampling"]["input_ids"].shape[1]
    logits = {}
    for name, inputs in given.items():
        for unwanted in ("past_key_values", "labels", "logits_to_keep", "use_cache", "temperature"):
            inputs.pop(unwanted, None)
        with torch.no_grad():
            logits[name] = fresh(**inputs).logits[:, length - 1]
    return logits


def trl_trainer(policy: Policy, prompts: list[dict[str, Any]] | None = None) -> GRPOTrainer:
    """TRL's trainer on this model, for one step; every reply earns something else."""
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        max_steps=1,
        per_device_train_batch_size=GROUP,
        num_generations=GROUP,
        max_completion_length=4,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=policy.model,
        processing_class=policy.processor,
        reward_funcs=lambda completions, **unused: [float(i) for i in range(len(completions))],
        args=settings,
        train_dataset=Dataset.from_list(prompts or [{"prompt": "text"}]),
    )


if __name__ == "__main__":
    main()
