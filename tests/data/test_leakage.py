"""Videos that two files share are found by name and by what they hold."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests import official
from tests.data.lines import GROUNDING, kinds, survey, write

from timesight.data.check import Line, check_lines
from timesight.data.leakage import check_leakage


def test_leakage_is_found_by_name_and_by_content(videos: Path, tmp_path: Path) -> None:
    train = check_lines(
        write(
            tmp_path / "train.jsonl",
            [GROUNDING | {"id": n, "video": f"videos/{n}.mp4", "query": n} for n in ("v", "copy", "cut")],
        )
    )
    test = check_lines(write(tmp_path / "other/test.jsonl", [GROUNDING | {"id": "t", "video": "../videos/v.mp4"}]))
    check_leakage(train, test)
    assert kinds(train) == [["leaked_id"], [], []]
    for line in train:
        line.problems.clear()
    check_leakage(train, test, survey([*train, *test], tmp_path / "kept"))
    assert kinds(train) == [["leaked_id"], ["leaked_content"], []]


def asked(file: Path, *videos: object) -> list[Line]:
    return check_lines(
        write(file, [GROUNDING | {"id": str(n), "query": str(n), "video": v} for n, v in enumerate(videos)])
    )


def test_other_content_of_the_same_name_is_no_leak(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/v.mp4").write_bytes((videos / "v.mp4").read_bytes() + b"\0")
    shutil.copy(videos / "cut.mp4", tmp_path / "test/cut.mp4")
    train = asked(tmp_path / "train.jsonl", "videos/v.mp4", "videos/cut.mp4")
    test = asked(tmp_path / "test/test.jsonl", "v.mp4", "cut.mp4")
    check_leakage(train, test, survey([*train, *test], tmp_path / "kept"))
    assert kinds(train) == [[], ["leaked_id"]]  # what does not decode may be the same


def test_folders_of_frames_are_told_apart_by_name_and_found_by_content(tmp_path: Path) -> None:
    official.got10k(tmp_path, ["seq.1", "seq.2"], num_frames=4)
    (tmp_path / "train/seq.2/00000004.jpg").unlink()
    shutil.copytree(tmp_path / "train/seq.1", tmp_path / "copied")
    (tmp_path / "copied/00000001.jpg").touch()  # a copy has other times
    train = asked(tmp_path / "train.jsonl", {"path": "train/seq.1", "fps": 2}, {"path": "train/seq.2", "fps": 2})
    test = asked(tmp_path / "test.jsonl", {"path": "copied", "fps": 5})
    check_leakage(train, asked(tmp_path / "named.jsonl", "seq.3"))
    assert kinds(train) == [[], []]
    check_leakage(train, test, survey([*train, *test], tmp_path / "kept"))
    assert kinds(train) == [["leaked_content"], []]
