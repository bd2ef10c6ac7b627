"""``report.html`` of an evaluation, or of several of the same suite side by side.

Reads ``result.json`` and ``items.jsonl``; and ``gallery.json`` with ``thumbnails/`` for the items that are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesight.artifacts import ItemEntry, read_items
from timesight.errors import InputError
from timesight.report.pages import data_uris, read_json, write_page
from timesight.report.plots import SERIES, histogram, scatter
from timesight.report.runs import read_results
from timesight.statistics import FEW_NOTE

MOST_RUNS = len(SERIES)


def evaluation_report(folders: Sequence[Path]) -> Path:
    """Write the page of one evaluation, or of several side by side.

    Args:
        folders: Folders of finished evaluations, at most ``MOST_RUNS``. The page is written into the first one,
            which also determines protocols, metrics, baselines and the items that are shown.

    Returns:
        The path of the page.

    Raises:
        InputError: If a folder holds no finished evaluation or is given twice, if there are too many, or if they
            are of different suites or data.
    """
    if len(folders) > MOST_RUNS:
        raise InputError(f"a page shows up to {MOST_RUNS} evaluations side by side, not {len(folders)}")
    runs: list[dict[str, Any]] = [
        {"name": name, "result": result, "items": read_items(folder)}
        for (name, result), folder in zip(read_results(folders).items(), folders, strict=True)
    ]
    suites = {run["result"]["suite"] for run in runs}
    if len(suites) > 1:
        raise InputError(f"evaluations side by side must be of one suite, not of {', '.join(sorted(suites))}")
    _require_same_data(runs)
    first = runs[0]
    tables = [_table(protocol, runs) for protocol in first["result"]["results"]]
    few = any(column.get("few_videos") for table in tables for column in table["columns"])
    return write_page(
        folders[0],
        "evaluation.html",
        suite=first["result"]["suite"],
        runs=runs,
        tables=tables,
        few_note=FEW_NOTE if few else "",
        bars=_bars(runs),
        charts=_span_charts(runs),
        gallery=_gallery(folders[0], runs),
        metric=next(iter(next(iter(first["result"]["results"].values()))["metrics"]), ""),
    )


def _require_same_data(runs: Sequence[Mapping[str, Any]]) -> None:
    """Raise InputError if an id stands for another question or truth in one run than in the first."""
    first = runs[0]["items"]
    for run in runs[1:]:
        for id_, item in run["items"].items():
            if id_ in first and item.data != first[id_].data:
                raise InputError(
                    f"{run['name']}: question or truth of {id_} are not those of {runs[0]['name']}: "
                    "put evaluations of the same data side by side"
                )


def _table(protocol: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics of all runs under one protocol, then the baselines and the paper's rows."""
    own = [
        {"name": run["name"], **run["result"]["results"][protocol]}
        for run in runs
        if protocol in run["result"]["results"]
    ]
    first = runs[0]["result"]
    others = first["results"][protocol]["baselines"]
    paper = first.get("paper", {})
    if paper.get("protocol") == protocol:
        others = others | {f"paper: {name}": row for name, row in paper["rows"].items()}
    columns = own + [{"name": name, "metrics": metrics, "intervals": {}} for name, metrics in others.items()]
    return {"protocol": protocol, "metrics": list(first["results"][protocol]["metrics"]), "columns": columns}


def _bars(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A block for each breakdown under the first protocol: for each value the first metric of each run."""
    protocol, figures = next(iter(runs[0]["result"]["results"].items()))
    metric = next(iter(figures["metrics"]), None)
    paper = runs[0]["result"].get("paper", {})
    printed = paper.get("parts", {}) if paper.get("protocol") == protocol else {}
    blocks = []
    for key, values in figures.get("breakdowns", {}).items():
        rows = []
        for value, part in values.items():
            found = [
                run["result"]["results"].get(protocol, {}).get("breakdowns", {}).get(key, {}).get(value, {})
                for run in runs
            ]
            shares = [mine.get("metrics", {}).get(metric) for mine in found]
            rows.append({"value": value, "num_items": part["num_items"], "shares": shares})
        said = [
            (value, name, row[metric])
            for value, mine in printed.get(key, {}).items()
            for name, row in mine.items()
            if metric in row
        ]
        blocks.append({"key": key, "metric": metric, "rows": rows, "paper": said})
    return blocks


def _span_charts(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Charts of the length of predicted and true spans, and of their position in the video."""
    lengths: dict[str, list[tuple[float, float]]] = {run["name"]: [] for run in runs}  # empty ones keep their color
    middles: dict[str, list[float]] = {"truth": [], **{run["name"]: [] for run in runs}}
    for run in runs:
        for item in run["items"].values():
            truth, answer, duration_s = item.spans.truth, item.spans.answer, item.duration_s
            if not truth or not duration_s:
                continue
            middles["truth"].append(_middle(truth[0], duration_s))
            if answer:
                lengths[run["name"]].append((_length(truth), _length(answer)))
                middles[run["name"]].append(_middle(answer[0], duration_s))
    if not any(lengths.values()):
        return []
    return [
        scatter("Length of evidence, seconds", "true", "predicted", lengths),
        histogram("Middle of the span, share of the video", middles),
    ]


def _length(spans: Sequence[Sequence[float]]) -> float:
    return float(sum(end_s - start_s for start_s, end_s in spans))


def _middle(span: Sequence[float], duration_s: float) -> float:
    return min(1.0, max(0.0, (span[0] + span[1]) / 2 / duration_s))


def _gallery(folder: Path, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items to show, with a lane for the truth and one for each run that has the item."""
    shown = []
    for entry in read_json(folder / "gallery.json") or []:
        item = runs[0]["items"].get(entry["id"])
        if item is None:
            continue
        given = [run["items"].get(entry["id"]) for run in runs]
        lanes = [{"name": "truth", "spans": item.spans.truth, "figure": ""}]
        lanes += [
            {"name": run["name"], "spans": mine.spans.answer, "figure": _figure(mine), "reply": mine.reply}
            for run, mine in zip(runs, given, strict=True)
            if mine is not None
        ]
        images = data_uris(folder, entry["thumbnails"])
        shown.append({**item.model_dump(), "why": entry["why"], "lanes": lanes, "images": images})
    return shown


def _figure(item: ItemEntry) -> str:
    """The item's first metric."""
    return "" if item.first_metric is None else f"{item.first_metric[1]:.2f}"
