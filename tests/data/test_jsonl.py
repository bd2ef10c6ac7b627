from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from timesight.data import read_jsonl
from timesight.data.jsonl import write_jsonl
from timesight.errors import InputError, SampleError
from timesight.types import Sample


def record(number: int, **changes: Any) -> dict[str, Any]:
    base = {
        "id": f"s{number}",
        "task": "temporal_grounding",
        "video": "clips/v.mp4",
        "query": "a door opens",
        "spans": [[1, 2]],
    }
    return {key: value for key, value in (base | changes).items() if value is not ...}


def write(path: Path, records: list[dict[str, Any] | str]) -> Path:
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_reads_samples_and_resolves_videos_from_the_files_folder(tmp_path: Path) -> None:
    window = {"path": "frames", "fps": 3, "start_s": 1}
    file = write(tmp_path / "a.jsonl", [record(0), "", record(1, video=window, meta={"source": "x"})])
    first, second = read_jsonl(file)
    assert first.video.path == tmp_path / "clips/v.mp4"
    assert (second.video.path, second.video.fps, second.video.start_s) == (tmp_path / "frames", 3.0, 1.0)
    assert second.meta == {"source": "x"}


def test_odd_truth_is_kept_and_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [record(0, spans=[[9, 3]]), record(1)])
    odd, fine = read_jsonl(file)
    assert odd.problems == ("span 9.0 to 3.0 is reversed",)
    assert fine.problems == ()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (record(6, quary="x"), "unknown key 'quary'; did you mean 'query'?"),
        (record(6, query=...), "key 'query' is missing"),
        (record(6, spans=[[1, "x"]]), "spans.0.1"),
        (record(6, task="grounding"), "task 'grounding' is not one of temporal_grounding"),
        (record(6, video={"path": "v.mp4", "start_s": 5, "end_s": 2}), "the window ends"),
        (record(3), "id s3 is already on line 4"),
        ("{not json", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"id": ' + "1" * 5_000 + "}", "a number of more than 4,300 digits"),
        ('{"id": "\\ud800"}', "half of a surrogate pair"),
        (record(6, where="here"), "unknown key 'where'"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path: Path, bad: Any, message: str) -> None:
    file = write(tmp_path / "a.jsonl", [*(record(i) for i in range(6)), bad, record(7)])
    with pytest.raises(SampleError) as caught:
        read_jsonl(file)
    assert str(caught.value).startswith(f"{file} line 7")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_odd_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    (odd,) = read_jsonl(write(tmp_path / "a.jsonl", [record(0, spans=[[math.nan, 3]], meta={"most": math.inf})]))
    write_jsonl(tmp_path / "b.jsonl", [odd])
    (back,) = read_jsonl(tmp_path / "b.jsonl")
    assert back.problems == odd.problems == ("span nan to 3.0 is not finite",)
    assert back.meta == {"most": math.inf}


def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    samples = read_jsonl(write(tmp_path / "a.jsonl", [record(0)]))
    for out, reason in ("a.jsonl/b.jsonl", "a.jsonl is not a folder"), ("folder", "is a directory"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=rf"{out}: cannot be written \(.*{reason}\)"):
            write_jsonl(tmp_path / out, samples)

    def broken() -> Iterator[Sample]:
        yield from samples
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_jsonl(tmp_path / "b.jsonl", broken())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "folder"]


def test_files_that_are_no_samples(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00\x01")
    for name, message in {
        "missing.jsonl": "no such file",
        ".": "is not a file",
        "empty.jsonl": "holds no samples",
        "binary.jsonl": "not UTF-8",
    }.items():
        with pytest.raises(SampleError, match=message):
            read_jsonl(tmp_path / name)
