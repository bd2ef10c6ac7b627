"""What a run will need, computed from its recipe: tokens, memory, time. The model behind ``timesight plan``.

Memory is that of one GPU at its fullest, the larger of sampling and updating. It leaves out what cannot be
computed from shapes: the CUDA context (about 0.5 GB) and fragmentation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from timesight.model.shape import ModelShape
from timesight.training.schedule import num_steps
from timesight.training.settings import GrpoRecipe, SftRecipe

FLOAT32, BFLOAT16, FOUR_BIT = 4.0, 2.0, 0.52  # bytes a weight; NF4 with doubly quantized scales
ADAM_BYTES = 8.0  # two float32 moments a weight
TEXT_TOKENS = 60  # of a prompt next to its video
GOLD_TOKENS = 32  # of a reply in SFT
VOCABULARY_CHUNKS = 3 * 2**27  # bytes: float32 scores of one chunk, their softmax and their gradient
GB = 1e9


@dataclass(frozen=True)
class Plan:
    """What one optimizer step takes; memory in GB (1e9 bytes) by part."""

    tokens_per_step: int
    steps: int
    flops_per_step: float
    sampled_tokens: float  # one after the other
    weight_bytes: float  # read for each sampled token
    memory: dict[str, float]

    @property
    def memory_gb(self) -> float:
        """At the fullest moment: weights and optimizer, and the larger of sampling and updating."""
        passing = max(self.memory["sampling"], self.memory["update"])
        return sum(gb for name, gb in self.memory.items() if name not in ("sampling", "update")) + passing

    def seconds_per_step(self, flops_per_s: float, bytes_per_s: float) -> float:
        """At these measured rates: the update is bound by arithmetic, sampling by reading the weights."""
        reading = self.sampled_tokens * self.weight_bytes / bytes_per_s
        return self.flops_per_step / flops_per_s + reading


@dataclass(frozen=True)
class _Pass:
    """Sizes of one micro-batch, at the longest prompts and replies: videos with all their questions."""

    visual: int  # tokens of the videos
    patches: int
    prompts: int  # tokens of videos and questions
    predicted: int  # tokens of replies

    @property
    def row(self) -> int:
        """Tokens that pass through the language model."""
        return self.prompts + self.predicted


def plan(
    recipe: SftRecipe | GrpoRecipe,
    model: ModelShape,
    num_samples: int,
    num_gpus: int = 1,
    *,
    num_entries: int | None = None,
) -> Plan:
    """What ``recipe`` needs on each of ``num_gpus`` GPUs.

    With several GPUs, moments and gradients of a whole model are shared out (ZeRO-2).

    Args:
        recipe: What is trained, and how.
        model: Its sizes.
        num_samples: Questions of an epoch.
        num_gpus: Processes.
        num_entries: Entries of the schedule that these questions are dealt as; None: as few as
            ``train.questions_per_video`` allows. Memory is always that of entries with so many questions.
    """
    train = recipe.train
    grpo = recipe.grpo if isinstance(recipe, GrpoRecipe) else None
    cap = train.questions_per_video
    entries = num_entries or math.ceil(num_samples / cap)
    usual, fullest = _sizes(recipe, model, num_samples / entries), _sizes(recipe, model, cap)
    fresh = 1 / grpo.num_iterations if grpo else 1.0  # share of the steps that sample
    reply = grpo.max_completion_length if grpo else GOLD_TOKENS

    forward = 2.0 * (model.text_linear * usual.row + model.tower * usual.patches + model.merger * usual.visual)
    backward = forward * (2 if train.lora is None else 1)
    again = (forward if train.gradient_checkpointing else 0.0) + (
        fresh * forward if grpo and grpo.beta > 0 else 0.0
    )
    prefill = fresh * 2.0 * model.text_linear * usual.prompts if grpo else 0.0
    return Plan(
        tokens_per_step=usual.row * train.gradient_accumulation_steps * num_gpus,
        steps=num_steps(recipe, math.ceil(train.epochs * entries), num_gpus),
        flops_per_step=train.gradient_accumulation_steps * (forward + backward + again + prefill),
        sampled_tokens=fresh * reply if grpo else 0.0,  # the replies of a step are sampled together
        weight_bytes=(model.total - model.tower) * BFLOAT16,
        memory=_memory(recipe, model, num_gpus, fullest),
    )


def _sizes(recipe: SftRecipe | GrpoRecipe, model: ModelShape, questions: float) -> _Pass:
    """Of a micro-batch whose videos have so many questions each."""
    grpo = recipe.grpo if isinstance(recipe, GrpoRecipe) else None
    steps_in_time = recipe.video.max_frames / model.frames_per_token
    pixels = min(recipe.video.total_pixels, steps_in_time * recipe.video.max_pixels)
    videos = recipe.train.batch_size
    visual = videos * round(pixels / model.pixels_per_token)
    replied = grpo.num_generations * grpo.max_completion_length if grpo else GOLD_TOKENS
    return _Pass(
        visual=visual,
        patches=visual * model.patches_per_token,
        prompts=visual + round(videos * questions * TEXT_TOKENS),
        predicted=round(videos * questions * replied),
    )


def _memory(recipe: SftRecipe | GrpoRecipe, model: ModelShape, num_gpus: int, sizes: _Pass) -> dict[str, float]:
    train = recipe.train
    lora = train.lora
    uses_reference = isinstance(recipe, GrpoRecipe) and recipe.grpo.beta > 0
    sharded = num_gpus > 1 and lora is None  # DeepSpeed's stage 2 keeps bf16 weights and shares out the rest
    if lora is not None:
        linear = FOUR_BIT if lora.quantize else BFLOAT16
        weights = model.text_linear * linear + (model.total - model.text_linear) * BFLOAT16
        learning = lora.r * model.lora_sites
        weights += learning * FLOAT32
    else:
        weights = model.total * (BFLOAT16 if sharded else FLOAT32)
        frozen = {"tower": model.tower, "merger": model.merger}
        learning = model.total - sum(frozen[part] for part in train.freeze)
    gradients = learning * (BFLOAT16 if sharded else FLOAT32)
    moments = learning * (ADAM_BYTES + (FLOAT32 if sharded else 0.0))
    share = num_gpus if sharded else 1
    reference = model.reference_bytes if uses_reference and lora is None else 0.0

    row, patches = sizes.row, sizes.patches
    layer = row * (3 * model.intermediate + 8 * model.hidden) * BFLOAT16
    kept = row * model.hidden * BFLOAT16
    text = model.layers * kept + layer if train.gradient_checkpointing else model.layers * (layer + kept)
    trains_tower = lora is None and "tower" not in train.freeze
    vision_layer = patches * (3 * model.vision_intermediate + 8 * model.vision_hidden) * BFLOAT16
    vision_kept = patches * model.vision_hidden * BFLOAT16
    checkpointed = train.gradient_checkpointing or not trains_tower
    vision = vision_layer + (model.vision_layers * vision_kept if trains_tower else 0.0)
    vision = vision if checkpointed else model.vision_layers * (vision_layer + vision_kept)
    # A node's keys and values are there once, and the replies of the whole step are sampled together.
    cache = train.gradient_accumulation_steps * row * model.kv_width * model.layers * BFLOAT16
    return {
        "weights": weights / GB,
        "gradients": gradients / share / GB,
        "optimizer": moments / share / GB,
        "reference": reference / GB,
        "sampling": cache / GB if isinstance(recipe, GrpoRecipe) else 0.0,
        "update": (text + vision + VOCABULARY_CHUNKS) / GB,
    }
