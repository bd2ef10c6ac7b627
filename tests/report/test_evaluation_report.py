"""The page of an evaluation, alone and beside others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from timesight.cli.eval import command
from timesight.errors import InputError
from timesight.report import build_report


def write_evaluation(out: Path, model: str, value: float, suite: str = "nextgqa") -> Path:
    """A finished evaluation of two items."""
    (out / "thumbnails").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(out / "thumbnails/a.jpg")
    part = {"num_items": 1, "metrics": {"mIoU": value}, "intervals": {"mIoU": [0.0, 1.0]}}
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


def test_what_eval_keeps_can_be_reported(full_world: Path, tmp_path: Path) -> None:
    flags = ["--judge", "world", "--max-new-tokens", "16", "--workers", "0", "--out", str(tmp_path / "run")]
    done = CliRunner(catch_exceptions=False).invoke(command, [str(full_world / "test.jsonl"), *flags])
    assert done.exit_code == 0, done.output
    html = build_report(tmp_path / "run").read_text()
    gallery = json.loads((tmp_path / "run/gallery.json").read_text())
    assert gallery
    assert html.count('class="frames"') == len(gallery)
    assert html.count("data:image/jpeg;base64,") == sum(len(item["thumbnails"]) for item in gallery)
