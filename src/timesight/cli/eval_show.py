"""What ``timesight eval`` prints of results, and what it leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from timesight.evaluation import EvalResult, Suite


def show_results(
    results: Mapping[str, EvalResult],
    suite: Suite | None,
    about: Mapping[str, Any],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print figures, or all of them as one JSON object; keep them in ``out``."""
    from timesight.cli.console import OUT, print_json
    from timesight.evaluation import joined_json, write_items

    content = joined_json(results) | {name: value for name, value in about.items() if name != "suite"}
    if suite is not None:
        content["paper"] = {"protocol": suite.paper_protocol, "rows": suite.paper}
    if out is not None:
        write_items(out, [item for result in results.values() for item in result.items])
        (out / "result.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    if as_json:
        print_json(content)
        return
    for task, result in results.items():
        for table in result_tables(result, task, str(about["model"]), suite):
            OUT.print(table)
        for line in footnotes(result):
            OUT.print(line, soft_wrap=True)
    if "video" in about:
        video = about["video"]
        OUT.print(
            f"frames: {video['fps']:g} fps, at most {video['max_frames']}; pixels: {video['max_pixels']} a frame, "
            f"{video['total_pixels']} a video",
            soft_wrap=True,
        )


def result_tables(result: EvalResult, task: str, model: str, suite: Suite | None) -> Iterator[Table]:
    """For each protocol: metrics with intervals, baselines and the paper's rows beside them; then breakdowns."""
    from timesight.cli.console import figure_table, metric_table, percent

    for protocol, figures in result.results.items():
        own = {}
        for name, value in figures.metrics.items():
            bounds = ", ".join(percent(bound) for bound in figures.intervals.get(name, ()))
            own[name] = f"{percent(value)} [{bounds}]" if bounds else percent(value)
        columns = {model: own} | {name: _percents(metrics) for name, metrics in figures.baselines.items()}
        if suite is not None and protocol == suite.paper_protocol:
            columns |= {f"paper: {name}": _percents(metrics) for name, metrics in suite.paper.items()}
        yield metric_table(f"{result.suite}: {task}, {protocol} protocol", columns)
        for key, parts in figures.breakdowns.items():
            names = list(figures.metrics)
            table = figure_table(f"by {key}, {protocol} protocol", " ".join(["items", *names]))
            for group, part in parts.items():
                cells = [percent(part.metrics[name]) if name in part.metrics else "" for name in names]
                table.add_row(group, str(part.num_items), *cells)
            yield table


def _percents(metrics: Mapping[str, float]) -> dict[str, str]:
    from timesight.cli.console import percent

    return {name: percent(value) for name, value in metrics.items()}


def footnotes(result: EvalResult) -> list[str]:
    """What a reader of the table must know: how many items, how many unparsable, what was left out."""
    lines = [
        f"percent [95% interval]; {result.num_items} items on {result.num_videos} videos",
        f"{result.num_unparsable} replies unparsable (scored 0, counted)",
    ]
    if result.num_truncated:
        lines.append(f"{result.num_truncated} replies ran into the limit of new tokens")
    if result.num_unscored:
        lines.append(
            f"{result.num_unscored} items unscored (not judged, or without truth) and left out of the means"
        )
    if result.missing:
        reasons = sorted(set(result.missing.values()))
        lines.append(f"{len(result.missing)} items left out, since no reply could be had:")
        lines += [f"  {reason}" for reason in reasons[:10]]
        if len(reasons) > 10:
            lines.append(f"  and {len(reasons) - 10} more")
    return lines
