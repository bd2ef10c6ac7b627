"""``data check``: each kind of problem is found, in its line, and fixed or left out in the copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests import official
from tests.data.lines import BOX, GROUNDING, TRACKING, kinds, survey, write

from timesight.data import read_jsonl
from timesight.data.check import check_lines, check_videos
from timesight.errors import SampleError
from timesight.types import Video
from timesight.video.survey import VideoFacts

CHOICE = {"task": "multiple_choice", "video": "v.mp4", "question": "q", "options": ["x", "y"], "answer": 1}

# A line that is right but for one thing, and what is wrong with it.
WRONG: list[tuple[str, dict[str, Any] | str]] = [
    ("json", "{"),
    ("json", "[1]"),
    ("json", '{"id": ' + "1" * 5000 + "}"),
    ("json", '{"id": "\\ud800"}'),
    ("schema", GROUNDING | {"where": 5}),
    ("schema", GROUNDING | {"video": "a\0b.mp4"}),
    ("schema", {"task": "dancing", "id": "a", "video": "v.mp4"}),
    ("schema", GROUNDING | {"query": 5}),
    ("schema", GROUNDING | {"spam": []}),
    ("reversed_span", GROUNDING | {"spans": [[5, 1]]}),
    ("zero_length_span", GROUNDING | {"spans": [[1, 1]]}),
    ("negative_start", GROUNDING | {"spans": [[-1, 3]]}),
    ("past_end", GROUNDING | {"spans": [[1, 9]], "meta": {"duration_s": 6.0}}),
    ("past_end", GROUNDING | {"segments": [[1, 9]], "meta": {"duration_s": 6}}),
    ("past_end", GROUNDING | {"spans": [[1, 6.06]], "meta": {"duration_s": 6}}),
    ("past_end", GROUNDING | {"spans": [[6, 6.01]], "meta": {"duration_s": 6}}),  # none of it is in the video
    ("unreachable", GROUNDING | {"video": {"path": "v.mp4", "start_s": 6}, "meta": {"duration_s": 6.0}}),
    ("unreachable", TRACKING | {"boxes": [BOX, BOX], "times_s": [0, 7], "meta": {"duration_s": 6.0}}),
    ("no_duration", GROUNDING | {"meta": {"duration_s": "3"}}),
    ("no_duration", GROUNDING | {"meta": {"duration_s": float("nan")}}),
    ("no_truth", GROUNDING | {"spans": []}),
    ("no_truth", GROUNDING | {"spans": [[-5, -2]]}),
    ("box_outside", TRACKING | {"boxes": [BOX, [0.1, 0.1, 1.5, 0.5]]}),
    ("reversed_box", TRACKING | {"boxes": [BOX, [0.6, 0.1, 0.5, 0.5]]}),
    ("not_an_option", CHOICE | {"answer": 2}),
    ("same_option", CHOICE | {"options": ["x", "x", "y"], "answer": 2}),
    ("noted", GROUNDING | {"problems": ["the annotator was asleep"]}),
]


def numbered(records: Sequence[dict[str, Any] | str]) -> list[dict[str, Any] | str]:
    return [r if isinstance(r, str) else {"id": f"s{n}", **r} for n, r in enumerate(records)]


@pytest.mark.parametrize(("kind", "record"), WRONG)
def test_each_kind_is_found_in_its_line(tmp_path: Path, kind: str, record: dict[str, Any] | str) -> None:
    good = GROUNDING | {"query": "something else"}
    lines = check_lines(write(tmp_path / "s.jsonl", numbered([good, record])))
    assert kinds(lines) == [[], [kind]]
    assert lines[1].problems[0].line == 2


@pytest.mark.parametrize("end_s", [6.005, 6.01, 6.05])
def test_an_end_that_was_rounded_is_not_past_the_end(tmp_path: Path, end_s: float) -> None:
    """All 111 ends of ActivityNet's val_2 that are past the stated duration are so by at most 0.01 s."""
    record = GROUNDING | {"id": "a", "spans": [[1, end_s]], "segments": [[0, end_s]], "meta": {"duration_s": 6}}
    assert kinds(check_lines(write(tmp_path / "s.jsonl", [record]))) == [[]]


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


def test_what_lies_past_the_end_of_the_real_video_is_found(videos: Path, tmp_path: Path) -> None:
    """The video lasts three seconds, whatever is said of it."""
    stated = GROUNDING | {"video": "videos/v.mp4", "meta": {"duration_s": 30}}
    records = [
        stated | {"id": "w", "video": {"path": "videos/v.mp4", "start_s": 4}},
        stated | {"id": "s", "segments": [[0, 1], [5, 6]]},
        TRACKING | {"id": "t", "video": "videos/v.mp4", "times_s": [0, 3.1], "boxes": [BOX, BOX]},
        TRACKING | {"id": "u", "video": "videos/v.mp4", "times_s": [0, 4], "boxes": [BOX, BOX]},
    ]
    lines = check_lines(write(tmp_path / "s.jsonl", records))
    assert kinds(lines) == [[], [], [], ["same_question"]]
    check_videos(lines, survey(lines, tmp_path / "kept"))
    assert kinds(lines) == [
        ["duration", "unreachable"], ["duration", "past_end", "unreachable"], [], ["same_question", "unreachable"]
    ]  # fmt: skip


def test_a_folder_is_looked_at_for_each_rate_and_again_when_a_frame_changes(tmp_path: Path) -> None:
    official.got10k(tmp_path, ["frames"], num_frames=6)
    frames = tmp_path / "train/frames"
    records = [
        GROUNDING | {"id": str(fps), "query": str(fps), "video": {"path": "train/frames", "fps": fps}}
        for fps in (1, 3)
    ]
    lines = check_lines(write(tmp_path / "s.jsonl", records))
    first, second = survey(lines, tmp_path / "kept").values()
    assert isinstance(first, VideoFacts)
    assert isinstance(second, VideoFacts)
    assert (first.duration_s, second.duration_s) == (6.0, 2.0)
    assert first.fingerprint == second.fingerprint
    (frames / "00000003.jpg").write_text("no picture")
    assert all("is not an image" in str(found) for found in survey(lines, tmp_path / "kept").values())


@pytest.mark.parametrize("garbage", [b"\xff\xfe", b"[1]\n5\n", None])
def test_a_survey_that_cannot_be_kept_goes_on(videos: Path, tmp_path: Path, garbage: bytes | None) -> None:
    lines = check_lines(write(tmp_path / "s.jsonl", [GROUNDING | {"id": "v", "video": "videos/v.mp4"}]))
    kept = tmp_path / "kept"
    if garbage is None:
        kept.mkdir()
    else:
        kept.write_bytes(garbage)
    (found,) = survey(lines, kept).values()
    assert isinstance(found, VideoFacts)


@pytest.mark.slow
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


def test_lines_end_where_files_end_them(tmp_path: Path) -> None:
    """JSON may hold characters at which ``str.splitlines`` breaks lines."""
    records = [GROUNDING | {"id": str(n), "query": f"a{mark}b"} for n, mark in enumerate("\u2028\u2029\u0085")]
    file = write(tmp_path / "s.jsonl", records)
    assert kinds(check_lines(file)) == [[], [], []]
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert kinds(check_lines(file)) == [[], [], []]
    assert [sample.id for sample in read_jsonl(file)] == ["0", "1", "2"]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_samples_is_a_problem(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.jsonl").write_text(content)
    assert kinds(check_lines(tmp_path / "s.jsonl")) == [["empty"]]


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="no such file"):
        check_lines(tmp_path / "none.jsonl")
    with pytest.raises(SampleError, match="is not a file"):
        check_lines(tmp_path)
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
