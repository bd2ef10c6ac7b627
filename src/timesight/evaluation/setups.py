"""How others evaluate Qwen-VL models, by name: frames, pixels and limits, with the figures that they report.

The same weights have 29.0 or 43.6 mIoU on Charades-STA, depending on whom one asks. What is known about the
difference is here, so that it can be tried. Prompts are not, which ``--prompts`` takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from timesight.errors import InputError
from timesight.video import FrameBudget

TOKEN = 28 * 28  # pixels of a vision token, which stands for two frames


@dataclass(frozen=True)
class Setup:
    """How a source evaluates.

    Args:
        title: Which source.
        url: Where its settings were read.
        video: Its frames. Where it takes a number of frames at any length, the rate is above that of any video.
        max_new_tokens: Its limit of a reply; None where it says none.
        reported: By suite and metric, what it reports for Qwen2.5-VL-7B, or what others got with it.
        unlike: What else it does otherwise than timesight.
    """

    title: str
    url: str
    video: FrameBudget
    max_new_tokens: int | None = None
    reported: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unlike: str = ""


ANY_RATE = 1000.0  # frames a second
SETUPS: dict[str, Setup] = {
    "videochat-r1": Setup(
        "the paper and its released code",
        "https://github.com/OpenGVLab/VideoChat-R1",
        FrameBudget(),
        2048,
        {
            "charades_sta": {"mIoU": 0.290},
            "activitynet_captions": {"mIoU": 0.211},
            "videomme": {"accuracy": 0.644},
            "mvbench": {"accuracy": 0.669},
            "longvideobench": {"accuracy": 0.560},
        },
        "The text stands before the video; the last two numbers around 'to' or 'and' count, in a thought too.",
    ),
    "qwen-report": Setup(
        "the technical report of Qwen2.5-VL",
        "https://arxiv.org/abs/2502.13923",
        FrameBudget(max_frames=768, total_pixels=24576 * TOKEN),
        None,
        {
            "charades_sta": {"mIoU": 0.436},
            "videomme": {"accuracy": 0.651},
            "mvbench": {"accuracy": 0.696},
            "longvideobench": {"accuracy": 0.560},
        },
        "Prompts, decoding and parsing are not published.",
    ),
    "lmms-eval": Setup(
        "the defaults of lmms-eval for Qwen2.5-VL",
        "https://github.com/EvolvingLMMs-Lab/lmms-eval",
        FrameBudget(
            fps=ANY_RATE, max_frames=32, min_pixels=256 * TOKEN, max_pixels=768 * TOKEN, total_pixels=12288 * TOKEN
        ),
        50,
        {"charades_sta": {"mIoU": 0.295}, "videomme": {"accuracy": 0.629}, "mvbench": {"accuracy": 0.656}},
        "The processor is not told the frame rate and takes it to be 2, so times are wrong at any other.",
    ),
    "vlmevalkit": Setup(
        "the entry of VLMEvalKit for Qwen2.5-VL on videos",
        "https://github.com/open-compass/VLMEvalKit",
        FrameBudget(min_pixels=128 * TOKEN, total_pixels=24576 * TOKEN),
        2048,
        {},
        "The processor is not told the frame rate; MVBench reads 8 or 64 frames.",
    ),
}


def find_setup(name: str) -> Setup:
    """Look up a setup by name.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in SETUPS:
        raise InputError(f"no setup {name}: choose one of {', '.join(SETUPS)}")
    return SETUPS[name]
