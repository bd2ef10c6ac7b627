"""Small trees in the layouts in which the sources are published, made up, for readers, builder and suites.

Each function writes annotations for ``videos`` (ids) under ``root`` and returns how many records there are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DURATION_S = 6.0


def _json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def _parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    from pyarrow import Table, parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(Table.from_pylist(rows), file)


def charades_sta(root: Path, videos: Sequence[str], split: str = "train") -> int:
    """Two queries a video."""
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"{v} {n}.0 {n + 2}.5##a person does thing {n}." for v in videos for n in range(2)]
    (root / f"charades_sta_{split}.txt").write_text("\n".join(lines) + "\n")
    rows = ["id,length", *(f"{v},{DURATION_S}" for v in videos)]
    (root / f"Charades_v1_{split}.csv").write_text("\n".join(rows) + "\n")
    return len(lines)


def activitynet_captions(root: Path, videos: Sequence[str], split: str = "val_2") -> int:
    """Two sentences a video."""
    record = {"duration": DURATION_S, "timestamps": [[0.5, 3.0], [2.0, 6.0]], "sentences": [" One.", "Two."]}
    _json(root / f"{split}.json", dict.fromkeys(videos, record))
    return 2 * len(videos)


def nextgqa(root: Path, videos: Sequence[str], split: str = "val") -> int:
    """One question a video."""
    root.mkdir(parents=True, exist_ok=True)
    head = "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
    rows = [f"{v},180,96,64,what happens,b,3,TN,a,b,c,d,e" for v in videos]
    (root / f"{split}.csv").write_text("\n".join([head, *rows]) + "\n")
    ground = {"duration": DURATION_S, "location": {"3": [[1.0, 2.5]]}, "fps": 30}
    _json(root / f"gsub_{split}.json", dict.fromkeys(videos, ground))
    return len(rows)


def got10k(root: Path, names: Sequence[str], split: str = "train", num_frames: int = 20) -> int:
    """A sequence of pictures a name, with a box that moves to the right."""
    from PIL import Image

    for name in names:
        folder = root / split / name
        folder.mkdir(parents=True)
        for number in range(1, num_frames + 1):
            Image.new("RGB", (96, 64), (number * 5, 80, 120)).save(folder / f"{number:08d}.jpg")
        (folder / "groundtruth.txt").write_text("".join(f"{n + 10},20,30,25\n" for n in range(num_frames)))
        for label, value in (("cover", "8"), ("absence", "0"), ("cut_by_image", "0")):
            (folder / f"{label}.label").write_text(f"{value}\n" * num_frames)
        (folder / "meta_info.ini").write_text("[METAINFO]\nobject_class: brown_bear\nresolution: (96, 64)\n")
    (root / split / "list.txt").write_text("\n".join(names) + "\n")
    return len(names)


def fiber(root: Path, videos: Sequence[str]) -> int:
    """One caption a video."""
    _json(root / "fiber_1k.json", [{"path": f"clips/{v}.mp4", "caption": f"A long tale of {v}."} for v in videos])
    return len(videos)


def vidtab_quality(root: Path, videos: Sequence[str], split: str = "train_100") -> int:
    """One label a video."""
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{split}.txt").write_text("".join(f"{v}.mp4 {n % 2}\n" for n, v in enumerate(videos)))
    return len(videos)


def videomme(root: Path, videos: Sequence[str], as_parquet: bool = True, subtitles: bool = True) -> int:
    """Three questions a video; every other video has subtitles."""
    rows = [
        {
            "video_id": f"{index:03d}",
            "duration": ("short", "medium", "long")[index % 3],
            "domain": "Knowledge",
            "sub_category": "Humanity & History",
            "url": "",
            "videoID": video,
            "question_id": f"{index:03d}-{number}",
            "task_type": "Counting Problem",
            "question": f"Question {number}?",
            "options": ["A. One.", "B. Two.", "C. Three.", "D. Four."],
            "answer": "ABC"[number],
        }
        for index, video in enumerate(videos)
        for number in range(3)
    ]
    if as_parquet:
        _parquet(root / "test-00000-of-00001.parquet", rows)
    else:
        _json(root / "videomme.json", rows)
    if subtitles:
        (root / "subtitle").mkdir()
        for video in videos[::2]:
            cue = "1\n00:00:01,000 --> 00:00:02,500\n<i>Hello</i>\nthere\n\n2\n00:00:03,000 --> 00:00:04,000\nBye\n"
            (root / "subtitle" / f"{video}.srt").write_text(cue)
    return len(rows)


def mvbench(root: Path, videos: Sequence[str]) -> int:
    """Two tasks, one with windows, one about folders of frames, and one with a single candidate."""
    base = {"question": "What happens?", "candidates": ["this", "that"], "answer": "that"}
    _json(root / "action_sequence.json", [base | {"video": f"{v}.mp4", "start": 0.5, "end": 4.0} for v in videos])
    _json(root / "character_order.json", [base | {"video": f"{v}.mp4", "candidates": ["that"]} for v in videos])
    _json(
        root / "episodic_reasoning.json",
        [base | {"video": f"{v}_clip", "start": 0.0, "end": 4.0, "fps": 3, "subtitle": "Hi."} for v in videos],
    )
    return 3 * len(videos)


def perception_test(root: Path, videos: Sequence[str], as_parquet: bool = False) -> int:
    """Two questions a video."""
    question = {
        "question": "Is the camera moving?",
        "options": ["moving", "static or shaking", "I don't know"],
        "area": "physics",
        "reasoning": "descriptive",
        "tag": ["motion"],
    }
    if as_parquet:
        rows = [
            question | {"video_name": v, "question_id": str(n), "answer_id": str(n)}
            for v in videos
            for n in range(2)
        ]
        _parquet(root / "mc_question_val" / "validation-00000-of-00001.parquet", rows)
        return len(rows)
    about = {"split": "valid", "frame_rate": 30.0, "num_frames": 180}
    questions = [question | {"id": n, "answer_id": n} for n in range(2)]
    _json(root / "mc_question_valid.json", {v: {"metadata": about, "mc_question": questions} for v in videos})
    return 2 * len(videos)


def longvideobench(root: Path, videos: Sequence[str]) -> int:
    """One question a video, subtitles in both of their forms."""
    _json(
        root / "lvb_val.json",
        [
            {
                "id": f"{v}_0",
                "video_path": f"{v}.mp4",
                "question": "What is said?",
                "candidates": ["a", "b", "c", "d"],
                "correct_choice": n % 4,
                "question_category": "T2A",
                "topic_category": "KG-Knowledge-Geography",
                "level": "L1-Perception",
                "duration_group": (15, 60, 600, 3600)[n % 4],
                "duration": DURATION_S,
                "subtitle_path": f"{v}_en.json",
                "starting_timestamp_for_subtitles": 10,
            }
            for n, v in enumerate(videos)
        ],
    )
    timed = [{"timestamp": [2.0, 9.0], "text": "before"}, {"timestamp": [11.0, 12.5], "text": "in time"}]
    clocked = [
        {"start": "00:00:08.000", "end": "00:00:09.000", "line": "before"},
        {"start": "00:00:11.000", "end": "00:00:12.500", "line": "in time"},
    ]
    for n, v in enumerate(videos):
        _json(root / "subtitles" / f"{v}_en.json", clocked if n % 2 else timed)
    return len(videos)


def dream1k(root: Path, videos: Sequence[str]) -> int:
    """One caption a video."""
    root.mkdir(parents=True, exist_ok=True)
    records = [
        {
            "idx": v,
            "dataset": f"dream/{('movie_live_action', 'stock_video')[n % 2]}",
            "messages": [
                {"role": "user", "content": [{"type": "video", "text": None}, {"text": "Describe it."}]},
                {"role": "assistant", "content": [{"reference": f"A man waves in {v}."}]},
            ],
            "extra_info": {"events": ["A man waves."], "duration": DURATION_S},
        }
        for n, v in enumerate(videos)
    ]
    (root / "DREAM-1k.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return len(videos)
