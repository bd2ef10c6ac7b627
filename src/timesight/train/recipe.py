"""Recipes: YAML files that say what is trained, on what, and how. Unknown keys are refused by name.

A shipped recipe is named by its path under ``timesight/recipes`` without the suffix, such as
``tiny/grpo``; any other recipe by its file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from timesight.errors import RecipeError
from timesight.judge import JudgeSettings
from timesight.tasks.own import TaskSettings
from timesight.video import FrameBudget
from timesight.world import QUESTIONS

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
VisionPart = Literal["tower", "merger"]
LossAverage = Literal["token", "square", "reply"]


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WorldSource(Settings):
    """Samples from the made world, written into the run directory when first needed."""

    num_videos: int = Field(gt=0)
    seed: int = 0
    split: str = "train"
    tasks: tuple[str, ...] = tuple(QUESTIONS)
    duration_s: tuple[float, float] = (3.0, 8.0)
    replaced: Share = 0.0
    shift_s: float = Field(default=0.0, ge=0)
    named_share: Share = 0.0

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [task for task in tasks if task not in QUESTIONS]:
            raise ValueError(f"the made world does not ask for {unknown[0]}; it knows {', '.join(QUESTIONS)}")
        return tasks


class DataSettings(Settings):
    """Where samples come from: a JSONL file or the made world, one of the two."""

    jsonl: Path | None = None
    world: WorldSource | None = None

    @model_validator(mode="after")
    def _one_source(self) -> DataSettings:
        if (self.jsonl is None) == (self.world is None):
            raise ValueError("say one of data.jsonl and data.world")
        return self


class LoraSettings(Settings):
    """Low-rank adapters on the language model's linear layers; the rest stays as it is."""

    r: int = Field(default=64, gt=0)
    alpha: int = Field(default=128, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    quantize: Literal["4bit"] | None = None  # QLoRA: the frozen weights in four bits


class TrainSettings(Settings):
    """The optimiser and the pace. A step takes ``batch_size`` × ``accumulation`` prompts on each process."""

    learning_rate: float = Field(default=1e-6, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, gt=0)  # wins over epochs
    batch_size: int = Field(default=1, gt=0)
    accumulation: int = Field(default=1, gt=0)
    save_steps: int = Field(default=100, gt=0)
    freeze: tuple[VisionPart, ...] = ()
    lora: LoraSettings | None = None
    gradient_checkpointing: bool = False
    keep_features: Path | None = None  # folder for a frozen tower's features, across epochs and runs
    keep_features_gb: float = Field(default=100.0, gt=0)
    max_broken_share: Share = 0.1  # stop when more of the videos than this cannot be read
    report_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()  # beside metrics.jsonl

    @model_validator(mode="after")
    def _kept_features_stay_true(self) -> TrainSettings:
        if self.keep_features is not None and self.lora is None and set(self.freeze) != {"tower", "merger"}:
            raise ValueError(
                "keep_features needs a vision tower that does not learn: freeze: [tower, merger], or lora"
            )
        return self


class ValidationSettings(Settings):
    """Held-out samples that are answered greedily while training goes on; the best checkpoint is kept."""

    jsonl: Path
    num_samples: int = Field(default=200, gt=0)
    every_steps: int = Field(default=100, gt=0)
    batch_size: int = Field(default=8, gt=0)


class GrpoSettings(Settings):
    """Group relative policy optimisation (paper, equations 1 and 2); names and meanings are TRL's."""

    num_generations: int = Field(default=8, ge=2)
    max_completion_length: int = Field(default=256, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    num_iterations: int = Field(default=1, gt=0)  # updates on each batch of replies
    epsilon: float = Field(default=0.2, gt=0, lt=1)
    epsilon_high: float | None = Field(default=None, gt=0)  # the upper end of the clip, if not the same
    beta: float = Field(default=0.04, ge=0)  # 0 loads no reference model
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "grpo"
    importance_sampling_level: Literal["token", "sequence"] = "token"
    scale_rewards: Literal["group", "batch", "none", "task"] = "group"
    mask_truncated_completions: bool = False
    reward_weights: Mapping[str, Weight] = Field(default_factory=dict)  # 1 for every part not named


class _Recipe(Settings):
    model: str = "tiny"
    data: DataSettings
    video: FrameBudget = FrameBudget()
    train: TrainSettings = TrainSettings()
    validation: ValidationSettings | None = None
    tasks: TaskSettings = TaskSettings()
    judge: JudgeSettings | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _validated_weights_are_kept(self) -> _Recipe:
        if self.validation is not None and self.validation.every_steps % self.train.save_steps:
            raise ValueError(
                "validation.every_steps must be a multiple of train.save_steps, so that the best weights are kept"
            )
        return self


class GrpoRecipe(_Recipe):
    """Reinforcement fine-tuning with checked rewards."""

    kind: Literal["grpo"]
    think: bool = False
    grpo: GrpoSettings = GrpoSettings()

    @model_validator(mode="after")
    def _checkpoints_fall_between_batches(self) -> GrpoRecipe:
        if self.train.save_steps % self.grpo.num_iterations:
            raise ValueError("train.save_steps must be a multiple of grpo.num_iterations, so that a run can resume")
        return self


class SftRecipe(_Recipe):
    """Supervised fine-tuning on gold replies, loss on the reply only.

    ``model`` may be ``new:qwen2_5_vl`` or ``new:qwen3_vl``: a tiny untrained model with a tokenizer of its own.
    """

    kind: Literal["sft"]
    loss_average: LossAverage = "token"
    think_share: Share = 0.0  # share of the samples asked in think mode
    think_first: Share = 0.0  # over this share of the steps, all of them are
    easy_first: Share = 0.0  # over this share of the steps, samples with longer and longer replies join in


Recipe = Annotated[GrpoRecipe | SftRecipe, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[GrpoRecipe | SftRecipe] = TypeAdapter(Recipe)


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    root = Path(str(files("timesight") / "recipes"))
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.yaml"))}


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> GrpoRecipe | SftRecipe:
    """Read a shipped recipe or a YAML file; ``overrides`` such as ``train.learning_rate=1e-6`` win over it.

    Raises RecipeError, which names the key and, for a misspelt one, the nearest known name.
    """
    path = shipped().get(str(name), Path(name))
    if not path.is_file():
        known = ", ".join(shipped())
        raise RecipeError(f"no recipe {name}: give a YAML file or one of {known}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values")
    for override in overrides:
        _apply(content, override)
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_first_problem(error)}") from None


def dump_recipe(recipe: GrpoRecipe | SftRecipe) -> str:
    """The recipe as YAML, every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override}: write KEY=VALUE, such as train.learning_rate=1e-6")
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {override}: {parent} is a value, not a section")
    content[last] = _value(value)


def _value(text: str) -> Any:
    """YAML's reading of ``text``, and numbers such as 1e-6 that YAML 1.1 takes for words."""
    try:
        value = yaml.safe_load(text)
        return float(value) if isinstance(value, str) and "e" in value.lower() else value
    except (ValueError, yaml.YAMLError):
        return text


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = [str(step) for step in problem["loc"][1:]]  # the first step is the kind of the recipe
    key = ".".join(where)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where[-1], sorted(set(_all_keys())), n=1)
        return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "")
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return "kind must be grpo or sft"
    return f"{key or 'recipe'}: {problem['msg'].removeprefix('Value error, ')}"


def _all_keys() -> Iterator[str]:
    pending: list[Any] = [
        GrpoRecipe,
        SftRecipe,
        WorldSource,
        FrameBudget,
        DataSettings,
        TrainSettings,
        LoraSettings,
        ValidationSettings,
        GrpoSettings,
        TaskSettings,
        JudgeSettings,
    ]
    for model in pending:
        yield from model.model_fields
