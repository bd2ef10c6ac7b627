"""Export of results: tables of one or several systems, and the files that leaderboards accept.

A table has a row for each metric and a column for each system, in percent. It is made from the ``result.json`` that
``timesight eval`` writes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from timesight.errors import InputError
from timesight.files import markdown_table
from timesight.statistics import are_few
from timesight.tasks import TASKS
from timesight.tasks.parsing import letter
from timesight.types import Sample

Content = Mapping[str, Any]  # a result.json, or a part of one
NO_PAPER: Mapping[str, Any] = {"protocol": None, "rows": {}, "parts": {}}


def table(systems: Mapping[str, Content], kind: str) -> str:
    """Write the results of one or several systems as one table.

    Baselines and the paper's figures are the last columns; the last rows say how many items, replies and frames
    the figures were computed from.

    Args:
        systems: Content of ``result.json``, by the name of its column. Protocols, metrics and baselines are those
            of the first one.
        kind: ``markdown``, ``latex`` (needs the package booktabs), ``csv``, or ``json``: the contents unchanged.

    Raises:
        InputError: If the results are of different suites.
    """
    suites = sorted({content["suite"] for content in systems.values()})
    if len(suites) > 1:
        raise InputError(f"one table is of one suite, not of {', '.join(suites)}")
    if kind == "json":
        return json.dumps(list(systems.values()), indent=1)
    return _FORMATS[kind](_rows(systems))


def _rows(systems: Mapping[str, Content]) -> list[list[str]]:
    """The head, then rows of protocol, metric, and a cell for each system, baseline and model of the paper."""
    head, *_ = systems.values()
    paper = {**NO_PAPER, **head.get("paper", {})}
    models = list(dict.fromkeys([*paper["rows"], *(name for *_, said in _parts(paper) for name in said)]))
    blind = list(dict.fromkeys(name for figures in head["results"].values() for name in figures["baselines"]))
    rows = [["protocol", "metric", *systems, *blind, *(f"paper: {name}" for name in models)]]
    for protocol, figures in head["results"].items():
        own = [content["results"].get(protocol, {}) for content in systems.values()]
        printed = paper if protocol == paper["protocol"] else NO_PAPER
        for metric in figures["metrics"]:
            without = [figures["baselines"].get(name, {}) for name in blind]
            plain = [*without, *(printed["rows"].get(model, {}) for model in models)]
            rows.append([protocol, metric, *_cells(own, plain, metric)])
        for key, value, said in _parts(printed):
            parts = [mine.get("breakdowns", {}).get(key, {}).get(value, {}) for mine in own]
            plain = [*({} for _ in blind), *(said.get(model, {}) for model in models)]
            rows += [
                [protocol, f"{metric}, {key} {value}", *_cells(parts, plain, metric)]
                for metric in figures["metrics"]
                if any(metric in row for row in said.values())
            ]
    return rows + [[*row, *[""] * (len(rows[0]) - len(row))] for row in _basis(systems)]


def _parts(paper: Content) -> Iterator[tuple[str, str, Mapping[str, Mapping[str, float]]]]:
    """Key, value and the paper's rows of each part of the items that the paper has figures for."""
    for key, values in paper["parts"].items():
        for value, rows in values.items():
            yield key, value, rows


def _basis(systems: Mapping[str, Content]) -> list[list[str]]:
    """What the figures were computed from: items, replies, frames and pixels."""
    counts = {"items": "num_items", "unparsable": "num_unparsable", "cut off by the limit": "num_truncated"}
    counts |= {"unscored": "num_unscored", "left out without a reply": "num_quarantined"}
    rows = {name: [str(content.get(key, "")) for content in systems.values()] for name, key in counts.items()}
    budget = {
        "frames": "{fps:g} fps, at most {max_frames}",
        "pixels": "{max_pixels} a frame, {total_pixels} a video",
    }
    for name, text in budget.items():
        rows[name] = [text.format_map(run["video"]) if run.get("video") else "" for run in systems.values()]
    always = ("items", "unparsable")
    return [["", name, *cells] for name, cells in rows.items() if name in always or set(cells) - {"", "0"}]


def _cells(own: Sequence[Content], plain: Sequence[Mapping[str, float]], metric: str) -> list[str]:
    """``metric`` of the systems (``own``), with its interval, then of columns without intervals (``plain``)."""
    return [*(_cell(figures, metric) for figures in own), *(_percent(row.get(metric)) for row in plain)]


def _cell(figures: Content, metric: str) -> str:
    cell = _percent(figures.get("metrics", {}).get(metric))
    bounds = figures.get("intervals", {}).get(metric)
    if not cell or not bounds:
        return cell
    num_videos = figures.get("few_videos", {}).get(metric) or figures.get("num_videos", 0)
    few = f" ({num_videos} videos)" if are_few(num_videos) else ""
    return f"{cell} [{', '.join(_percent(bound) or '–' for bound in bounds)}]{few}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


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
    "markdown": partial(markdown_table, num_left=2),
    "latex": _latex,
    "csv": _csv,
}
KINDS = (*_FORMATS, "json")


def videomme_submission(samples: Sequence[Sample], replies: Mapping[str, str], think: bool = False) -> str:
    """Write replies as the results file of Video-MME: JSON, a list with an object for each video.

    Args:
        samples: Items of the suite, as its source reads them: ids and ``meta`` are used.
        replies: By sample id. The response is the letter that a reply names, or the reply itself if it names no
            option; empty without a reply.
        think: Whether the replies were asked for in think mode.
    """
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
                "response": _response(sample, replies, think),
            }
        )
    return json.dumps([{"video_id": id_, **video} for id_, video in videos.items()], indent=1)


def longvideobench_submission(samples: Sequence[Sample], replies: Mapping[str, str], think: bool = False) -> str:
    """Write replies as the submission file of LongVideoBench: JSON, a response for each question id.

    Args:
        samples: Items of the suite, as its source reads them.
        replies: As in ``videomme_submission``.
        think: As in ``videomme_submission``.
    """
    return json.dumps({s.id.partition("/")[2]: _response(s, replies, think) for s in samples}, indent=1)


def _response(sample: Sample, replies: Mapping[str, str], think: bool) -> str:
    """The letter that a reply names, or the reply itself if it names no option.

    The benchmarks' own scripts take the first capital letter, which may be part of the reasoning.
    """
    reply = replies.get(sample.id, "")
    answer = TASKS[sample.task].grade(sample, reply, think).answer
    return reply if answer is None else letter(answer)


SUBMISSIONS: dict[str, Callable[[Sequence[Sample], Mapping[str, str], bool], str]] = {
    "videomme": videomme_submission,
    "longvideobench": longvideobench_submission,
}
