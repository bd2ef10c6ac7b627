"""Writes docs/recipes.md from the typed settings: ``python docs/recipe_keys.py``. A test compares the two.

What a key means is said once, where it is declared: in a comment at its line, or under ``Args`` of its class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from timesight.training.settings import DataSettings, GrpoRecipe, SftRecipe, SourceSettings

PAGE = Path(__file__).with_name("recipes.md")
HEAD = """\
# Recipe keys

<!-- Written by docs/recipe_keys.py from the code. -->

Every key of a recipe, its type, its default and what it does. A recipe is a YAML file for `timesight train`
([Training](training.md)). Unknown keys are refused with the nearest known name. `RUN/recipe.yaml` has all keys of a
run with their values. `--set` overrides a key:

```
timesight train charades/grpo-80gb --data train.jsonl --set think=true --set train.epochs=2 --out runs/think
```
"""


def page() -> str:
    """The page."""
    grpo, sft = GrpoRecipe.model_fields, SftRecipe.model_fields
    shared = [name for name in grpo if name in sft]
    tables = [_table("Both kinds", GrpoRecipe, [name for name in shared if name != "kind"])]
    tables.append(_table("`kind: grpo`", GrpoRecipe, ["kind", *(name for name in grpo if name not in sft)]))
    tables.append(_table("`kind: sft`", SftRecipe, ["kind", *(name for name in sft if name not in grpo)]))
    tables += [_table(f"`{key}`", kind, _own_fields(kind)) for key, kind in _sections(GrpoRecipe)]
    return "\n".join([HEAD, *tables])


def _own_fields(kind: type[BaseModel]) -> list[str]:
    """The keys of a section; those of a source are listed once, at ``data.sources``."""
    inherited = set(SourceSettings.model_fields) if kind is DataSettings else set()
    return [name for name in kind.model_fields if name not in inherited]


def _sections(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Settings within settings by their dotted keys, depth first."""
    for name in _own_fields(kind):
        annotation = kind.model_fields[name].annotation
        if (inner := _section(kind, name)) is not None:
            key = f"{prefix}{name}" + ("[]" if get_origin(annotation) is tuple else "")
            yield key, inner
            yield from _sections(inner, f"{key}.")


def _section(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The settings that a key holds; None for a value, and for a key that says itself what it is."""
    found = _settings_in(kind.model_fields[name].annotation)
    return found[0] if found and name not in _meanings(kind) else None


def _settings_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _settings_in(inner)]


def _table(title: str, kind: type[BaseModel], names: list[str]) -> str:
    meanings = _meanings(kind)
    rows = []
    for name in names:
        field = kind.model_fields[name]
        if _section(kind, name) is not None:
            continue  # has another table
        if name not in meanings:
            raise ValueError(f"{kind.__name__}.{name}: say in a comment on its line what it does")
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        rows.append(f"| `{name}` | {_type(field.annotation)} | {default} | {meanings[name]} |")
    about = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
    head = f"## {title}\n\n" + ("" if kind in (GrpoRecipe, SftRecipe) else f"{about}\n\n")
    if kind is DataSettings:
        return (
            f"{head}It has the keys of one source, listed at `data.sources[]`, or `sources`, a list of several.\n"
        )
    return head + "\n".join(["| key | type | default | |", "|---|---|---|---|", *rows]) + "\n"


def _meanings(kind: type[BaseModel]) -> dict[str, str]:
    """What each key means, by its name; of the class and those it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        source = inspect.getsource(base)
        found |= dict(re.findall(r"^    (\w+): [^\n]*?  # (.+)$", source, re.MULTILINE))
        found |= {name: meaning for meaning, name in re.findall(r"^    # (.+)\n    (\w+): ", source, re.MULTILINE)}
        _, _, arguments = (inspect.getdoc(base) if base.__doc__ else "").partition("Args:\n")
        for name, meaning in re.findall(r"^    (\w+): ((?:.+\n?)(?:        .+\n?)*)", arguments, re.MULTILINE):
            found[name] = " ".join(meaning.split())
    return {name: _said(meaning) for name, meaning in found.items()}


def _said(meaning: str) -> str:
    """In YAML's words, as a sentence."""
    for ours, yamls in (("``", "`"), ("|", "\\|"), ("False:", "false:"), ("None:", "unset:"), ("None ", "unset ")):
        meaning = meaning.replace(ours, yamls)
    return meaning[0].upper() + meaning[1:].rstrip(".")


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in inner if one is not NoneType)
    if origin is tuple:
        return f"list of {_type(inner[0])}" if inner[-1] is ... else f"{len(inner)} × {_type(inner[0])}"
    if origin is not None:
        return "mapping"
    names = {bool: "true \\| false", int: "integer", float: "number", str: "text", Path: "path"}
    return names.get(annotation, "section")


def _shown(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, (BaseModel, dict)):
        return "{}"
    return f"{value:g}" if isinstance(value, float) and value < 1e5 else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
