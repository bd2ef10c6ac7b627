"""What a run will need, computed from its recipe: tokens, memory, time. The model behind ``timesight plan``.

Memory is the peak of one GPU, the larger of sampling and updating. It leaves out what cannot be
computed from shapes: the CUDA context (about 0.5 GB) and fragmentation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from timesight.model.shape import ModelShape
from timesight.training.schedule import num_steps
from timesight.training.settings import GrpoRecipe, SftRecipe

Launch = Literal["ddp", "zero2", "fsdp2"]

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
    communicated_gb: float  # sent by each GPU, and received
    memory: dict[str, float]

    @property
    def memory_gb(self) -> float:
        """At the fullest moment: weights and optimizer, and the larger of sampling and updating."""
        passing = max(self.memory["sampling"], self.memory["update"])
        return sum(gb for name, gb in self.memory.items() if name not in ("sampling", "update")) + passing

    def seconds_by_part(
        self, flops_per_s: float, bytes_per_s: float, link_bytes_per_s: float | None = None
    ) -> dict[str, float]:
        """Seconds of a step at these rates, one part after the other.

        Args:
            flops_per_s: Of a GPU, which bounds prefill, reference and update.
            bytes_per_s: Of its memory, which bounds sampling: each token reads the weights.
            link_bytes_per_s: Between GPUs. None: what they send each other is left out.
        """
        return {
            "compute": self.flops_per_step / flops_per_s,
            "sampling": self.sampled_tokens * self.weight_bytes / bytes_per_s,
            "communication": self.communicated_gb * GB / link_bytes_per_s if link_bytes_per_s else 0.0,
        }


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
    launch: Launch | None = None,
) -> Plan:
    """What ``recipe`` needs on each of ``num_gpus`` GPUs.

    Args:
        recipe: What is trained, and how.
        model: Its sizes.
        num_samples: Questions of an epoch.
        num_gpus: Processes.
        num_entries: Entries of the schedule that these questions are grouped into; None: as few as
            ``train.questions_per_video`` allows. Memory is always that of entries with so many questions.
        launch: How the model is sharded over several GPUs (``timesight launch-config``). None: ``zero2`` for a
            whole model, ``ddp`` for adapters.
    """
    if num_gpus == 1 or launch is None:
        launch = "zero2" if num_gpus > 1 and recipe.train.lora is None else "ddp"
    train = recipe.train
    grpo = recipe.grpo if isinstance(recipe, GrpoRecipe) else None
    cap = train.questions_per_video
    entries = num_entries or math.ceil(num_samples / cap)
    turns, fullest = _turns(recipe, model, num_samples / entries), _turns(recipe, model, cap)
    rows = sum(turn.row for turn in turns)
    fresh = 1 / grpo.num_iterations if grpo else 1.0  # share of the steps that sample
    reply = grpo.max_completion_length if grpo else GOLD_TOKENS

    seen = sum(model.tower * turn.patches + model.merger * turn.visual for turn in turns)
    forward = 2.0 * (model.text_linear * rows + seen)
    backward = forward * (2 if train.lora is None else 1)
    again = (forward if train.gradient_checkpointing else 0.0) + (
        fresh * forward if grpo and grpo.beta > 0 else 0.0
    )
    prefill = fresh * 2.0 * model.text_linear * sum(turn.prompts for turn in turns) if grpo else 0.0
    return Plan(
        tokens_per_step=rows * train.gradient_accumulation_steps * num_gpus,
        steps=num_steps(recipe, math.ceil(train.epochs * entries), num_gpus),
        flops_per_step=train.gradient_accumulation_steps * (forward + backward + again + prefill),
        sampled_tokens=fresh * reply * len(turns) if grpo else 0.0,  # the replies of a turn are sampled together
        weight_bytes=(model.total - model.tower) * BFLOAT16,
        communicated_gb=_communicated(recipe, model, num_gpus, launch, len(turns)) / GB,
        memory=_memory(recipe, model, num_gpus, fullest, launch),
    )


def _communicated(
    recipe: SftRecipe | GrpoRecipe, model: ModelShape, num_gpus: int, launch: Launch, num_turns: int
) -> float:
    """Bytes that a GPU sends in a step: gradients, and weights where they are gathered."""
    others = (num_gpus - 1) / num_gpus
    learning, passes = _trainable(recipe, model), recipe.train.gradient_accumulation_steps * num_turns
    if launch == "ddp":
        return 2 * others * learning * FLOAT32
    if launch == "zero2":
        return others * (passes * learning + model.total) * BFLOAT16
    gathers = 2 * passes  # forward and backward
    if isinstance(recipe, GrpoRecipe):
        gathers += num_turns * (2 if recipe.grpo.beta > 0 else 1)  # for sampling, and for the reference
    return others * (gathers * model.total * BFLOAT16 + passes * learning * FLOAT32)


def _trainable(recipe: SftRecipe | GrpoRecipe, model: ModelShape) -> int:
    """Trainable weights."""
    if recipe.train.lora is not None:
        return recipe.train.lora.r * model.lora_sites
    frozen = {"tower": model.tower, "merger": model.merger}
    return model.total - sum(frozen[part] for part in recipe.train.freeze)


def _turns(recipe: SftRecipe | GrpoRecipe, model: ModelShape, questions: float) -> list[_Pass]:
    """The passes of a micro-batch whose videos have so many questions each; the second is that of second looks.

    A first pass sees each video once. In a second look every reply has a prompt, at most with segments that no
    other looks at.
    """
    video, videos = recipe.video, recipe.train.batch_size
    prompts = videos * questions
    steps_in_time = video.max_frames / model.frames_per_token
    pixels = min(video.total_pixels, steps_in_time * video.max_pixels)
    if not isinstance(recipe, GrpoRecipe):
        return [_pass(model, videos, pixels, prompts, prompts * GOLD_TOKENS)]
    replies = prompts * recipe.grpo.num_generations
    predicted = replies * recipe.grpo.max_completion_length
    turns = [_pass(model, videos, pixels, prompts, predicted)]
    if recipe.train.look_again:
        second = recipe.second_look.budget(video, share=1.0)
        pixels = min(second.total_pixels, steps_in_time * second.max_pixels)
        turns.append(_pass(model, replies, pixels, replies, predicted))
    return turns


def _pass(model: ModelShape, videos: float, pixels: float, prompts: float, predicted: float) -> _Pass:
    """``prompts`` on ``videos`` of ``pixels`` each, two frames counted as one."""
    visual = round(videos * round(pixels / model.pixels_per_token))
    return _Pass(
        visual=visual,
        patches=visual * model.patches_per_token,
        prompts=visual + round(prompts * TEXT_TOKENS),
        predicted=round(predicted),
    )


def _memory(
    recipe: SftRecipe | GrpoRecipe, model: ModelShape, num_gpus: int, turns: Sequence[_Pass], launch: Launch
) -> dict[str, float]:
    train = recipe.train
    lora, learning = train.lora, _trainable(recipe, model)
    uses_reference = isinstance(recipe, GrpoRecipe) and recipe.grpo.beta > 0
    zero2 = launch == "zero2" and lora is None  # keeps bf16 weights, with those of Adam in float32, shared out
    if lora is not None:
        linear = FOUR_BIT if lora.quantize else BFLOAT16
        weights = model.text_linear * linear + (model.total - model.text_linear) * BFLOAT16
        weights += learning * FLOAT32
    else:
        weights = model.total * (BFLOAT16 if zero2 else FLOAT32)
    gradients = learning * (BFLOAT16 if zero2 else FLOAT32)
    moments = learning * (ADAM_BYTES + (FLOAT32 if zero2 else 0.0))
    share = num_gpus if launch != "ddp" else 1
    weight_share = num_gpus if launch == "fsdp2" else 1
    reference = model.reference_bytes if uses_reference and lora is None else 0.0
    gathered = model.total * BFLOAT16 if launch == "fsdp2" else 0.0  # of all layers to sample, of two to update

    row, patches = max(turn.row for turn in turns), max(turn.patches for turn in turns)
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
    text += 2 * gathered / model.layers
    return {
        "weights": weights / weight_share / GB,
        "gradients": gradients / share / GB,
        "optimizer": moments / share / GB,
        "reference": reference / weight_share / GB,
        "sampling": (cache + gathered) / GB if isinstance(recipe, GrpoRecipe) else 0.0,
        "update": (text + vision + VOCABULARY_CHUNKS) / GB,
    }
