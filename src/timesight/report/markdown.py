"""``table.md``: one of the paper's tables in Markdown, figures and verdicts, for a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from timesight.artifacts import ClaimFigure, ClaimResult, RowResult, TableResult
from timesight.files import markdown_table

MOST_FIGURES = 3  # that a verdict names


def table_markdown(table: TableResult) -> str:
    """The rows of ``table`` with their figures, and its claims with what decided them.

    A table with more figures than rows has a line for each figure.
    """
    columns = [(name, metric) for name, metrics in table.measurements.items() for metric in metrics]
    paper = ", in parentheses the paper's" if any(table.in_paper(*column) for column in columns) else ""
    seeds = "one seed" if table.num_seeds == 1 else f"means of {table.num_seeds} seeds"
    figures = [["", *(f"{name}, {metric}" for name, metric in columns)]]
    figures += [[row.name + _damage(row, table), *_cells(row, columns)] for row in table.rows]
    figures += [["*best video-blind baseline*", *_floors(table, columns)]] if table.baselines else []
    if len(columns) > len(table.rows):
        figures = [list(line) for line in zip(*figures, strict=True)]
    claims = [["", "claim", "decided by"], *(_claim(claim) for claim in table.claims)]
    return "\n".join(
        [
            f"### {table.title}\n",
            f"Percent, {seeds}, ± half of the 95% interval{paper}.\n",
            markdown_table(figures, num_left=1),
            markdown_table(claims, num_left=3),
            *(f"- missing: {problem}" for problem in table.problems),
        ]
    )


def _damage(row: RowResult, table: TableResult) -> str:
    """How many of the replies of ``row`` say nothing."""
    damages = {name: row.damage(name) for name in table.measurements}
    said = "; ".join(f"{name}: {damage}" for name, damage in damages.items() if damage)
    return said and f" ({said})"


def _cells(row: RowResult, columns: Sequence[tuple[str, str]]) -> list[str]:
    return [_cell(row, f"{name}/{metric}") for name, metric in columns]


def _floors(table: TableResult, columns: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, metric in columns:
        floor = table.floor(name, metric)
        yield "" if floor is None else f"{100 * floor:.1f}"


def _cell(row: RowResult, key: str) -> str:
    if key not in row.metrics:
        return ""
    low, high = row.intervals.get(key, (None, None))
    half = "" if low is None or high is None else f" ± {50 * (high - low):.1f}"
    paper = row.paper.get(key)
    return f"{100 * row.metrics[key]:.1f}{half}" + ("" if paper is None else f" ({100 * paper:.1f})")


def _claim(claim: ClaimResult) -> list[str]:
    notes = ", ".join(claim.notes())
    said = f"{claim.claim} ({notes})" if notes else claim.claim
    return [f"**{claim.verdict}**", said, "; ".join(_deciding(claim))]


def _deciding(claim: ClaimResult) -> Iterator[str]:
    """The figures that a verdict rests on; of a claim that holds the one that came closest to not holding."""
    deciding = [figure for figure in claim.figures if figure.verdict == claim.verdict]
    if claim.verdict == "holds":
        deciding = sorted(deciding, key=lambda figure: figure.interval[0] or 0.0)[:1]
    yield from (_difference(figure) for figure in deciding[:MOST_FIGURES])
    if len(deciding) > MOST_FIGURES:
        yield f"and {len(deciding) - MOST_FIGURES} more"


def _difference(figure: ClaimFigure) -> str:
    low, high = ("–" if end is None else f"{100 * end:+.1f}" for end in figure.interval)
    return f"{figure.figure}: {figure.better} − {figure.than} = {100 * figure.difference:+.1f} [{low}, {high}]"
