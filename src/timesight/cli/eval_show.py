"""What ``timesight eval`` prints, and the files that it writes into its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from timesight.evaluation import EvalResult, Suite
    from timesight.evaluation.setups import Setup
    from timesight.generate.base import Generator
    from timesight.infer.answer import InferenceConfig
    from timesight.types import Sample
    from timesight.video import VideoPool


def keep_results(
    results: Mapping[str, EvalResult], suite: Suite | None, about: Mapping[str, Any], out: Path | None
) -> dict[str, Any]:
    """Write the figures, items and gallery of an evaluation to its folder.

    Args:
        results: The result of each task, by its name.
        suite: Its figures of the paper are added; None for samples that are not of a suite.
        about: Settings of the evaluation, with ``model``, and if they are known ``video`` (the frame budget) and
            ``seed``.
        out: Folder of the evaluation; None: nothing is written.

    Returns:
        The content of ``result.json``.
    """
    from timesight.cli.gallery import write_gallery
    from timesight.evaluation.evaluate import result_content, write_results

    if out is None:
        return result_content(results, about, suite)
    content = write_results(out, results, about, suite)
    items = [item for result in results.values() for item in result.items]
    write_gallery(out, items, int(about.get("seed", 0)))
    return content


def show_results(results: Mapping[str, EvalResult], suite: Suite | None, about: Mapping[str, Any]) -> None:
    """Print the figures of an evaluation. Args as in ``keep_results``."""
    from timesight.cli.console import OUT

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
    """Make the tables of one task: one for each protocol, then one for each of its breakdowns.

    Args:
        result: The figures.
        task: Name for the title.
        model: Name of the model's row; its interval, the baselines and the paper's rows follow.
        suite: As in ``show_results``.
    """
    from timesight.cli.console import figure_table

    for protocol, figures in result.results.items():
        names = list(figures.metrics)
        paper = suite if suite is not None and protocol == suite.paper_protocol else None
        table = figure_table(f"{result.suite}: {task}, {protocol} protocol", " ".join(names), slim=True)
        table.add_row(f"[bold]{model}[/bold]", *_cells(figures.metrics, names))
        for bound, label in enumerate(("95% from", "to")):
            bounds = {name: pair[bound] for name, pair in figures.intervals.items()}
            table.add_row(f"[dim]  {label}[/dim]", *(f"[dim]{cell}[/dim]" for cell in _cells(bounds, names)))
        others: dict[str, Mapping[str, float]] = dict(figures.baselines)
        others |= {f"paper: {name}": row for name, row in (paper.paper if paper else {}).items()}
        for name, metrics in others.items():
            table.add_row(name, *_cells(metrics, names))
        yield table
        for key, parts in figures.breakdowns.items():
            table = figure_table(f"by {key}, {protocol} protocol", " ".join(["items", *names]), slim=True)
            printed = paper.paper_parts.get(key, {}) if paper else {}
            for value, part in parts.items():
                table.add_row(value, str(part.num_items), *_cells(part.metrics, names))
                for name, metrics in printed.get(value, {}).items():
                    table.add_row(f"  paper: {name}", "", *_cells(metrics, names))
            yield table


def baseline_table(result: EvalResult, task: str, protocol: str) -> Table:
    """Make a table with a row for each baseline.

    Args:
        result: The figures.
        task: Name for the title.
        protocol: One of the protocols of ``result``.
    """
    from timesight.cli.console import figure_table

    figures = result.results[protocol]
    names = list(figures.metrics)
    table = figure_table(f"{result.suite}: {task}, {protocol} protocol", " ".join(names), slim=True)
    for name, metrics in figures.baselines.items():
        table.add_row(name, *_cells(metrics, names))
    return table


def _cells(metrics: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    from timesight.cli.console import percent

    return [percent(metrics[name]) if name in metrics else "" for name in names]


def footnotes(result: EvalResult) -> list[str]:
    """Return the lines below a table: number of items, unparsable replies, and items that were left out."""
    from timesight.statistics import FEW_NOTE

    lines = [f"percent [95% interval]; {result.num_items} items on {result.num_videos} videos"]
    if few := [n for figures in result.results.values() for n in figures.few_videos.values()]:
        lines.append(f"{FEW_NOTE}; these rest on {min(few)}")
    lines.append(f"{result.num_unparsable} replies unparsable (scored 0, counted)")
    if result.num_truncated:
        lines.append(f"{result.num_truncated} replies ran into the limit of new tokens")
    if result.num_unscored:
        lines.append(
            f"{result.num_unscored} items unscored (not judged, or without truth) and left out of the means"
        )
    if result.quarantined:
        reasons = sorted(set(result.quarantined.values()))
        lines.append(f"{len(result.quarantined)} items left out, because they got no reply:")
        lines += [f"  {reason}" for reason in reasons[:10]]
        if len(reasons) > 10:
            lines.append(f"  and {len(reasons) - 10} more")
    return lines


def show_reported(setup: Setup, suite: str) -> None:
    """Print what is reported for Qwen2.5-VL-7B with a setup, and how that differs from this evaluation."""
    from timesight.cli.console import OUT

    figures = setup.reported.get(suite, {})
    said = ", ".join(f"{100 * figure:.1f} {metric}" for metric, figure in figures.items()) or "no figure"
    OUT.print(
        f"{setup.title} ({setup.url}): {said} for Qwen2.5-VL-7B. {setup.unlike}", soft_wrap=True, markup=False
    )


def show_suites(as_json: bool) -> None:
    """Print the suites: task, split, protocols, breakdowns, official files."""
    from timesight.cli.console import OUT, print_json, text_table
    from timesight.data import SOURCES
    from timesight.evaluation import SUITES
    from timesight.tasks import TASKS

    if as_json:
        print_json(
            {
                "suites": {
                    name: {
                        "task": suite.task,
                        "split": suite.split,
                        "protocols": list(TASKS[suite.task].metric_protocols),
                        "by": list(suite.by),
                        "files": SOURCES[suite.source].files,
                    }
                    for name, suite in SUITES.items()
                }
            }
        )
        return
    table = text_table("timesight eval SUITE --annotations DIR --videos DIR --model MODEL", 2)
    for name, suite in SUITES.items():
        about = f"{suite.task}, {suite.split}; {' and '.join(TASKS[suite.task].metric_protocols)}"
        about += f"; by {', '.join(suite.by)}" if suite.by else ""
        table.add_row(name, f"{suite.title}\n[dim]{about}\n{SOURCES[suite.source].files}[/dim]")
    OUT.print(table)


def show_plan(
    generator: Generator, items: list[Sample], config: InferenceConfig, pool: VideoPool | None, as_json: bool
) -> None:
    """Estimate and print what a run would take.

    Args:
        generator: The model.
        items: What would be asked.
        config: How it would be asked.
        pool: Processes that read videos.
        as_json: Print one JSON object instead of text.
    """
    from dataclasses import asdict

    from timesight.cli.console import OUT, print_json, progress
    from timesight.evaluation.plan import plan_run

    with progress("videos", len({item.video.path for item in items})) as advance:
        plan = plan_run(generator, items, config, pool, advance)
    if as_json:
        print_json(asdict(plan))
        return
    for line in plan.lines():
        OUT.print(line, soft_wrap=True)
