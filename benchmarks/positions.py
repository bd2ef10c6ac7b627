"""Where text after a video stands, by timesight and by the library: python benchmarks/positions.py [MODEL]

Without a model it is a Qwen2.5-VL with random weights, which positions do not depend on.

Three prompts with one question: 4 s of video, 20 s, and twice 6 s, at 2 frames per second, two frames a step.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

from timesight.model.encode import EncodedPrompt, encode_prompt, rope_positions
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.model.tiny import create
from timesight.types import PromptPart, TextPart, Video, VideoPart
from timesight.video import Frames

PROMPTS = {"4 s": (4.0, 1), "20 s": (20.0, 1), "6 s and 6 s": (6.0, 2)}
QUESTION = "when does the red circle appear?"


def main() -> None:
    """Print the table."""
    with TemporaryDirectory() as folder:
        if len(sys.argv) < 2:
            create(Path(folder), "qwen2_5_vl", seed=0, texts=[QUESTION])
        policy = load_policy(sys.argv[1] if len(sys.argv) > 1 else folder)
    print(
        "| video | last time of it | next text: timesight | next text: library | last token: timesight | library |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name, (length_s, videos) in PROMPTS.items():
        encoded = prompt(policy, length_s, videos)
        ours, theirs = rope_positions(policy, [encoded])[:, 0], library_positions(policy, encoded)
        last = int((encoded.token_types == 2).nonzero()[-1])
        shown = (ours[0, last], ours[0, last + 1], theirs[0, last + 1], ours[0, -1], theirs[0, -1])
        print(f"| {name} | {' | '.join(str(int(position)) for position in shown)} |")


def prompt(policy: Policy, length_s: float, videos: int) -> EncodedPrompt:
    """A question about noise."""
    count, side = int(2 * length_s), 2 * policy.factor
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    frames = Frames(pixels, np.arange(count) / 2.0, (0.0, length_s), length_s)
    parts: list[PromptPart] = [VideoPart(Video(path=Path("noise"))) for _ in range(videos)]
    return encode_prompt(policy, Prompt([*parts, TextPart(QUESTION)], [frames] * videos))


def library_positions(policy: Policy, encoded: EncodedPrompt) -> Tensor:
    """(3, P) by the model class as the library has it."""
    seconds = {} if encoded.seconds_per_grid is None else {"second_per_grid_ts": encoded.seconds_per_grid}
    positions, _ = type(policy.core).get_rope_index(
        policy.core,
        encoded.input_ids[None],
        mm_token_type_ids=encoded.token_types[None],
        video_grid_thw=encoded.grid_thw,
        **seconds,
    )
    return positions[:, 0]


if __name__ == "__main__":
    main()
