"""Results for other people's eyes and scripts: tables of one or several systems, and what leaderboards take.

A table has a row a metric and a column a system, in per cent; it is made of the ``result.json`` that
``timesight eval`` keeps.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from timesight.errors import InputError
from timesight.tasks.parsing import letter
from timesight.types import Sample

Content = Mapping[str, Any]  # a result.json


def table(contents: Sequence[Content], kind: str) -> str:
    """The results as ``markdown``, ``latex``, ``csv`` or ``json``; baselines and the paper's rows come last.

    Raises InputError for results of different suites.
    """
    if len({content["suite"] for content in contents}) > 1:
        names = ", ".join(sorted({content["suite"] for content in contents}))
        raise InputError(f"one table is of one suite, not of {names}")
    if kind == "json":
        return json.dumps(list(contents), indent=1)
    return _FORMATS[kind](_rows(contents))


def _rows(contents: Sequence[Content]) -> list[list[str]]:
    """Protocol, metric, and a cell a system: the head first."""
    head, *_ = contents
    paper = head.get("paper", {"protocol": None, "rows": {}})
    blind = {name: None for figures in head["results"].values() for name in figures["baselines"]}
    systems = [_system(content) for content in contents]
    rows = [["protocol", "metric", *systems, *blind, *(f"paper: {name}" for name in paper["rows"])]]
    for protocol, figures in head["results"].items():
        for metric in figures["metrics"]:
            own = [_cell(content, protocol, metric) for content in contents]
            without = [_percent(figures["baselines"].get(name, {}).get(metric)) for name in blind]
            own_protocol = protocol == paper["protocol"]
            printed = [_percent(row.get(metric)) if own_protocol else "" for row in paper["rows"].values()]
            rows.append([protocol, metric, *own, *without, *printed])
    return rows


def _system(content: Content) -> str:
    return str(content["model"]) + (", thinking" if content.get("think") else "")


def _cell(content: Content, protocol: str, metric: str) -> str:
    figures = content["results"].get(protocol, {"metrics": {}, "intervals": {}})
    cell = _percent(figures["metrics"].get(metric))
    bounds = figures["intervals"].get(metric)
    return f"{cell} [{', '.join(map(_percent, bounds))}]" if cell and bounds else cell


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([head, f"|---|---|{'--:|' * (len(rows[0]) - 2)}", *body]) + "\n"


def _latex(rows: Sequence[Sequence[str]]) -> str:
    special = str.maketrans({char: f"\\{char}" for char in "%_&#$"})
    lines = [f"{' & '.join(cell.translate(special) for cell in row)} \\\\" for row in rows]
    columns = "ll" + "r" * (len(rows[0]) - 2)
    head, *body = lines
    return "\n".join(
        [
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            head,
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


_FORMATS: dict[str, Callable[[Sequence[Sequence[str]]], str]] = {
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
}
KINDS = (*_FORMATS, "json")


def videomme_submission(samples: Sequence[Sample], replies: Mapping[str, str]) -> str:
    """Video-MME's results file: a list, an object a video with its questions and the raw responses to them."""
    videos: dict[str, dict[str, Any]] = {}
    for sample in samples:
        item: Any = sample
        id_ = item.id.partition("/")[2]
        about = {key: item.meta[key] for key in ("duration", "domain", "sub_category")}
        video = videos.setdefault(id_.rpartition("-")[0], {**about, "questions": []})
        video["questions"].append(
            {
                "question_id": id_,
                "task_type": item.meta["task_type"],
                "question": item.question,
                "options": [f"{letter(n)}. {option}" for n, option in enumerate(item.options)],
                "answer": letter(item.answer),
                "response": replies.get(item.id, ""),
            }
        )
    return json.dumps([{"video_id": id_, **video} for id_, video in videos.items()], indent=1)


def longvideobench_submission(samples: Sequence[Sample], replies: Mapping[str, str]) -> str:
    """The file that is sent in for LongVideoBench: the raw reply by the question's id."""
    return json.dumps({s.id.partition("/")[2]: replies.get(s.id, "") for s in samples}, indent=1)


SUBMISSIONS: dict[str, Callable[[Sequence[Sample], Mapping[str, str]], str]] = {
    "videomme": videomme_submission,
    "longvideobench": longvideobench_submission,
}
