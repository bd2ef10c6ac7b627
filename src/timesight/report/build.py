"""``report.html`` from a run directory.

Reads ``metrics.jsonl``; and, where a run has them, ``comparison.json`` (figures before and after),
``timelines.json`` with ``thumbnails/`` (single items) and ``answer.json`` (one question asked).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, select_autoescape

from timesight.errors import InputError
from timesight.report.plots import curve

REPORT_FILE = "report.html"

# Title of the chart, and the metrics it shows where the run has them.
CURVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Reward", ("reward",)),
    ("Reward on validation samples", ("validation/reward",)),
    ("KL from the starting model", ("kl",)),
    ("Entropy", ("entropy",)),
    ("Tokens in a reply", ("completion_tokens",)),
    ("Loss", ("loss",)),
)


def build_report(run_dir: Path) -> Path:
    """Write ``report.html`` into ``run_dir`` and return its path. Raises InputError where there is no run."""
    metrics_file = run_dir / "metrics.jsonl"
    if not metrics_file.is_file():
        raise InputError(f"{run_dir} is not a run directory: it has no metrics.jsonl")
    entries = [json.loads(line) for line in metrics_file.read_text(encoding="utf-8").splitlines()]
    template = (files("timesight.report") / "template.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    html = environment.from_string(template).render(
        name=run_dir.resolve().name,
        num_steps=entries[-1]["step"] if entries else 0,
        curves=_curves(entries),
        comparison=_read_json(run_dir / "comparison.json"),
        timelines=_timelines(run_dir),
        answer=_read_json(run_dir / "answer.json"),
        num_quarantined=_count_lines(run_dir / "quarantine.jsonl"),
        recipe=_read_text(run_dir / "recipe.yaml"),
    )
    report = run_dir / REPORT_FILE
    report.write_text(html, encoding="utf-8")
    return report


def _curves(entries: Sequence[Mapping[str, float]]) -> list[str]:
    if len(entries) < 2:
        return []
    charts = []
    is_rl = any("reward" in entry for entry in entries)
    for title, names in (*CURVES, *_part_curves(entries)):
        rows = [entry for entry in entries if all(name in entry for name in names)]
        if len(rows) < 2 or (is_rl and title == "Loss"):
            continue
        series = {name.rpartition("/")[2]: [row[name] for row in rows] for name in names}
        charts.append(curve(title, [row["step"] for row in rows], series))
    return charts


def _part_curves(entries: Sequence[Mapping[str, float]]) -> list[tuple[str, tuple[str, ...]]]:
    """One chart a task with its reward parts, which are named ``reward/task/part``."""
    names = sorted({name for entry in entries for name in entry if name.startswith("reward/")})
    parts = [name.split("/") for name in names]
    return [
        (f"Reward parts, {task.replace('_', ' ')}", tuple("/".join(p) for p in parts if p[1] == task))
        for task in sorted({part[1] for part in parts})
    ]


def _timelines(run_dir: Path) -> list[dict[str, Any]]:
    """Items to show, their thumbnails inlined so that the page needs no other file."""
    items: list[dict[str, Any]] = _read_json(run_dir / "timelines.json") or []
    for item in items:
        item["images"] = [_data_uri(run_dir / name) for name in item["thumbnails"]]
    return items


def _data_uri(image: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(image.read_bytes()).decode("ascii")


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _read_text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _count_lines(file: Path) -> int:
    return len(_read_text(file).splitlines())
