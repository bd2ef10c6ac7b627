"""Data sets as ``datasets`` saves them, and from a hub: a small server that speaks what the client asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from datasets import Dataset, DatasetDict, Features, Value, Video

from timesight.data import read_hub
from timesight.errors import InputError, SampleError

ROW = {"task": "temporal_grounding", "query": "a", "spans": [[1.0, 2.0]]}


def test_a_saved_folder_with_paths(tmp_path: Path) -> None:
    rows = [ROW | {"id": f"r{n}", "video": f"v{n}.mp4"} for n in range(3)]
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(tmp_path / "saved")
    samples = read_hub(str(tmp_path / "saved"), "train", tmp_path / "files")
    assert [s.id for s in samples] == ["r0", "r1", "r2"]
    assert samples[0].video.path == tmp_path / "saved/v0.mp4"
    with pytest.raises(InputError, match="has no split test; it has train"):
        read_hub(str(tmp_path / "saved"), "test", tmp_path / "files")


def test_videos_inside_the_table_are_written_out_once(video: Path, tmp_path: Path) -> None:
    features = Features(
        {"task": Value("string"), "query": Value("string"), "spans": [[Value("float64")]], "video": Video()}
    )
    inside = {"bytes": video.read_bytes(), "path": "v.mp4"}
    table = {"task": [ROW["task"]] * 2, "query": ["a", "b"], "spans": [ROW["spans"]] * 2, "video": [inside] * 2}
    embedded = Dataset.from_dict(table, features=features)
    embedded.to_parquet(tmp_path / "set/train.parquet")
    samples = read_hub(str(tmp_path / "set"), "train", tmp_path / "files")
    assert [s.id for s in samples] == ["set/train-0", "set/train-1"]
    (file,) = (tmp_path / "files").iterdir()
    assert file.read_bytes() == video.read_bytes()
    assert all(s.video.path == file for s in samples)


def test_tasks_may_be_mixed(tmp_path: Path) -> None:
    rows = [
        ROW | {"video": "v.mp4"},
        {"task": "multiple_choice", "video": "v.mp4", "question": "q", "options": ["x", "y"], "answer": 1},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [s.task for s in read_hub(str(tmp_path), "train", tmp_path)] == ["temporal_grounding", "multiple_choice"]


def test_rows_that_are_no_samples_are_told(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"task": "dancing", "video": "v.mp4"}) + "\n")
    with pytest.raises(SampleError, match="train row 0: task 'dancing' is not one of"):
        read_hub(str(tmp_path), "train", tmp_path)
    with pytest.raises(InputError, match="cannot be loaded"):
        read_hub(str(tmp_path / "nowhere/at/all"), "train", tmp_path)


SHA = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """One public data set, ``maker/clips``, with a table and the video it names."""

    files: ClassVar[dict[str, bytes]] = {
        "train.jsonl": (json.dumps(ROW | {"id": "h0", "video": "v.mp4"}) + "\n").encode(),
        "v.mp4": b"frames",
    }

    def answer(self, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        listing = [
            {"type": "file", "path": name, "rfilename": name, "size": len(content), "oid": SHA}
            for name, content in self.files.items()
        ]
        if not path.startswith(("/api/datasets/maker/clips", "/datasets/maker/clips")):
            self.refuse("RepoNotFound")
        elif "/tree/" in path:
            self.answer(json.dumps(listing).encode())
        elif "/resolve/" in path:
            name = path.rpartition("/")[2]
            if name in self.files:
                self.answer(self.files[name], "text/plain", ETag=f'"{name}"', X_Repo_Commit=SHA)
            else:
                self.refuse("EntryNotFound")
        else:
            about: dict[str, Any] = {"id": "maker/clips", "sha": SHA, "private": False, "gated": False}
            about |= {"siblings": listing, "tags": [], "downloads": 0, "likes": 0, "disabled": False}
            self.answer(json.dumps(about).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    do_HEAD = do_GET  # noqa: N815 - the name http.server calls

    def log_message(self, *unused: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_data_set_comes_from_the_hub(hub: str, tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from timesight.data import read_hub; from timesight.errors import InputError\n"
        "(sample,) = read_hub('maker/clips', 'train', Path('files'))\n"
        "print(sample.id, sample.video.path.read_bytes())\n"
        "try: read_hub('maker/nothing', 'train', Path('files'))\n"
        "except InputError as error: print('told:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, told = done.stdout.splitlines()
    assert first == "h0 b'frames'"
    assert told.startswith("told: maker/nothing: cannot be loaded (")
