from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from timesight.errors import InputError
from timesight.report import build_report
from timesight.report.plots import smooth


def write_run(out: Path) -> None:
    entries = [
        {
            "step": s,
            "loss": 0.1,
            "reward": 1 + s / 10,
            "reward/temporal_grounding/iou": s / 10,
            "reward/temporal_grounding/format": 1.0,
            "kl": 0.01 * s,
        }
        for s in range(1, 9)
    ]
    (out / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_a_bare_run_becomes_one_page_that_needs_no_other(tmp_path: Path) -> None:
    write_run(tmp_path)
    html = build_report(tmp_path).read_text()
    assert html.count("<svg") == 3  # reward, its parts, KL
    assert not re.search(r"""(src|href)=["']https?:""", html)
    assert "var(--series-1)" in html


def test_a_run_that_goes_on_can_be_reported(tmp_path: Path) -> None:
    write_run(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 9, "rew')  # as far as it has been written
    assert "8 training steps" in build_report(tmp_path).read_text()


def test_a_compared_run_shows_figures_and_timelines(tmp_path: Path) -> None:
    write_run(tmp_path)
    metrics = {"mIoU": 0.5, "R1@0.5": 0.4}
    intervals = {"mIoU": [0.4, 0.6], "R1@0.5": [0.3, 0.5]}
    comparison = {
        "greedy": {"before": 0.5, "after": 0.61},
        "sampled": {"before": 0.3, "after": 0.6},
        "difference": {"mean": 0.11, "low": 0.08, "high": 0.14},
        "columns": [
            {"name": "before", "metrics": metrics, "intervals": intervals},
            {"name": "x", "metrics": metrics},
        ],
        "num_items": 10,
        "num_videos": 5,
        "num_unparsable": {"before": 1, "after": 0},
        "note": "a note",
    }
    (tmp_path / "comparison.json").write_text(json.dumps(comparison))
    (tmp_path / "thumbnails").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "thumbnails/a.jpg")
    lanes = [
        {"name": "truth", "span": [1, 2], "iou": None},
        {"name": "before", "span": None, "iou": 0.0},
        {"name": "after", "span": [1, 2], "iou": 1.0},
    ]
    item = {
        "query": "<b>x</b>",
        "why": "w",
        "duration_s": 4.0,
        "lanes": lanes,
        "thumbnails": ["thumbnails/a.jpg"],
    }
    (tmp_path / "timelines.json").write_text(json.dumps([item]))
    html = build_report(tmp_path).read_text()
    assert "fewer than 30 videos are rough" in html
    (tmp_path / "comparison.json").write_text(json.dumps(comparison | {"num_videos": 30}))
    assert "are rough" not in build_report(tmp_path).read_text()
    assert "50.0 → 61.0" in html
    assert "+11.0" in html
    assert "left:25.0%;width:25.0%" in html
    assert "data:image/jpeg;base64," in html
    assert "&lt;b&gt;x" in html
    assert "<b>x</b>" not in html


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither a training run"):
        build_report(tmp_path)


def test_smoothing_keeps_a_constant_and_follows_a_step() -> None:
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert 0.0 < smooth([0.0, 1.0])[1] < 1.0
