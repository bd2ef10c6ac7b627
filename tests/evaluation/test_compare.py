"""Two evaluations side by side, and tables of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests import official

from timesight.cli.eval import command
from timesight.errors import InputError
from timesight.evaluation import find_suite
from timesight.evaluation.compare import compare
from timesight.evaluation.export import longvideobench_submission, table, videomme_submission
from timesight.statistics import cluster_bootstrap


def items(values: list[float], kinds: str = "") -> dict[str, dict[str, Any]]:
    """Items with a metric each, two on a video."""
    return {
        f"i{n}": {
            "id": f"i{n}",
            "video": f"v{n // 2}.mp4",
            "reply": f"reply {value}",
            "groups": {"kind": [kinds[n]]} if kinds else {},
            "metrics": {"official": {"mIoU": value, "R1@0.5": float(value >= 0.5)}, "paper": {"mIoU": value / 2}},
        }
        for n, value in enumerate(values)
    }


def test_differences_are_paired_and_split_by_kind() -> None:
    draws = np.random.default_rng(0)
    before = draws.random(40).tolist()
    after = [min(1.0, value + 0.1 + 0.05 * draws.random()) for value in before]
    found = compare(items(before, "ab" * 20), items(after, "ab" * 20))
    whole, a, b = found.parts
    assert (whole.num_items, whole.num_videos, a.num_items, b.num_items) == (40, 20, 20, 20)
    changes = [y - x for x, y in zip(before, after, strict=True)]
    interval = cluster_bootstrap(changes, [n // 2 for n in range(40)])
    of = whole.metrics["mIoU"]
    assert (of.difference, of.low, of.high) == (interval.mean, interval.low, interval.high)
    assert of.b - of.a == pytest.approx(of.difference)
    assert of.p_value < 0.001
    assert (a.key, a.value) == ("kind", "a")
    assert found.num_better + found.num_worse <= 40
    assert [change.b - change.a for change in found.improved] == sorted(
        (change.b - change.a for change in found.improved), reverse=True
    )


def test_the_same_replies_differ_in_nothing() -> None:
    same = items([0.0, 0.5, 1.0, 0.3])
    found = compare(same, same)
    assert (found.num_better, found.num_worse, found.improved, found.hurt) == (0, 0, [], [])
    assert found.parts[0].metrics["mIoU"].p_value == 1.0


def test_what_flipped_is_shown_with_both_replies() -> None:
    found = compare(items([0.0, 1.0, 0.5]), items([1.0, 0.0, 0.5]), metric="R1@0.5")
    ((up,), (down,)) = found.improved, found.hurt
    assert (up.id, up.reply_a, up.reply_b) == ("i0", "reply 0.0", "reply 1.0")
    assert down.id == "i1"


def test_only_what_both_have_is_compared() -> None:
    found = compare(items([0.1, 0.2, 0.3]), items([0.1, 0.2]), protocol="paper")
    assert (found.only_a, found.only_b, found.parts[0].num_items) == (1, 0, 2)
    with pytest.raises(InputError, match="no item in common"):
        compare(items([0.1]), {})
    with pytest.raises(InputError, match=r"no metric AO in common: choose one of mIoU, R1@0\.5"):
        compare(items([0.1]), items([0.1]), metric="AO")


def result(model: str, value: float, think: bool = False) -> dict[str, Any]:
    return {
        "suite": "charades_sta",
        "model": model,
        "think": think,
        "results": {
            "official": {
                "metrics": {"mIoU": value, "R1@0.5": 0.5},
                "intervals": {"mIoU": [value - 0.1, value + 0.1]},
                "baselines": {"whole video": {"mIoU": 0.27}},
            }
        },
        "paper": {"protocol": "official", "rows": {"VideoChat-R1": {"mIoU": 0.608}}},
    }


def test_one_table_holds_systems_baselines_and_the_papers_rows() -> None:
    runs = [result("a_b", 0.5), result("c", 0.625, think=True)]
    rows = list(csv.reader(io.StringIO(table(runs, "csv"))))
    assert rows == [
        ["protocol", "metric", "a_b", "c, thinking", "whole video", "paper: VideoChat-R1"],
        ["official", "mIoU", "50.0 [40.0, 60.0]", "62.5 [52.5, 72.5]", "27.0", "60.8"],
        ["official", "R1@0.5", "50.0", "50.0", "", ""],
    ]
    assert table(runs, "markdown").splitlines()[1] == "|---|---|--:|--:|--:|--:|"
    assert "official & mIoU & 50.0 [40.0, 60.0] &" in table(runs, "latex")
    assert r"a\_b" in table(runs, "latex")
    assert json.loads(table(runs, "json")) == runs
    with pytest.raises(InputError, match="one table is of one suite, not of charades_sta, mvbench"):
        table([*runs, runs[0] | {"suite": "mvbench"}], "csv")


def test_submissions_have_the_authors_form(tmp_path: Path) -> None:
    official.videomme(tmp_path / "v", ["aaaa", "bbbb"])
    samples = find_suite("videomme").read(tmp_path / "v", None)
    videos = json.loads(videomme_submission(samples, {"videomme/000-1": "B."}))
    assert [video["video_id"] for video in videos] == ["000", "001"]
    assert {"duration", "domain", "sub_category"} <= videos[0].keys()
    assert videos[0]["questions"][1] == {
        "question_id": "000-1",
        "task_type": "Counting Problem",
        "question": "Question 1?",
        "options": ["A. One.", "B. Two.", "C. Three.", "D. Four."],
        "answer": "B",
        "response": "B.",
    }
    official.longvideobench(tmp_path / "l", ["aaaa"])
    samples = find_suite("longvideobench").read(tmp_path / "l", None)
    assert json.loads(longvideobench_submission(samples, {"longvideobench/aaaa_0": "C"})) == {"aaaa_0": "C"}


def invoke(*args: object) -> Any:
    return CliRunner().invoke(command, [*map(str, args)])


def test_the_commands_read_what_eval_keeps(full_world: Path, tmp_path: Path) -> None:
    for name, flags in {"a": [], "b": ["--fps", "1"]}.items():
        done = invoke(
            full_world / "test.jsonl",
            "--judge",
            "world",
            "--max-new-tokens",
            16,
            "--limit",
            4,
            "--out",
            tmp_path / name,
            *flags,
        )
        assert done.exit_code == 0, done.output
    done = invoke("compare", tmp_path / "a", tmp_path / "b")
    assert done.exit_code == 0
    assert "difference" in done.stdout
    found = json.loads(invoke("compare", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert all(task["parts"][0]["num_items"] > 0 for task in found["tasks"].values())
    done = invoke("export", tmp_path / "a", tmp_path / "b", "--format", "latex")
    assert done.stdout.startswith("\\begin{tabular}")
    for args, message in (
        (["compare", tmp_path, tmp_path / "a"], "holds no finished evaluation"),
        (["export", tmp_path], "holds no finished evaluation"),
        (["charades_stb"], "no suite charades_stb: choose one of charades_sta"),
        (["charades_sta"], "say where its official files are"),
        (["got10k", "--annotations", tmp_path, "--subtitles"], "got10k has no subtitles"),
        ([full_world / "test.jsonl", "--split", "test"], "--split goes with a suite"),
        (["run"], "which suite, or which JSONL file"),
        ([full_world / "test.jsonl", "--judge", "world", "--model", "no/such/model/here"], "no model at"),
        ([full_world / "test.jsonl", "--judge", "world", "--out", tmp_path / "a"], "choose another folder"),
    ):
        failed = invoke(*args)
        assert message in str(failed.exception), failed.output
