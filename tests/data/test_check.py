"""``data check``: each kind of problem is found, in its line, and mended or left out in the copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from timesight.data import read_jsonl
from timesight.data.check import KINDS, Line, check_lines, check_videos
from timesight.data.fix import fix
from timesight.data.leakage import check_leakage
from timesight.data.surveys import survey_all
from timesight.errors import InputError, SampleError
from timesight.types import Video
from timesight.video.survey import VideoFacts

GROUNDING = {"task": "temporal_grounding", "video": "v.mp4", "query": "a", "spans": [[1, 2]]}
TRACKING = {"task": "object_tracking", "video": "v.mp4", "object": "dog", "times_s": [0, 1]}
CHOICE = {"task": "multiple_choice", "video": "v.mp4", "question": "q", "options": ["x", "y"], "answer": 1}
BOX = [0.1, 0.1, 0.5, 0.5]

# A line that is right but for one thing, and what is wrong with it.
WRONG: list[tuple[str, dict[str, Any] | str]] = [
    ("json", "{"),
    ("json", "[1]"),
    ("schema", {"task": "dancing", "id": "a", "video": "v.mp4"}),
    ("schema", GROUNDING | {"query": 5}),
    ("schema", GROUNDING | {"spam": []}),
    ("reversed_span", GROUNDING | {"spans": [[5, 1]]}),
    ("zero_length_span", GROUNDING | {"spans": [[1, 1]]}),
    ("negative_start", GROUNDING | {"spans": [[-1, 3]]}),
    ("past_end", GROUNDING | {"spans": [[1, 9]], "meta": {"duration_s": 6.0}}),
    ("no_truth", GROUNDING | {"spans": []}),
    ("no_truth", GROUNDING | {"spans": [[-5, -2]]}),
    ("box_outside", TRACKING | {"boxes": [BOX, [0.1, 0.1, 1.5, 0.5]]}),
    ("reversed_box", TRACKING | {"boxes": [BOX, [0.6, 0.1, 0.5, 0.5]]}),
    ("not_an_option", CHOICE | {"answer": 2}),
    ("same_option", CHOICE | {"options": ["x", "x", "y"], "answer": 2}),
    ("noted", GROUNDING | {"problems": ["the annotator was asleep"]}),
]


def write(file: Path, records: Sequence[dict[str, Any] | str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return file


def numbered(records: Sequence[dict[str, Any] | str]) -> list[dict[str, Any] | str]:
    return [r if isinstance(r, str) else {"id": f"s{n}", **r} for n, r in enumerate(records)]


def kinds(lines: Sequence[Line]) -> list[list[str]]:
    return [[problem.kind for problem in line.problems] for line in lines]


@pytest.mark.parametrize(("kind", "record"), WRONG)
def test_each_kind_is_found_in_its_line(tmp_path: Path, kind: str, record: dict[str, Any] | str) -> None:
    good = GROUNDING | {"query": "something else"}
    lines = check_lines(write(tmp_path / "s.jsonl", numbered([good, record])))
    assert kinds(lines) == [[], [kind]]
    assert lines[1].problems[0].line == 2


def test_ids_and_questions_are_there_once(tmp_path: Path) -> None:
    records = [GROUNDING | {"id": "a"}, GROUNDING | {"id": "a", "query": "b"}, GROUNDING | {"id": "c"}]
    lines = check_lines(write(tmp_path / "s.jsonl", records))
    assert kinds(lines) == [[], ["duplicate_id"], ["same_question"]]
    assert lines[2].problems[0].message == "line 1 asks the same about the same video"


def test_all_schema_errors_of_a_line_are_told(tmp_path: Path) -> None:
    (line,) = check_lines(write(tmp_path / "s.jsonl", [{"task": "temporal_grounding", "id": "a", "qury": "x"}]))
    messages = [problem.message for problem in line.problems]
    assert messages[0] == "unknown key 'qury'; did you mean 'query'?"
    assert "key 'video' is missing" in messages
    assert "key 'spans' is missing" in messages


@pytest.fixture
def videos(video: Path, tmp_path: Path) -> Path:
    """A folder with a video of three seconds, the same under another name, and broken ones."""
    folder = tmp_path / "videos"
    folder.mkdir()
    content = video.read_bytes()
    for name, part in (
        ("v", content),
        ("copy", content),
        ("cut", content[: len(content) * 2 // 3]),
        ("empty", b""),
    ):
        (folder / f"{name}.mp4").write_bytes(part)
    return folder


def survey(lines: Sequence[Line], kept: Path, limit_s: float = 60) -> dict[Video, VideoFacts | str]:
    return survey_all([line.sample.video for line in lines if line.sample], kept, workers=1, limit_s=limit_s)


def test_videos_are_looked_through(videos: Path, tmp_path: Path) -> None:
    names = ["v", "cut", "empty", "gone"]
    records = [GROUNDING | {"id": n, "video": f"videos/{n}.mp4", "meta": {"duration_s": 3}} for n in names]
    records += [GROUNDING | {"id": "late", "video": "videos/v.mp4", "query": "b", "spans": [[1, 3.5]]}]
    records += [
        GROUNDING
        | {"id": "long", "video": "videos/v.mp4", "query": "c", "spans": [[1, 4]], "meta": {"duration_s": 9}}
    ]
    lines = check_lines(write(tmp_path / "s.jsonl", records))
    check_videos(lines, survey(lines, tmp_path / "kept"))
    assert kinds(lines) == [
        [], ["video_broken"], ["video_broken"], ["video_missing"], ["past_end"], ["duration", "past_end"]
    ]  # fmt: skip


def test_a_survey_goes_on_where_it_was_stopped(videos: Path, tmp_path: Path) -> None:
    records = [GROUNDING | {"id": n, "video": f"videos/{n}.mp4"} for n in ("v", "copy", "cut")]
    lines = check_lines(write(tmp_path / "s.jsonl", records))
    kept = tmp_path / "kept"
    first = survey(lines, kept)
    whole = kept.read_text()
    assert whole.count('"video"') == 2  # broken ones are looked at again
    kept.write_text(whole[: len(whole) - 30])  # killed within the last line
    assert survey(lines, kept) == first
    marked = kept.read_text().replace('"num_frames": 30', '"num_frames": 31')
    kept.write_text(marked)
    again = survey(lines, kept)
    assert {facts.num_frames for facts in again.values() if isinstance(facts, VideoFacts)} == {31}
    (videos / "v.mp4").write_bytes((videos / "copy.mp4").read_bytes() + b"\0")  # it changed
    facts = survey(lines, kept)[Video(path=videos / "v.mp4")]
    assert isinstance(facts, VideoFacts)
    assert facts.num_frames == 30


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
    assert counts["kept"] + counts["mended"] == len(clean) == len(read_jsonl(tmp_path / "deep/clean.jsonl"))
    with pytest.raises(InputError, match="is there already"):
        fix(file, lines, tmp_path / "deep/clean.jsonl", facts)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="no such file"):
        check_lines(tmp_path / "none.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(SampleError, match="is not UTF-8 text"):
        check_lines(tmp_path / "b.jsonl")


def test_the_real_excerpts_have_the_problems_they_are_known_for(samples_dir: Path, tmp_path: Path) -> None:
    from timesight.data import read
    from timesight.data.jsonl import write_jsonl

    found = {}
    for source, split in (("charades_sta", "train"), ("nextgqa", "val"), ("activitynet_captions", "val")):
        write_jsonl(tmp_path / "s.jsonl", read(source, samples_dir / "annotations" / source, split=split))
        found[source] = [kind for each in kinds(check_lines(tmp_path / "s.jsonl")) for kind in each]
    assert found["charades_sta"].count("reversed_span") == 2
    assert found["charades_sta"].count("past_end") > 0
    assert set(found["nextgqa"]) <= {"past_end", "same_option", "negative_start"}
