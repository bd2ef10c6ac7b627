"""The tables in ``recipes/paper/tableN``, and their twins in the synthetic world, ``recipes/paper/tiny/tableN``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from timesight.errors import RecipeError
from timesight.reproduce.settings import Claim, TableRow, TableSettings
from timesight.training.recipe import TABLES, first_problem, read_row, read_yaml
from timesight.training.settings import Settings

S = TypeVar("S", bound=Settings)
TABLE_FILE = "table.yaml"
MEASUREMENTS_FILE = "measurements.yaml"  # next to the tables that share them


@dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Args:
        name: Of its folder.
        title: What it is about.
        rows: By file name, in their order.
        claims: What the paper says about them.
    """

    name: str
    title: str
    rows: Mapping[str, TableRow]
    claims: tuple[Claim, ...]

    def measurements(self) -> dict[str, list[str]]:
        """The metrics of each group of columns, by its name."""
        columns: dict[str, list[str]] = {}
        for measurement in (one for row in self.rows.values() for one in row.evaluate):
            names = columns.setdefault(measurement.name, [])
            names += [metric for metric in measurement.metrics if metric not in names]
        return columns


def load_table(name: str, *, tiny: bool) -> Table:
    """Read a table with its rows.

    Args:
        name: ``table1`` to ``table8``; tiny also ``choices`` (what users ask of GRPO) and ``joint`` (six tasks).
        tiny: The twin in the synthetic world, or the paper's models and data.

    Raises:
        RecipeError: If there is no such table, or a file of it cannot be used.
    """
    root = TABLES / "tiny" if tiny else TABLES
    if not (root / name / TABLE_FILE).is_file():
        known = ", ".join(folder.parent.name for folder in sorted(root.glob(f"*/{TABLE_FILE}")))
        raise RecipeError(f"no table {name}: choose one of {known}")
    return read_table(root / name)


def read_table(folder: Path) -> Table:
    """Read the table in ``folder``. Raises RecipeError if a file of it cannot be used."""
    settings = _read(folder / TABLE_FILE, TableSettings)
    shared_file = folder.parent / MEASUREMENTS_FILE
    shared = read_yaml(shared_file) if shared_file.is_file() else {}
    rows = {name: _read(folder / f"{name}.yaml", TableRow, shared) for name in settings.rows}
    for claim in settings.claims:
        for problem in _problems(claim, rows):
            raise RecipeError(f"{folder / TABLE_FILE}: claim {claim.says!r}: {problem}")
    return Table(folder.name, settings.title, rows, settings.claims)


def _problems(claim: Claim, rows: Mapping[str, TableRow]) -> Iterator[str]:
    """Rows and figures that ``claim`` names and that do not exist."""
    for row in (claim.better, *claim.than):
        if row not in rows:
            yield f"there is no row {row}"
            continue
        for place in claim.figures:
            name, _, metric = place.rpartition("/")
            measured = rows[row].measurement(name)
            if measured is None or metric not in measured.metrics:
                yield f"{row} does not measure {place}"
                continue
            compared = rows[claim.better].measurement(name)
            if compared is not None and not measured.same_items(compared):
                yield f"{row} and {claim.better} measure {name} on other items"


def _read(file: Path, kind: type[S], shared: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> S:
    """The settings in ``file``; its measurements have those of ``shared`` that they do not say themselves."""
    content = read_row(file)
    if isinstance(measured := content.get("evaluate"), list):
        content["evaluate"] = [
            {**shared.get(str(one.get("name")), {}), **one} if isinstance(one, dict) else one for one in measured
        ]
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{file}: {first_problem(error, (kind,), ('train',))}") from None
