"""``report.html`` of a training run.

Reads ``metrics.jsonl`` and, if they exist, ``comparison.json`` (figures before and after training),
``timelines.json`` with ``thumbnails/`` (single items) and ``answer.json`` (one question with its reply).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesight.artifacts import METRICS_FILE, QUARANTINE_FILE, MetricsEntry, QuarantineEntry, read_records
from timesight.errors import InputError
from timesight.files import read_text
from timesight.report.pages import data_uris, read_json, write_page
from timesight.report.plots import curve
from timesight.statistics import FEW_NOTE, are_few

# Title of the chart, and the metrics it shows where the run has them.
CURVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Reward", ("reward",)),
    ("Reward on validation samples", ("validation/reward",)),
    ("KL to the reference model", ("kl",)),
    ("Entropy", ("entropy",)),
    ("Tokens in a reply", ("completion_tokens",)),
    ("Loss", ("loss",)),
)


def training_report(run_dir: Path) -> Path:
    """Write ``report.html`` of a training run.

    Returns:
        The path of the page, which is in ``run_dir``.

    Raises:
        InputError: If there is no ``metrics.jsonl``, or a file of the run is broken.
    """
    metrics_file = run_dir / METRICS_FILE
    if not metrics_file.is_file():
        raise InputError(f"{run_dir} holds neither a training run (metrics.jsonl) nor an evaluation (items.jsonl)")
    records = read_records(metrics_file, MetricsEntry, growing=True)
    entries = [entry.metrics | {"step": entry.step} for entry in records]
    comparison = read_json(run_dir / "comparison.json")
    return write_page(
        run_dir,
        "run.html",
        name=run_dir.resolve().name,
        num_steps=entries[-1]["step"] if entries else 0,
        curves=_curves(entries),
        comparison=comparison,
        few_note=FEW_NOTE if comparison and are_few(comparison["num_videos"]) else "",
        timelines=_timelines(run_dir),
        answer=read_json(run_dir / "answer.json"),
        num_quarantined=len(read_records(run_dir / QUARANTINE_FILE, QuarantineEntry, growing=True)),
        recipe=read_text(recipe) if (recipe := run_dir / "recipe.yaml").is_file() else "",
    )


def _curves(entries: Sequence[Mapping[str, float]]) -> list[str]:
    if len(entries) < 2:
        return []
    charts = []
    is_rl = any("reward" in entry for entry in entries)
    for title, names in (*CURVES, *_component_curves(entries)):
        rows = [entry for entry in entries if all(name in entry for name in names)]
        if len(rows) < 2 or (is_rl and title == "Loss"):
            continue
        series = {name.rpartition("/")[2]: [row[name] for row in rows] for name in names}
        charts.append(curve(title, [row["step"] for row in rows], series))
    return charts


def _component_curves(entries: Sequence[Mapping[str, float]]) -> list[tuple[str, tuple[str, ...]]]:
    """A chart for each task with its reward components, which are named ``reward/task/component``."""
    names = sorted({name for entry in entries for name in entry if name.startswith("reward/")})
    parts = [name.split("/") for name in names]
    return [
        (f"Reward components, {task.replace('_', ' ')}", tuple("/".join(p) for p in parts if p[1] == task))
        for task in sorted({part[1] for part in parts})
    ]


def _timelines(run_dir: Path) -> list[dict[str, Any]]:
    """The items to show, with their thumbnails inlined, so that the page needs no other file."""
    items: list[dict[str, Any]] = read_json(run_dir / "timelines.json") or []
    for item in items:
        item["images"] = data_uris(run_dir, item["thumbnails"])
    return items
