"""``report.html`` of an evaluation, or of several of the same suite side by side.

Reads ``result.json`` and ``items.jsonl``; and ``gallery.json`` with ``thumbnails/`` for the items that are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesight.errors import InputError
from timesight.report.pages import data_uri, read_json, read_lines, write_page
from timesight.report.plots import SERIES, histogram, scatter

MOST_RUNS = len(SERIES)
Items = Mapping[str, Mapping[str, Any]]


def evaluation_report(folders: Sequence[Path]) -> Path:
    """Write the page into the first of ``folders`` and return its path.

    Raises InputError for a folder without an evaluation, for different suites, and for more runs than colours.
    """
    if len(folders) > MOST_RUNS:
        raise InputError(f"a page shows up to {MOST_RUNS} evaluations side by side, not {len(folders)}")
    runs = [_read(folder) for folder in folders]
    suites = {run["result"]["suite"] for run in runs}
    if len(suites) > 1:
        raise InputError(f"evaluations side by side must be of one suite, not of {', '.join(sorted(suites))}")
    first = runs[0]
    return write_page(
        folders[0],
        "evaluation.html",
        suite=first["result"]["suite"],
        runs=runs,
        tables=[_table(protocol, runs) for protocol in first["result"]["results"]],
        bars=_bars(runs),
        charts=_span_charts(runs),
        gallery=_gallery(folders[0], runs),
        metric=next(iter(next(iter(first["result"]["results"].values()))["metrics"]), ""),
    )


def _read(folder: Path) -> dict[str, Any]:
    result = read_json(folder / "result.json")
    if result is None or not (folder / "items.jsonl").is_file():
        raise InputError(f"{folder}: holds no finished evaluation; give the --out of timesight eval")
    name = Path(str(result.get("model", folder))).name + (", thinking" if result.get("think") else "")
    return {
        "name": name,
        "result": result,
        "items": {item["id"]: item for item in read_lines(folder / "items.jsonl")},
    }


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
        blocks.append({"key": key, "metric": metric, "rows": rows})
    return blocks


def _span_charts(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """How long predicted spans are beside the true ones, and where in the video they lie."""
    lengths: dict[str, list[tuple[float, float]]] = {}
    middles: dict[str, list[float]] = {}
    for run in runs:
        for item in run["items"].values():
            truth, answer, duration_s = item["spans"]["truth"], item["spans"]["answer"], item["duration_s"]
            if not truth or not duration_s:
                continue
            middles.setdefault("truth", []).append(_middle(truth[0], duration_s))
            if answer:
                lengths.setdefault(run["name"], []).append((_length(truth), _length(answer)))
                middles.setdefault(run["name"], []).append(_middle(answer[0], duration_s))
    if not lengths:
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
        lanes = [{"name": "truth", "spans": item["spans"]["truth"], "figure": ""}]
        lanes += [
            {"name": run["name"], "spans": mine["spans"]["answer"], "figure": _figure(mine), "reply": mine["reply"]}
            for run, mine in zip(runs, given, strict=True)
            if mine is not None
        ]
        images = [data_uri(folder / name) for name in entry["thumbnails"]]
        shown.append({**item, "why": entry["why"], "lanes": lanes, "images": images})
    return shown


def _figure(item: Mapping[str, Any]) -> str:
    """The item's first metric."""
    row = next(iter(item["metrics"].values()))
    return "" if not row else f"{next(iter(row.values())):.2f}"
