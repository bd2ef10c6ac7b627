"""The multiple-choice benchmarks' files, made up in their official layouts, and the excerpts of the real ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import official

from timesight.data import read
from timesight.errors import InputError, SampleError

VIDEOS = ["aaa", "bbb", "ccc"]


@pytest.mark.parametrize("as_parquet", [True, False])
def test_videomme(tmp_path: Path, as_parquet: bool) -> None:
    assert official.videomme(tmp_path, VIDEOS, as_parquet) == 9
    samples = [s.model_dump() for s in read("videomme", tmp_path, split="test")]
    assert [s["id"] for s in samples[:4]] == [f"videomme/{q}" for q in ("000-0", "000-1", "000-2", "001-0")]
    assert samples[1]["options"] == ("One.", "Two.", "Three.", "Four.")
    assert [s["answer"] for s in samples[:3]] == [0, 1, 2]
    assert samples[0]["meta"] == {
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Humanity & History",
        "task_type": "Counting Problem",
    }
    assert samples[0]["subtitles"] == ()
    spoken = [s.model_dump()["subtitles"] for s in read("videomme", tmp_path, split="test", subtitles=True)]
    assert spoken[0][0] == {"text": "Hello there", "start_s": 1.0, "end_s": 2.5}
    assert [len(lines) for lines in spoken] == [2, 2, 2, 0, 0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("source", "split", "missing"), [("videomme", "test", "bbb.srt"), ("longvideobench", "val", "bbb_en.json")]
)
def test_missing_files_of_subtitles_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str, split: str, missing: str
) -> None:
    getattr(official, source)(tmp_path, VIDEOS)
    folder = tmp_path / {"videomme": "subtitle", "longvideobench": "subtitles"}[source]
    (folder / missing).unlink(missing_ok=True)
    read(source, tmp_path, split=split)
    assert not caplog.messages
    read(source, tmp_path, split=split, subtitles=True)
    assert caplog.messages == [f"{folder}: 1 of 3 files of subtitles are missing: {missing}"]
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(SampleError, match=f"has no aaa.* or {missing} or ccc"):
        read(source, tmp_path, split=split, subtitles=True)


def test_mvbench_finds_each_task_its_own_videos(tmp_path: Path) -> None:
    assert official.mvbench(tmp_path / "json", VIDEOS) == 9
    for folder in ("perception/videos", "star/Charades_v1_480"):
        (tmp_path / "video" / folder).mkdir(parents=True)
        (tmp_path / "video" / folder / "aaa.mp4").touch()
    (tmp_path / "video/tvqa/frames_fps3_hq/bbb_clip").mkdir(parents=True)
    samples = read("mvbench", tmp_path / "json", tmp_path / "video", split="test")
    paths = {s.id: s.video for s in samples}
    first = paths["mvbench/action_sequence#0"]
    assert first.path == tmp_path / "video/star/Charades_v1_480/aaa.mp4"
    assert (first.start_s, first.end_s) == (0.5, 4.0)
    assert paths["mvbench/character_order#0"].path == tmp_path / "video/perception/videos/aaa.mp4"
    frames = paths["mvbench/episodic_reasoning#1"]
    assert (frames.path, frames.fps) == (tmp_path / "video/tvqa/frames_fps3_hq/bbb_clip", 3)
    single = next(s for s in samples if s.id == "mvbench/character_order#0").model_dump()
    assert (single["options"], single["answer"]) == (("that",), 0)
    alone = read("mvbench", tmp_path / "json", split="test", task="action_sequence")
    assert Counter(s.meta["task"] for s in alone) == {"action_sequence": 3}


@pytest.mark.parametrize("as_parquet", [True, False])
def test_perception_test(tmp_path: Path, as_parquet: bool) -> None:
    assert official.perception_test(tmp_path, VIDEOS, as_parquet) == 6
    samples = [s.model_dump() for s in read("perception_test", tmp_path, split="val")]
    assert [s["id"] for s in samples[:2]] == ["perception_test/aaa_0", "perception_test/aaa_1"]
    assert [s["answer"] for s in samples[:2]] == [0, 1]
    assert samples[0]["meta"].get("duration_s") == (None if as_parquet else 6.0)
    assert samples[0]["meta"]["tag"] == ["motion"]


def test_perception_test_may_know_nothing_of_a_video(tmp_path: Path) -> None:
    official.perception_test(tmp_path, VIDEOS)
    file = tmp_path / "mc_question_valid.json"
    records = json.loads(file.read_text())
    records["aaa"]["metadata"] = None
    file.write_text(json.dumps(records))
    assert "duration_s" not in read("perception_test", tmp_path, split="val")[0].meta


def test_longvideobench_subtitles_count_from_the_start_of_the_clip(tmp_path: Path) -> None:
    official.longvideobench(tmp_path, VIDEOS)
    for sample in read("longvideobench", tmp_path, split="val", subtitles=True):
        assert sample.model_dump()["subtitles"] == ({"text": "in time", "start_s": 1.0, "end_s": 2.5},)
    assert all(s.model_dump()["subtitles"] == () for s in read("longvideobench", tmp_path, split="val"))


@pytest.mark.parametrize(
    ("timestamp", "offset", "subtitles"),
    [
        ([11.0, None], 10, [(1.0, 6.0)]),
        ([11.0, 30.0], 10, [(1.0, 6.0)]),
        ([16.0, 17.0], 10, []),
        ([9.0, 11.0], 10, [(0.0, 1.0)]),
        ([1.0, 2.0], None, [(1.0, 2.0)]),
    ],
)
def test_longvideobench_takes_what_is_said_in_the_clip(
    tmp_path: Path, timestamp: list[float | None], offset: float | None, subtitles: list[tuple[float, float]]
) -> None:
    """Clips of six seconds come with the subtitles of the whole video."""
    official.longvideobench(tmp_path, ["aaa"])
    records = json.loads((tmp_path / "lvb_val.json").read_text())
    records[0]["starting_timestamp_for_subtitles"] = offset
    (tmp_path / "lvb_val.json").write_text(json.dumps(records))
    (tmp_path / "subtitles/aaa_en.json").write_text(json.dumps([{"timestamp": timestamp, "text": "x"}]))
    (sample,) = read("longvideobench", tmp_path, split="val", subtitles=True)
    assert [(s["start_s"], s["end_s"]) for s in sample.model_dump()["subtitles"]] == subtitles


@pytest.mark.parametrize(
    "window", [{"start": 5.0, "end": 5.0}, {"end": 5.0}, {"start": 1.0}, {"start": -1, "end": 2}, {"start": "?"}]
)
def test_mvbench_keeps_records_of_no_window(tmp_path: Path, window: dict[str, object]) -> None:
    record = {"video": "a.mp4", "question": "q", "candidates": ["a"], "answer": "a"}
    good = record | {"start": None, "end": None}
    (tmp_path / "action_sequence.json").write_text(json.dumps([record | window, good]))
    odd, fine = read("mvbench", tmp_path, split="test")
    assert "is no window of a video" in odd.problems[0]
    assert (odd.video.start_s, fine.problems) == (None, ())


def test_fiber_counts_clips_with_several_captions(tmp_path: Path) -> None:
    official.fiber(tmp_path, ["x", "y", "x"])
    samples = read("fiber", tmp_path)
    assert [s.id for s in samples] == ["fiber/x", "fiber/y", "fiber/x#1"]
    assert samples[0].model_dump()["caption"] == "A long tale of x."


def test_the_excerpts_are_read_whole(samples_dir: Path) -> None:
    samples = read("mvbench", samples_dir / "annotations/mvbench", split="test")
    assert set(Counter(s.meta["task"] for s in samples).values()) == {25}
    assert len(samples) == 150
    assert not any(s.problems for s in samples)
    samples = read("longvideobench", samples_dir / "annotations/longvideobench", split="val")
    assert len(samples) == 40
    assert not any(s.problems for s in samples)


@pytest.mark.parametrize(
    ("source", "file", "old", "new", "problem"),
    [
        ("videomme", "videomme.json", '"answer": "A"', '"answer": "E"', "answer 4 is not among the 4 options"),
        ("mvbench", "action_sequence.json", '"answer": "that"', '"answer": "none"', "answer 2 is not among the 2"),
        ("perception_test", "mc_question_valid.json", '"answer_id": 0', '"answer_id": -1', "answer 3 is not among"),
    ],
)
def test_an_answer_that_is_no_option_is_kept_as_a_problem(
    tmp_path: Path, source: str, file: str, old: str, new: str, problem: str
) -> None:
    write: Callable[..., int] = getattr(official, source)
    write(tmp_path, VIDEOS, *([False] if source == "videomme" else []))
    path = tmp_path / file
    path.write_text(path.read_text().replace(old, new, 1))
    split = "val" if source == "perception_test" else "test"
    kept = [s.problems for s in read(source, tmp_path, split=split) if s.problems]
    assert len(kept) == 1
    assert problem in kept[0][0]


def test_what_is_wrong_is_told_with_the_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    official.longvideobench(tmp_path, VIDEOS)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/bbb.mp4").touch()
    read("longvideobench", tmp_path, tmp_path / "videos", split="val")
    assert "2 videos of longvideobench not found: aaa.mp4, ccc.mp4" in caplog.text
    with pytest.raises(InputError, match="longvideobench has no option subtitle; it has subtitles"):
        read("longvideobench", tmp_path, split="val", subtitle=True)
    with pytest.raises(InputError, match="mvbench has no task dancing: choose one of action_sequence"):
        read("mvbench", tmp_path, split="test", task="dancing")
    broken = tmp_path / "subtitles/aaa_en.json"
    broken.write_text(json.dumps([{"start": "soon", "end": 3, "line": "x"}]))
    with pytest.raises(SampleError, match=r"aaa_en\.json item 0: 'soon' is not a time"):
        read("longvideobench", tmp_path, split="val", subtitles=True)
    for item, message in ({"timestamp": [1.0], "text": "x"}, "is not a start and an end"), (1, "is missing"):
        broken.write_text(json.dumps([item]))
        with pytest.raises(SampleError, match=rf"aaa_en\.json item 0: .*{message}"):
            read("longvideobench", tmp_path, split="val", subtitles=True)
    official.videomme(tmp_path / "v", VIDEOS, subtitles=False)
    with pytest.raises(InputError, match="subtitle: no such folder of subtitles"):
        read("videomme", tmp_path / "v", split="test", subtitles=True)
    (tmp_path / "v/test-00000-of-00001.parquet").write_text("not a table")
    with pytest.raises(SampleError, match="is not a parquet file"):
        read("videomme", tmp_path / "v", split="test")


def test_the_same_name_in_two_folders_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    official.fiber(tmp_path, ["x"])
    for folder in ("a", "b"):
        (tmp_path / "videos" / folder).mkdir(parents=True)
        (tmp_path / "videos" / folder / "x.mp4").touch()
    (sample,) = read("fiber", tmp_path, tmp_path / "videos")
    assert sample.video.path == tmp_path / "videos/a/x.mp4"
    assert "1 videos of fiber more than once: x.mp4" in caplog.text
