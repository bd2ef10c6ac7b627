"""The page of an evaluation, alone and next to others."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from timesight.cli.eval import command
from timesight.errors import InputError
from timesight.report import build_report, evaluation
from timesight.report.runs import read_results


def write_evaluation(out: Path, model: str, value: float, suite: str = "nextgqa") -> Path:
    """A finished evaluation of two items."""
    (out / "thumbnails").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(out / "thumbnails/a.jpg")
    part = {"num_items": 1, "num_videos": 1, "metrics": {"mIoU": value}, "intervals": {"mIoU": [0.0, 1.0]}}
    figures = {
        "metrics": {"mIoU": value, "Acc@QA": 0.5},
        "intervals": {"mIoU": [value - 0.1, value + 0.1]},
        "baselines": {"whole video": {"mIoU": 0.227}},
        "breakdowns": {"type": {"CW": part, "TN": part}},
    }
    result: dict[str, Any] = {"suite": suite, "model": model, "num_items": 2, "num_unparsable": 1}
    result |= {
        "results": {"official": figures},
        "paper": {"protocol": "official", "rows": {"VideoChat-R1": {"mIoU": 0.324}}},
    }
    (out / "result.json").write_text(json.dumps(result))
    items = [
        {
            "id": f"q{n}",
            "task": "grounded_qa",
            "video": f"v{n}.mp4",
            "groups": {},
            "weights": {"official": 1.0},
            "data": f"d{n}",
            "question": "why <b>now</b>",
            "truth": "because",
            "duration_s": 10.0,
            "reply": "<answer>B</answer>" if n else "?",
            "parsed": bool(n),
            "spans": {"truth": [[1.0, 3.0]], "answer": [[2.0, 4.5]] * n},
            "metrics": {"official": {"mIoU": value * n}},
        }
        for n in range(2)
    ]
    (out / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    gallery = [{"id": f"q{n}", "why": "drawn at random", "thumbnails": ["thumbnails/a.jpg"]} for n in range(2)]
    (out / "gallery.json").write_text(json.dumps(gallery))
    return out


def test_an_evaluation_becomes_one_page_that_needs_no_other(tmp_path: Path) -> None:
    html = build_report(write_evaluation(tmp_path / "a", "models/base", 0.5)).read_text()
    assert not re.search(r"""(src|href)=["']https?:""", html)
    for shown in (
        "nextgqa",
        "base",
        "[40.0, 60.0]",
        "whole video",
        "22.7",
        "paper: VideoChat-R1",
        "32.4",
        "By type",
    ):
        assert shown in html
    assert "left:10.0%;width:20.0%" in html  # the truth
    assert "left:20.0%;width:25.0%" in html  # the answer
    assert "why &lt;b&gt;now" in html
    assert "&lt;answer&gt;B" in html
    assert html.count("<svg") == 2


def test_evaluations_stand_side_by_side(tmp_path: Path) -> None:
    a, b = (write_evaluation(tmp_path / name, name, value) for name, value in (("base", 0.2), ("grpo", 0.7)))
    html = build_report(a, [b]).read_text()
    assert "20.0 / 70.0" in html
    assert html.count("var(--series-2)") > 2
    other = write_evaluation(tmp_path / "other", "x", 0.1, suite="mvbench")
    with pytest.raises(InputError, match="must be of one suite, not of mvbench, nextgqa"):
        build_report(a, [other])
    with pytest.raises(InputError, match="up to 3 evaluations"):
        build_report(a, [b] * 3)
    with pytest.raises(InputError, match="holds no finished evaluation"):
        build_report(a, [tmp_path])


def edit(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change ``result.json``, or every item of ``items.jsonl``."""
    file = folder / name
    texts = file.read_text().splitlines() if name.endswith("l") else [file.read_text()]
    file.write_text("".join(json.dumps(change(json.loads(text))) + "\n" for text in texts))


def test_runs_of_one_model_are_told_apart(tmp_path: Path) -> None:
    a, b, c = (write_evaluation(tmp_path / name, "models/base", 0.5) for name in "abc")
    edit(c, "result.json", lambda result: result | {"think": True, "clue": {"max_passes": 2}, "subtitles": True})
    assert list(read_results([a, b, c])) == [
        f"base ({a})",
        f"base ({b})",
        "base, thinking, looking again, with subtitles",
    ]
    assert list(read_results([a, c])) == ["base", "base, thinking, looking again, with subtitles"]
    html = build_report(a, [b]).read_text()
    assert f"<th>base ({a})</th><th>base ({b})</th>" in html
    with pytest.raises(InputError, match="a: is given twice"):
        build_report(a, [a])


def test_a_run_without_spans_keeps_its_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (write_evaluation(tmp_path / name, name, 0.5) for name in ("base", "grpo"))
    edit(a, "items.jsonl", lambda item: item | {"spans": item["spans"] | {"answer": []}})
    drawn: list[Any] = []
    for chart in ("scatter", "histogram"):
        plain = getattr(evaluation, chart)
        monkeypatch.setattr(evaluation, chart, lambda *args, plain=plain: drawn.append(args[-1]) or plain(*args))
    build_report(a, [b])
    assert [{name: len(values) for name, values in series.items()} for series in drawn] == [
        {"base": 0, "grpo": 1},
        {"truth": 4, "base": 0, "grpo": 1},
    ]


def test_other_data_under_the_same_ids_is_refused(tmp_path: Path) -> None:
    a, b = (write_evaluation(tmp_path / name, name, 0.5) for name in ("base", "grpo"))
    edit(b, "items.jsonl", lambda item: item | {"data": "another question"})
    with pytest.raises(InputError, match="grpo: question or truth of q0 are not those of base"):
        build_report(a, [b])


def test_the_papers_figures_on_a_part_are_said(tmp_path: Path) -> None:
    a = write_evaluation(tmp_path / "a", "base", 0.5)
    parts = {"type": {"CW": {"VideoChat-R1": {"mIoU": 0.123}}}}
    edit(a, "result.json", lambda result: result | {"paper": result["paper"] | {"parts": parts}})
    assert "CW, VideoChat-R1 12.3." in " ".join(build_report(a).read_text().split())


def test_odd_replies_and_lost_pictures_do_not_keep_a_page_from_being_made(tmp_path: Path) -> None:
    a = write_evaluation(tmp_path / "a", "base", 0.5)
    edit(a, "items.jsonl", lambda item: item | {"reply": "half \ud800 a pair"})
    edit(a, "result.json", lambda result: result | {"results": with_nan(result["results"])})
    shutil.rmtree(a / "thumbnails")
    html = build_report(a).read_text(encoding="utf-8")
    assert "half \\ud800 a pair" in html
    assert "[–, –]" in html
    assert html.count('class="frames"') == 2
    assert "data:image/jpeg" not in html


def test_intervals_over_few_videos_are_marked(tmp_path: Path) -> None:
    a = write_evaluation(tmp_path / "a", "base", 0.5)
    assert "are rough" not in build_report(a).read_text(encoding="utf-8")
    result = json.loads((a / "result.json").read_text())
    result["results"]["official"]["few_videos"] = {"mIoU": 8}
    (a / "result.json").write_text(json.dumps(result))
    html = build_report(a).read_text(encoding="utf-8")
    assert "[40.0, 60.0], 8 videos</small>" in html
    assert "fewer than 30 videos are rough" in html


def with_nan(results: Any) -> Any:
    """As one video's evaluation was kept once."""
    results["official"]["intervals"] = {"mIoU": [math.nan, math.nan]}
    return results


@pytest.mark.parametrize("name", ["result.json", "items.jsonl", "gallery.json"])
def test_what_is_cut_off_is_told(name: str, tmp_path: Path) -> None:
    a = write_evaluation(tmp_path / "a", "base", 0.5)
    for left in ((a / name).read_text()[:40], "[" * 100_000):
        (a / name).write_text(left)
        told = "is cut off, or not JSON; run the command that wrote it"
        if name == "items.jsonl":
            told = "is no whole item of this version; run the same timesight eval again"
        with pytest.raises(InputError, match=rf"{name}.*: {told}"):
            build_report(a)
    (a / name).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=rf"{name}: is not UTF-8 text"):
        build_report(a)


@pytest.mark.slow
def test_what_eval_keeps_can_be_reported(full_world: Path, tmp_path: Path) -> None:
    flags = ["--judge", "world", "--max-new-tokens", "16", "--workers", "0", "--out", str(tmp_path / "run")]
    done = CliRunner(catch_exceptions=False).invoke(command, [str(full_world / "test.jsonl"), *flags])
    assert done.exit_code == 0, done.output
    html = build_report(tmp_path / "run").read_text()
    gallery = json.loads((tmp_path / "run/gallery.json").read_text())
    assert gallery
    assert html.count('class="frames"') == len(gallery)
    assert html.count("data:image/jpeg;base64,") == sum(len(item["thumbnails"]) for item in gallery)
