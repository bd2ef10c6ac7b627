"""Tables for papers and scripts, and files for leaderboards."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests import official

from timesight.cli.eval import command
from timesight.errors import InputError
from timesight.evaluation import find_suite
from timesight.evaluation.export import longvideobench_submission, table, videomme_submission
from timesight.evaluation.suites import BASE, OURS, THINKING


def result(value: float) -> dict[str, Any]:
    return {
        "suite": "charades_sta",
        "num_items": 12,
        "num_unparsable": 1,
        "num_quarantined": 0,
        "video": {"fps": 2.0, "max_frames": 768, "max_pixels": 602112, "total_pixels": 19267584},
        "results": {
            "official": {
                "metrics": {"mIoU": value, "R1@0.5": 0.5},
                "intervals": {"mIoU": [value - 0.1, value + 0.1]},
                "baselines": {"whole video": {"mIoU": 0.27}},
            }
        },
        "paper": {"protocol": "official", "rows": {"VideoChat-R1": {"mIoU": 0.608}}},
    }


def test_one_table_holds_systems_baselines_the_papers_rows_and_what_they_are_of() -> None:
    runs = {"a_b": result(0.5), "c, thinking": result(0.625)}
    rows = list(csv.reader(io.StringIO(table(runs, "csv"))))
    assert rows == [
        ["protocol", "metric", "a_b", "c, thinking", "whole video", "paper: VideoChat-R1"],
        ["official", "mIoU", "50.0 [40.0, 60.0]", "62.5 [52.5, 72.5]", "27.0", "60.8"],
        ["official", "R1@0.5", "50.0", "50.0", "", ""],
        ["", "items", "12", "12", "", ""],
        ["", "unparsable", "1", "1", "", ""],
        ["", "frames", *["2 fps, at most 768"] * 2, "", ""],
        ["", "pixels", *["602112 a frame, 19267584 a video"] * 2, "", ""],
    ]
    assert table(runs, "markdown").splitlines()[1] == "|---|---|--:|--:|--:|--:|"
    assert "official & mIoU & 50.0 [40.0, 60.0] &" in table(runs, "latex")
    assert r"a\_b" in table(runs, "latex")
    assert json.loads(table(runs, "json")) == [*runs.values()]
    with pytest.raises(InputError, match="one table is of one suite, not of charades_sta, mvbench"):
        table(runs | {"d": result(0.5) | {"suite": "mvbench"}}, "csv")


def test_intervals_over_few_videos_say_over_how_many() -> None:
    run = result(0.5)
    run["results"]["official"] |= {"few_videos": {"mIoU": 8}}
    assert "50.0 [40.0, 60.0] (8 videos)" in table({"a": run}, "markdown")


def test_the_papers_figures_on_a_part_stand_next_to_ours() -> None:
    figures = {"metrics": {"accuracy": 0.5}, "intervals": {"accuracy": [None, None]}, "baselines": {}}
    part = {"num_items": 3, "metrics": {"accuracy": 0.6}, "intervals": {"accuracy": [0.5, 0.7]}}
    run = {"suite": "videomme", "num_items": 9, "num_unparsable": 0, "paper": find_suite("videomme").paper_json()}
    run |= {"results": {"official": figures | {"breakdowns": {"duration": {"short": part}}}}}
    head, whole, short, *_ = list(csv.reader(io.StringIO(table({"m": run}, "csv"))))
    assert head[2:] == ["m", *(f"paper: {name}" for name in (BASE, THINKING, OURS))]
    assert whole == ["official", "accuracy", "50.0 [–, –]", "64.4", "62.1", ""]
    assert short == ["official", "accuracy, duration short", "60.0 [50.0, 70.0]", "71.3", "74.2", "72.2"]


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
        "response": "B",
    }
    official.longvideobench(tmp_path / "l", ["aaaa"])
    samples = find_suite("longvideobench").read(tmp_path / "l", None)
    assert json.loads(longvideobench_submission(samples, {"longvideobench/aaaa_0": "C"})) == {"aaaa_0": "C"}


def test_a_submission_says_what_was_answered_and_not_what_was_thought(tmp_path: Path) -> None:
    official.videomme(tmp_path / "v", ["aaaa"])
    said = "<think>A car, then Cars.</think> <answer>B</answer>"
    replies = {"videomme/000-0": said, "videomme/000-1": "<think>A car</think> none", "videomme/999-0": "A"}
    file = tmp_path / "r.jsonl"
    file.write_text("".join(json.dumps({"id": id_, "reply": text}) + "\n" for id_, text in replies.items()))
    done = CliRunner().invoke(
        command,
        ["submission", "videomme", "--annotations", f"{tmp_path / 'v'}", "--replies", str(file), "--think"],
    )
    assert done.exit_code == 0, done.output
    (video,) = json.loads(done.stdout)
    assert [question["response"] for question in video["questions"]] == ["B", "<think>A car</think> none", ""]
    assert "1 replies have an id that no item has, and are left out: videomme/999-0" in done.stderr
    assert "1 of 3 items have no reply, and theirs is empty" in done.stderr
