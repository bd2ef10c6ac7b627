"""Recipes: YAML files that say what is trained, on what, and how. Unknown keys are refused by name.

A shipped recipe is named by its path under ``timesight/recipes`` without the suffix, such as
``tiny/grpo``; any other recipe by its file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from timesight.errors import RecipeError, reason_of
from timesight.training.settings import GrpoRecipe, SftRecipe
from timesight.video import ReadingSettings

ROOT = Path(str(files("timesight") / "recipes"))
TABLES = ROOT / "paper"  # rows of the paper's tables (timesight.reproduce), which also say what is measured
ORIGINS = ("jsonl", "hub", "split", "world", "sources")  # keys of data that say where samples come from
MOST_DIFFERENCES = 3  # of two recipes that a message names
# What is learned does not depend on these: a run may resume with others.
INERT_KEYS: Mapping[str, set[str]] = {
    "reading": set(ReadingSettings.model_fields),
    "train": {"save_steps", "stall_s", "report_to", "max_broken_share"},
    "judge": {"base_url", "api_key_env", "timeout_s", "max_retries", "concurrency", "cache"},
}
# What keys were called before version 0.2.
RENAMED = {
    "accumulation": "gradient_accumulation_steps",
    "closer": "second_look",
    "closer_share": "second_look_share",
    "keep_features": "cache_vision_features",
    "keep_features_gb": "cache_vision_features_gb",
    "replaced": "label_noise",
    "schedule": "lr_scheduler_type",
    "shift_s": "boundary_jitter_s",
}
Recipe = Annotated[GrpoRecipe | SftRecipe, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[GrpoRecipe | SftRecipe] = TypeAdapter(Recipe)


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name; those of the paper's tables aside."""
    found = {path: str(path.relative_to(ROOT).with_suffix("")) for path in sorted(ROOT.rglob("*.yaml"))}
    return {name: path for path, name in found.items() if TABLES not in path.parents}


def load_recipe(
    name: str | Path, overrides: Sequence[str] = (), jsonl: Path | None = None
) -> GrpoRecipe | SftRecipe:
    """Read a shipped recipe or a YAML file.

    Args:
        name: Of a shipped recipe, of a row of a table, such as ``paper/table3/grpo``, for its ``train``, or a file.
        overrides: Such as ``train.learning_rate=1e-6``; they win over the file.
        jsonl: Takes the place of the recipe's sources; what else ``data`` says stays.

    Raises:
        RecipeError: If it cannot be used; the message names the key, and for a misspelt one the nearest known name.
    """
    path = next((one for one in (ROOT / f"{name}.yaml", Path(name)) if one.is_file()), None)
    if path is None:
        known = ", ".join(shipped())
        raise RecipeError(
            f"no recipe {name}: give a YAML file or one of {known}, or a row such as paper/table3/grpo"
        )
    content = read_row(path)
    if "evaluate" in content:
        if not isinstance(content.get("train"), dict):
            raise RecipeError(f"{path}: this row of a table trains no model")
        content = content["train"]
    for override in overrides:
        _apply(content, override)
    if jsonl is not None:
        kept = {key: value for key, value in content.get("data", {}).items() if key not in ORIGINS}
        content["data"] = kept | {"jsonl": str(jsonl)}
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        raise RecipeError(f"{path}: {first_problem(error, (GrpoRecipe, SftRecipe), ())}") from None


def read_row(path: Path) -> dict[str, Any]:
    """The content of a YAML file.

    In a row of a table, a ``train`` that names another row, as ``TABLE/ROW``, is replaced by that row's; one that
    names a shipped recipe, by that recipe.

    Raises:
        RecipeError: If a file cannot be read, or the other row has no recipe.
    """
    content = read_yaml(path)
    if "evaluate" in content and isinstance(named := content.get("train"), str):
        recipe, row = ROOT / f"{named}.yaml", path.parent.parent / f"{named}.yaml"
        content["train"] = read_yaml(recipe) if recipe.is_file() else read_yaml(row).get("train")
        if not isinstance(content["train"], dict):
            raise RecipeError(f"{path}: train names {named}, which has no recipe")
    return content


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises RecipeError if it cannot be read, or holds something else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {reason_of(error)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values")
    return content


def dump_recipe(recipe: GrpoRecipe | SftRecipe) -> str:
    """The recipe as YAML, every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def difference(before: str, after: str) -> str:
    """How two recipes in YAML differ in what is learned, for a message: each key with both values, the first few.

    Returns:
        Empty if they do not, but for ``INERT_KEYS``.
    """
    one, other = (dict(_flat(yaml.safe_load(text))) for text in (before, after))
    inert = [f"{section}.{name}" for section, names in INERT_KEYS.items() for name in names]
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key) and key not in inert]
    said = [f"{key} was {one.get(key)} and is {other.get(key)}" for key in keys[:MOST_DIFFERENCES]]
    more = len(keys) - len(said)
    return "; ".join([*said, *([f"and {more} more"] if more else [])])


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested sections by their dotted keys; of a list of sections the keys count from 0."""
    if isinstance(content, list) and any(isinstance(value, dict) for value in content):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        yield prefix, content
        return
    for name, value in content.items():
        yield from _flat(value, f"{prefix}.{name}" if prefix else name)


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


def first_problem(error: ValidationError, schemas: Sequence[Any], before: Sequence[str]) -> str:
    """What is wrong first, with its dotted key, and for a misspelt key the nearest known name.

    Args:
        error: Of a recipe, or of settings that hold one.
        schemas: Of what may stand in the file.
        before: Keys of the recipe; pydantic puts its kind, which is no key of the file, after them.
    """
    problem = error.errors()[0]
    steps = [str(step) for step in problem["loc"]]
    if steps[: len(before)] == list(before):
        del steps[len(before) : len(before) + 1]
    key = ".".join(steps)
    if problem["type"] == "extra_forbidden":
        if (renamed := RENAMED.get(steps[-1])) is not None:
            return f"{key} is called {renamed} now"
        near = difflib.get_close_matches(steps[-1], sorted(set(_all_keys(schemas))), n=1)
        return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "")
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return "kind must be grpo or sft"
    return f"{key or 'recipe'}: {problem['msg'].removeprefix('Value error, ')}"


def _all_keys(schemas: Sequence[Any]) -> Iterator[str]:
    """The names of all keys that settings of ``schemas`` may have, at any depth."""
    pending = list(schemas)
    while pending:
        kind = pending.pop()
        pending.extend(get_args(kind))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from kind.model_fields
            pending.extend(field.annotation for field in kind.model_fields.values())
