"""``data check --fix``: what can be fixed is, and a check of the copy finds nothing that it would fix or drop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.data.lines import BOX, GROUNDING, TRACKING, kinds, survey, write
from tests.data.test_check import WRONG, numbered

from timesight.data import read_jsonl
from timesight.data.check import KINDS, check_lines, check_videos
from timesight.data.fix import fix
from timesight.errors import InputError


def test_the_copy_is_clean_and_the_original_untouched(videos: Path, tmp_path: Path) -> None:
    records = numbered([record for _, record in WRONG])
    for number, record in enumerate(records):
        if isinstance(record, dict):
            record["video"] = "videos/v.mp4"
            if "query" in record and record["query"] != 5:
                record["query"] = f"query {number}"
            if "question" in record:
                record["question"] = f"question {number}"
    records += [GROUNDING | {"id": "s3", "video": "videos/v.mp4", "query": "an id twice"}]
    records += [GROUNDING | {"id": "gone", "video": "videos/gone.mp4"}]
    records += [GROUNDING | {"id": "l", "video": "videos/v.mp4", "query": "l", "meta": {"duration_s": 9}}]
    file = write(tmp_path / "s.jsonl", records)
    before = file.read_bytes()
    lines = check_lines(file)
    facts = survey(lines, tmp_path / "kept")
    check_videos(lines, facts)
    counts = fix(file, lines, tmp_path / "deep/clean.jsonl", facts)
    assert file.read_bytes() == before
    clean = check_lines(tmp_path / "deep/clean.jsonl")
    check_videos(clean, survey(clean, tmp_path / "kept"))
    left = {kind for kinds_of_line in kinds(clean) for kind in kinds_of_line}
    assert left <= {kind for kind, (_, remedy) in KINDS.items() if remedy == "keep"}
    assert sum(counts.values()) == len(lines)
    assert counts["kept"] + counts["fixed"] == len(clean) == len(read_jsonl(tmp_path / "deep/clean.jsonl"))
    with pytest.raises(InputError, match="already exists"):
        fix(file, lines, tmp_path / "deep/clean.jsonl", facts)


@pytest.mark.parametrize(
    ("record", "fixed"),
    [
        (GROUNDING | {"spans": [[-1, 3]]}, {"spans": ((0, 3),)}),
        (GROUNDING | {"spans": [["-1", "3"]]}, {"spans": ((0, 3),)}),
        (GROUNDING | {"spans": [["1", "40"]], "meta": {"duration_s": 30}}, {"spans": ((1, 30),)}),
        (GROUNDING | {"spans": [[1, 2], [31, 35]], "meta": {"duration_s": 30}}, {"spans": ((1, 2),)}),
        (GROUNDING | {"spans": [[30, 35]], "meta": {"duration_s": 30}}, None),
        (GROUNDING | {"spans": [[-3, 0]]}, None),
        (GROUNDING | {"segments": [[25, 35]], "meta": {"duration_s": 30}}, {"segments": ((25, 30),)}),
        (GROUNDING | {"meta": {"duration_s": "3", "of": "me"}}, {"meta": {"of": "me"}}),
        (
            TRACKING | {"times_s": [0, 1, 2], "boxes": [BOX, BOX, [1.1, 1.2, 1.3, 1.4]]},
            {"boxes": (tuple(BOX), tuple(BOX), (1, 1, 1, 1)), "absent": (2,)},
        ),
        (TRACKING | {"boxes": [BOX, [1.1, 1.2, 1.3, 1.4]]}, None),
    ],
)
def test_what_is_left_of_the_truth_is_kept(
    tmp_path: Path, record: dict[str, Any], fixed: dict[str, Any] | None
) -> None:
    file = write(tmp_path / "s.jsonl", [GROUNDING | {"id": "good", "query": "b"}, record | {"id": "a"}])
    counts = fix(file, check_lines(file), tmp_path / "clean.jsonl", {})
    assert counts == {"kept": 1, "fixed": int(fixed is not None), "dropped": int(fixed is None)}
    assert kinds(check_lines(tmp_path / "clean.jsonl")) == [[]] * (1 + (fixed is not None))
    for sample in read_jsonl(tmp_path / "clean.jsonl")[1:]:
        assert {name: sample.model_dump()[name] for name in fixed or {}} == fixed


def test_no_file_is_taken_for_the_unfinished_copy(tmp_path: Path) -> None:
    file = write(tmp_path / "c.jsonl.part", [GROUNDING | {"id": "a"}])
    before = file.read_bytes()
    fix(file, check_lines(file), tmp_path / "c.jsonl", {})
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.jsonl", "c.jsonl.part"]


def test_paths_hold_where_folders_are_links(tmp_path: Path) -> None:
    (tmp_path / "deep/er/there").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep/er/there")
    (tmp_path / "v.mp4").touch()
    file = write(tmp_path / "s.jsonl", [GROUNDING | {"id": "a"}])
    fix(file, check_lines(file), tmp_path / "link/clean.jsonl", {})
    (sample,) = read_jsonl(tmp_path / "link/clean.jsonl")
    assert json.loads((tmp_path / "link/clean.jsonl").read_text())["video"] == "../../../v.mp4"
    assert sample.video.path.exists()
