"""The typed settings of a recipe: immutable, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from timesight.errors import RecipeError
from timesight.judge import JudgeSettings
from timesight.tasks.custom import TaskSettings
from timesight.training.options import LOSS_TYPES, SCALE_REWARDS, LossAverage, import_function
from timesight.video import FrameBudget, ReadingSettings, SecondLook
from timesight.world import QUESTIONS, WorldSettings

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
EASY_SHARE = 0.5
GOLD_LENGTH = "gold_length"  # of the reply in think mode, in characters
VisionPart = Literal["tower", "merger"]


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WorldSource(WorldSettings):
    """Samples from the synthetic world, written into the run directory when first needed."""

    num_videos: int = Field(gt=0)  # how many are written
    seed: int = 0  # of the scenes
    split: str = "train"  # name of the world, for phases
    tasks: tuple[str, ...] = tuple(QUESTIONS)

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [task for task in tasks if task not in QUESTIONS]:
            raise ValueError(f"the synthetic world does not ask for {unknown[0]}; it knows {', '.join(QUESTIONS)}")
        return tasks


class SourceSettings(Settings):
    """One source of samples: a JSONL file, a data set of the hub, or a synthetic world."""

    jsonl: Path | None = None  # file of samples
    hub: str | None = None  # id of a data set, or a folder that ``datasets`` saved
    split: str = "train"  # of ``hub``
    world: WorldSource | None = None
    tasks: tuple[str, ...] | None = None  # of a file or data set; None: all
    evidence: bool = True  # False: grounded answers are asked for as multiple choice
    weight: float = Field(default=1.0, gt=0)  # how often an epoch shows each sample
    limit: int | None = Field(default=None, gt=0)  # at most so many samples, drawn once

    @model_validator(mode="after")
    def _one_origin(self) -> SourceSettings:
        if len(self._origins()) != 1:
            raise ValueError("set exactly one of jsonl, hub and world")
        return self

    @model_validator(mode="after")
    def _files_are_filtered(self) -> SourceSettings:
        if self.tasks is not None and self.jsonl is None and self.hub is None:
            raise ValueError("tasks chooses samples of a jsonl or hub source; a world has world.tasks")
        return self

    @property
    def key(self) -> str:
        """What a curriculum calls the source: the split of a synthetic world, or the file or data set."""
        return self.world.split if self.world else str(self.jsonl or self.hub)

    @property
    def name(self) -> str:
        """What the source is, for messages and for the run directory."""
        return f"world {self.key}" if self.world else self.key

    def _origins(self) -> list[str]:
        return [name for name in ("jsonl", "hub", "world") if getattr(self, name) is not None]


class PhaseSettings(Settings):
    """A part of the run with other weights of the sources."""

    share: float = Field(gt=0, le=1)  # of the run
    weights: Mapping[str, Weight]  # by split of a world, file or data set; sources that are not named are not shown


class CurriculumSettings(Settings):
    """Easy samples first: over ``share`` of the run, harder and harder ones join in; or ``phases``, in their order.

    Each phase begins the order of its samples anew: some come again before others have come once. After either, the
    sources have their own weights.
    """

    by: str = GOLD_LENGTH  # or a number of each sample, such as meta.duration_s; small is easy
    share: Share = EASY_SHARE  # of the run, after which everything has joined in
    phases: tuple[PhaseSettings, ...] = ()

    @model_validator(mode="after")
    def _phases_fit(self) -> CurriculumSettings:
        if self.phases and (self.by, self.share) != (GOLD_LENGTH, EASY_SHARE):
            raise ValueError("set phases, or by and share")
        if sum(phase.share for phase in self.phases) > 1 + 1e-9:
            raise ValueError("the shares of the phases add up to more than the run")
        if not all(any(phase.weights.values()) for phase in self.phases):
            raise ValueError("each phase needs a source with a weight above 0")
        return self


class DifficultySettings(Settings):
    """Which samples suit a model, by what a preview of all of them earned (``--preview --num-prompts``)."""

    preview: Path  # file that a preview of all samples has written
    min_reward: float = 0.0  # least mean total reward of a group
    max_reward: float | None = None  # greatest
    min_std: float = Field(default=0.0, ge=0)  # least standard deviation of a group's total rewards


class DataSettings(SourceSettings):
    """Where samples come from: one source, or several mixed."""

    sources: tuple[SourceSettings, ...] = ()
    difficulty: DifficultySettings | None = None
    curriculum: CurriculumSettings | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> DataSettings:
        if len(self._origins()) + bool(self.sources) != 1:
            raise ValueError("set exactly one of data.jsonl, data.hub, data.world and data.sources")
        splits = [world.split for world in self.worlds]
        if len(set(splits)) < len(splits):
            raise ValueError("data.sources holds several worlds with the same split: give each another name")
        known = [source.key for source in self.all_sources]
        phases = self.curriculum.phases if self.curriculum else ()
        named = [name for phase in phases for name in phase.weights]
        if shared := [name for name in named if known.count(name) > 1]:
            raise ValueError(f"curriculum.phases: {shared[0]} are several sources, which phases cannot tell apart")
        if unknown := [name for name in named if name not in known]:
            raise ValueError(f"curriculum.phases: no source {unknown[0]}; there are {', '.join(known)}")
        return self

    @property
    def all_sources(self) -> tuple[SourceSettings, ...]:
        """The sources, be it one or several."""
        return self.sources or (self,)

    @property
    def worlds(self) -> tuple[WorldSource, ...]:
        """The synthetic worlds among the sources."""
        return tuple(source.world for source in self.all_sources if source.world is not None)


class LoraSettings(Settings):
    """Low-rank adapters on the language model's linear layers; the rest stays as it is."""

    r: int = Field(default=64, gt=0)  # rank
    alpha: int = Field(default=128, gt=0)  # adapters are scaled by alpha / r
    dropout: float = Field(default=0.0, ge=0, lt=1)  # before the adapters
    quantize: Literal["4bit"] | None = None  # QLoRA: the frozen weights in four bits


class TrainSettings(Settings):
    """The optimizer and the pace. A step takes ``batch_size`` × ``gradient_accumulation_steps`` videos on each
    process, and up to ``questions_per_video`` questions on each of them."""

    learning_rate: float = Field(default=1e-6, gt=0)  # of AdamW, at its highest
    # with Muon, of all weight matrices but embeddings and the LM head; None: AdamW for all
    muon_learning_rate: float | None = Field(default=None, gt=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"  # to 0 at the end, or constant
    warmup_steps: int = Field(default=0, ge=0)  # over which learning rates rise from 0
    weight_decay: float = Field(default=0.0, ge=0)  # of all weights but biases and norms
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)  # decay of the second moment
    max_grad_norm: float = Field(default=1.0, gt=0)  # gradients are clipped to it
    epochs: float = Field(default=1.0, gt=0)  # passes over the data
    max_steps: int | None = Field(default=None, gt=0)  # optimizer steps; wins over epochs
    batch_size: int = Field(default=1, gt=0)  # videos
    questions_per_video: int = Field(default=1, gt=0)  # on the same frames, which are computed once for all of them
    gradient_accumulation_steps: int = Field(default=1, gt=0)  # micro-batches of batch_size in a step
    look_again: bool = False  # GRPO with a second look as a second turn (Clue-Perception)
    save_steps: int = Field(default=100, gt=0)  # steps between checkpoints
    freeze: tuple[VisionPart, ...] = ()  # frozen parts of the vision tower
    lora: LoraSettings | None = None
    gradient_checkpointing: bool = False  # layers are computed again in the backward pass: less memory
    cache_vision_features: Path | None = None  # folder for a frozen tower's features, across epochs and runs
    cache_vision_features_gb: float = Field(default=100.0, gt=0)  # size limit of that folder
    stall_s: float = Field(default=1800.0, gt=0)  # warn when a stage of a step takes longer
    max_broken_share: Share = 0.1  # stop when more of the videos than this cannot be read
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()  # trackers, next to metrics.jsonl

    @model_validator(mode="after")
    def _cached_features_stay_true(self) -> TrainSettings:
        if self.cache_vision_features is not None and self.lora is None and set(self.freeze) != {"tower", "merger"}:
            raise ValueError("cache_vision_features needs a frozen vision tower: freeze: [tower, merger], or lora")
        return self


class ValidationSettings(Settings):
    """Held-out samples that are answered greedily during training; the best checkpoint is kept."""

    jsonl: Path  # file of held-out samples
    num_samples: int = Field(default=200, gt=0)  # of them, thinned evenly
    every_steps: int = Field(default=100, gt=0)  # a multiple of train.save_steps
    batch_size: int = Field(default=8, gt=0)  # questions at once


class GrpoSettings(Settings):
    """Group relative policy optimization (paper, equations 1 and 2); names follow TRL's ``GRPOConfig``."""

    num_generations: int = Field(default=8, ge=2)  # replies to each prompt: the group
    max_completion_length: int = Field(default=256, gt=0)  # tokens of a reply
    temperature: float = Field(default=1.0, gt=0)  # of sampling, and of log-probabilities
    num_iterations: int = Field(default=1, gt=0)  # updates on each batch of replies
    dynamic_sampling: int = Field(default=0, ge=0)  # times that questions with zero reward std are replaced
    epsilon: float = Field(default=0.2, gt=0, lt=1)  # the ratio is clipped at 1 − epsilon and 1 + epsilon_high
    epsilon_high: float | None = Field(default=None, gt=0)  # None: epsilon
    beta: float = Field(default=0.04, ge=0)  # weight of the KL penalty; 0 loads no reference model
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"  # of the KL to the reference model
    loss_type: str = "grpo"  # one of grpo, bnpo, dr_grpo, dapo; or module:function
    importance_sampling_level: Literal["token", "sequence"] = "token"  # of the ratio that is clipped
    vllm_server_base_url: str | None = None  # of a server that samples the replies; None: the policy does
    vllm_server_timeout: float = Field(default=240.0, gt=0)  # seconds to wait for it
    # of the mismatch between trainer and sampler; None: token_truncate with a server, otherwise off
    importance_sampling_correction: Literal["token_truncate", "sequence_mask"] | None = None
    importance_sampling_clip_max: float = Field(default=3.0, gt=0)  # greatest weight of that correction
    scale_rewards: str = "group"  # whose std divides advantages: group, batch, none, task, or module:function
    mask_truncated_completions: bool = False  # leave out replies that were cut off
    reward_weights: Mapping[str, Weight] = Field(default_factory=dict)  # 1 for every component not named

    @field_validator("loss_type", "scale_rewards")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        known = LOSS_TYPES if info.field_name == "loss_type" else SCALE_REWARDS
        if name not in known:
            try:
                import_function(name, known)
            except RecipeError as error:
                raise ValueError(str(error)) from None
        return name

    def loss_options(self) -> dict[str, Any]:
        """What a loss may take by keyword."""
        names = (
            "epsilon",
            "epsilon_high",
            "beta",
            "kl_estimator",
            "importance_sampling_level",
            "importance_sampling_correction",
            "importance_sampling_clip_max",
        )
        options = {name: getattr(self, name) for name in names}
        if self.vllm_server_base_url is not None and self.importance_sampling_correction is None:
            options["importance_sampling_correction"] = "token_truncate"
        return options


class _Recipe(Settings):
    model: str = "tiny"  # folder, run directory or hub id; for sft also new:qwen3_vl or new:qwen2_5_vl, untrained
    data: DataSettings
    video: FrameBudget = FrameBudget()
    second_look: SecondLook = SecondLook()
    reading: ReadingSettings = ReadingSettings()
    train: TrainSettings = TrainSettings()
    validation: ValidationSettings | None = None
    tasks: TaskSettings = TaskSettings()
    judge: JudgeSettings | None = None
    seed: int = 0  # of everything that is drawn

    @model_validator(mode="after")
    def _validated_weights_are_kept(self) -> _Recipe:
        if self.validation is not None and self.validation.every_steps % self.train.save_steps:
            raise ValueError(
                "validation.every_steps must be a multiple of train.save_steps, so that the best weights are kept"
            )
        return self


class GrpoRecipe(_Recipe):
    """Reinforcement fine-tuning with checked rewards."""

    kind: Literal["grpo"]  # reinforcement fine-tuning
    think: bool = False  # ask in think mode
    grpo: GrpoSettings = GrpoSettings()

    @model_validator(mode="after")
    def _checkpoints_fall_between_batches(self) -> GrpoRecipe:
        if self.train.save_steps % self.grpo.num_iterations:
            raise ValueError("train.save_steps must be a multiple of grpo.num_iterations, so that a run can resume")
        return self

    @model_validator(mode="after")
    def _turns_weigh_alike(self) -> GrpoRecipe:
        if self.train.look_again and self.grpo.loss_type == "bnpo":
            raise ValueError(
                "grpo.loss_type: bnpo averages over the tokens of one pass, and a step has few second turns: with "
                "train.look_again use dapo"
            )
        return self

    @model_validator(mode="after")
    def _the_policy_looks_again(self) -> GrpoRecipe:
        if self.train.look_again and self.grpo.vllm_server_base_url is not None:
            raise ValueError(
                "train.look_again: a server does not sample second looks; leave vllm_server_base_url out"
            )
        return self


class SftRecipe(_Recipe):
    """Supervised fine-tuning on gold replies.

    ``model`` may be ``new:qwen2_5_vl`` or ``new:qwen3_vl``: a tiny untrained model with its tokenizer.
    """

    kind: Literal["sft"]  # supervised fine-tuning on gold replies
    loss_average: LossAverage = "token"  # a token of n weighs 1 (token), 1/√n (square) or 1/n (reply)
    completion_only_loss: bool = True  # False: also on the prompt after its videos, as in the paper's released code
    think_share: Share = 0.0  # share of the samples asked in think mode
    think_first: Share = 0.0  # over this first share of the steps, all of them are

    @model_validator(mode="after")
    def _nothing_is_sampled(self) -> SftRecipe:
        if self.train.look_again:
            raise ValueError("train.look_again is for GRPO: gold replies do not choose what to look at")
        return self
