from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests import official

from timesight.data import SOURCES, read, read_jsonl
from timesight.data.jsonl import write_jsonl
from timesight.errors import InputError, SampleError


@pytest.fixture
def folder(samples_dir: Path, tmp_path: Path) -> Path:
    """A copy of the annotation excerpts that a test may damage."""
    shutil.copytree(samples_dir / "annotations", tmp_path / "annotations")
    return tmp_path / "annotations"


def test_charades_keeps_its_odd_rows(folder: Path) -> None:
    samples = read("charades_sta", folder / "charades_sta")
    assert len(samples) == 122
    assert [s.problems for s in samples if s.problems] == [
        ("span 8.0 to 7.0 is reversed",),
        ("span 20.9 to 12.0 is reversed",),
    ]
    first, second = samples[1:3]
    assert (first.id, second.id) == ("charades_sta/Y6R7T#0", "charades_sta/Y6R7T#1")
    assert first.model_dump()["spans"] == ((20.8, 30.0),)
    assert first.meta["duration_s"] == 29.42


def test_ids_are_the_sources_own(folder: Path) -> None:
    ids = {
        "activitynet_captions": "activitynet_captions/v_uqiMw7tQ1Cc#0",
        "nextgqa": "nextgqa/4882821564_1",
        "vidtab_quality": "vidtab_quality/1378",
        "videochat_r1": "videochat_r1/AO8RW#0",
        "dream1k": "dream1k/1",
    }
    splits = {"activitynet_captions": "val", "nextgqa": "val", "dream1k": "test"}
    for source, first in ids.items():
        samples = read(source, folder / source, split=splits.get(source, "train"))
        assert samples[0].id == first
        assert len({sample.id for sample in samples}) == len(samples)


def test_nextgqa_has_options_answer_and_evidence(folder: Path) -> None:
    sample = read("nextgqa", folder / "nextgqa", split="val")[0].model_dump()
    assert sample["options"][sample["answer"]] == "unwrap it"
    assert sample["spans"] == ((13.8, 29.8),)
    assert sample["meta"]["duration_s"] == 90


def test_both_forms_of_nextgqa_agree(folder: Path) -> None:
    official = {s.id.rpartition("/")[2]: s.model_dump() for s in read("nextgqa", folder / "nextgqa", split="val")}
    authors = read("videochat_r1", folder / "videochat_r1", part="nextgqa_val")
    for sample in authors:
        mine, theirs = sample.model_dump(), official[sample.id.rpartition("/")[2]]
        assert all(mine[key] == theirs[key] for key in ("question", "options", "answer", "spans"))


def test_got10k_marks_absent_frames_and_spaces_frames_evenly(samples_dir: Path, tmp_path: Path) -> None:
    samples = read("got10k", samples_dir / "golden/got10k_tree", split="val")
    for sample in samples:
        fields = sample.model_dump()
        count = round(sample.meta["duration_s"] * 10)
        assert fields["times_s"] == tuple(k * count // 8 / 10 for k in range(8))
        assert len(fields["boxes"]) == 8
        assert sample.video.fps == 10
        assert sample.problems == ()
    shutil.copytree(samples_dir / "golden/got10k_tree", tmp_path / "tree")
    label = tmp_path / "tree/val/GOT-10k_Val_000001/cover.label"
    label.write_text("\n".join(["8"] * 3 + ["0"] + ["8"] * 8))
    assert read("got10k", tmp_path / "tree", split="val")[0].model_dump()["absent"] == (2,)


def test_videos_are_found_by_id_wherever_they_are(folder: Path, tmp_path: Path) -> None:
    nested = tmp_path / "videos/a/b"
    nested.mkdir(parents=True)
    (nested / "AO8RW.mkv").touch()
    samples = read("charades_sta", folder / "charades_sta", videos=tmp_path / "videos")
    assert samples[0].video.path == nested / "AO8RW.mkv"
    assert samples[1].video.path == tmp_path / "videos/Y6R7T.mp4"


def test_times_of_the_authors_boxes_are_unknown(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (sample, *_) = read("videochat_r1", folder / "videochat_r1", videos=tmp_path / "videos", part="got_val")
    assert sample.problems == ("the file does not say at which times its boxes are",)


@pytest.mark.parametrize(
    ("source", "file", "old", "new", "message"),
    [
        (
            "charades_sta",
            "charades_sta_train.txt",
            "0.0 6.9##",
            "zero 6.9##",
            "line 1: is not VIDEO START END##QUERY",
        ),
        ("charades_sta", "Charades_v1_train.csv", "id,", "name,", "has no column id"),
        ("nextgqa", "val.csv", "question,", "asked,", "has no column question"),
        ("nextgqa", "gsub_val.json", "{", "", "is not JSON"),
        ("vidtab_quality", "train_100.txt", "1378.mp4 0", "1378.mp4 2", "line 1: is not FILE LABEL"),
        ("videochat_r1", "quality_100shot.json", '"answer"', '"label"', "record 0: key 'answer' is missing"),
        ("dream1k", "DREAM-1k.jsonl", '"messages"', '"turns"', "line 1: is not a record of DREAM-1K"),
        ("dream1k", "DREAM-1k.jsonl", '"extra_info": {', '"extra_info": [], "x": {', "extra_info is a list"),
        ("charades_sta", "Charades_v1_train.csv", ",29.21", ",long", "line 2: 'long' is not a number"),
        ("videochat_r1", "charades_train.json", '"duration"', '"length"', "AO8RW: key 'duration' is missing"),
        ("videochat_r1", "got_val.json", "0.093", '"left"', "record 0, id videochat_r1/GOT-10k_Val_000010: boxes"),
    ],
)
def test_a_damaged_file_is_named_with_the_place(
    folder: Path, source: str, file: str, old: str, new: str, message: str
) -> None:
    path = folder / source / file
    path.write_text(path.read_text().replace(old, new, 1))
    split = {"nextgqa": "val", "dream1k": "test"}.get(source, "train")
    with pytest.raises(SampleError, match=message):
        read(source, folder / source, split=split)


def test_files_may_begin_with_a_mark_and_hold_any_character(tmp_path: Path) -> None:
    (tmp_path / "Charades_v1_train.csv").write_text("id,length\nA,30\n", encoding="utf-8-sig")
    (tmp_path / "charades_sta_train.txt").write_text("A 0.0 6.9##caf\u2028e\n", encoding="utf-8-sig")
    (sample,) = read("charades_sta", tmp_path)
    assert sample.meta == {"duration_s": 30.0}
    assert sample.model_dump()["query"] == "caf\u2028e"


def test_short_rows_are_told(tmp_path: Path) -> None:
    (tmp_path / "Charades_v1_train.csv").write_text("id,length\nA\n")
    (tmp_path / "charades_sta_train.txt").write_text("A 0.0 6.9##a\n")
    with pytest.raises(SampleError, match=r"Charades_v1_train\.csv line 2: is too short, length is missing"):
        read("charades_sta", tmp_path)


@pytest.mark.parametrize("ground", [None, {}, {"location": None}, {"location": {"3": None}}])
def test_nextgqa_keeps_questions_without_evidence(tmp_path: Path, ground: object) -> None:
    official.nextgqa(tmp_path, ["v"])
    (tmp_path / "gsub_val.json").write_text(json.dumps({"v": ground}))
    assert read("nextgqa", tmp_path, split="val")[0].problems == ("no span",)
    (tmp_path / "gsub_val.json").write_text('{"v": []}')
    with pytest.raises(SampleError, match=r"val\.csv line 2: v is a list where a dict belongs"):
        read("nextgqa", tmp_path, split="val")


def test_files_of_one_name_in_two_folders_are_two_samples(tmp_path: Path) -> None:
    (tmp_path / "train_100.txt").write_text("a/1.mp4 0\nb/1.mp4 1\n")
    for folder in "ba":
        (tmp_path / "videos" / folder).mkdir(parents=True)
        (tmp_path / "videos" / folder / "1.mp4").touch()
    samples = read("vidtab_quality", tmp_path, tmp_path / "videos")
    assert [sample.id for sample in samples] == ["vidtab_quality/1", "vidtab_quality/1#1"]
    assert [sample.video.path.parent.name for sample in samples] == ["a", "b"]


@pytest.mark.parametrize("content", ["[]", "5", '{"v": []}', '{"v": {"timestamps": [[0, 1]], "sentences": []}}'])
def test_json_of_another_shape_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(SampleError, match=r"train\.json"):
        read("activitynet_captions", tmp_path)


def test_wrong_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no source charades: choose one of charades_sta"):
        read("charades", tmp_path)
    with pytest.raises(InputError, match="nextgqa has no split train: choose one of val, test"):
        read("nextgqa", tmp_path)
    with pytest.raises(InputError, match="charades_sta has no split val: choose one of train, test"):
        read("charades_sta", tmp_path, split="val")
    with pytest.raises(SampleError, match=r"has no Charades_v1_train\.csv"):
        read("charades_sta", tmp_path)
    with pytest.raises(SampleError, match="no such folder of annotations"):
        read("charades_sta", tmp_path / "nowhere")
    with pytest.raises(InputError, match="no such folder of videos"):
        read("charades_sta", tmp_path, videos=tmp_path / "nowhere")


def test_every_source_has_a_reader() -> None:
    for source in SOURCES:
        with pytest.raises(InputError):
            read(source, "/nowhere/at/all", split="none such")


@pytest.mark.parametrize(
    ("source", "split"),
    [
        ("charades_sta", "train"),
        ("charades_sta", "test"),
        ("activitynet_captions", "val"),
        ("nextgqa", "val"),
        ("vidtab_quality", "train"),
        ("dream1k", "test"),
        ("mvbench", "test"),
        ("longvideobench", "val"),
        ("videochat_r1", "train"),
    ],
)
def test_samples_come_back_from_jsonl_as_they_were(
    samples_dir: Path, tmp_path: Path, source: str, split: str
) -> None:
    samples = read(source, samples_dir / "annotations" / source, split=split)
    write_jsonl(tmp_path / "s.jsonl", samples)
    here = [
        s.model_copy(update={"video": s.video.model_copy(update={"path": s.video.path.absolute()})})
        for s in samples
    ]
    assert read_jsonl(tmp_path / "s.jsonl") == here


def test_the_authors_files_are_found_under_the_names_they_are_published_with(folder: Path, tmp_path: Path) -> None:
    """Flat or in the tree they lie in, they give what their other names give, id for id."""
    published = {
        "charades_train": "Charades/charades_annotation/train.json",
        "nextgqa_val": "NextGQA/nextgqa_val.json",
        "quality_100shot": "VideoEval/Quality_Access/annotations/Quality_Access_100shot.json",
        "got_val": "Got/got_val.json",
    }
    for part, path in published.items():
        for copy in (tmp_path / "tree" / path, tmp_path / "flat" / Path(path).name):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "videochat_r1" / f"{part}.json", copy)
    ours, tree, flat = (
        read("videochat_r1", at) for at in (folder / "videochat_r1", tmp_path / "tree", tmp_path / "flat")
    )
    assert ours == tree == flat
    assert {sample.task for sample in flat} == {
        "temporal_grounding", "grounded_qa", "quality_assessment", "object_tracking"
    }  # fmt: skip


def test_files_that_some_samples_are_missing_from_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "videochat_r1/charades_train.json").unlink()
    samples = read("videochat_r1", folder / "videochat_r1")
    assert not any(sample.task == "temporal_grounding" for sample in samples)
    (message,) = caplog.messages
    assert message == (
        f"{folder}/videochat_r1: 2 of 5 files are missing: charades_train.json or train.json or "
        "Charades/charades_annotation/train.json, got_train.json or Got/got_train.json"
    )
    caplog.clear()
    read("videochat_r1", folder / "videochat_r1", part="got_val")
    read("mvbench", folder / "mvbench", split="test", task="action_sequence")
    assert not caplog.messages
    read("mvbench", folder / "mvbench", split="test")
    (message,) = caplog.messages
    assert "14 of 20 files are missing: action_prediction.json, fine_grained_action.json" in message
    assert all(f"{name}.json" in message for name in ("action_count", "egocentric_navigation", "character_order"))


def test_all_missing_files_of_a_source_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"has no Charades_v1_train\.csv and no charades_sta_train\.txt;"):
        read("charades_sta", tmp_path)
    with pytest.raises(SampleError, match=r"has no gsub_val\.json and no val\.csv;"):
        read("nextgqa", tmp_path, split="val")
