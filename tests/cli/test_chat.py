"""``timesight chat`` and ``timesight serve`` as a user runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

PROGRAM = Path(sys.executable).parent / "timesight"


def chat(*args: object, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "chat", *map(str, args)], input=said, capture_output=True, text=True, check=False, timeout=300
    )


def first_video(world: Path) -> Path:
    return next(iter(sorted((world / "test").glob("*.mp4"))))


def test_scripts_get_one_object_a_question(world: Path) -> None:
    video = first_video(world)
    once = chat(video, "--json", "--clue", "--once", "/when the first shape is visible")
    assert once.returncode == 0, once.stderr
    (line,) = once.stdout.splitlines()
    reply = json.loads(line)
    assert {"text", "answer", "spans", "boxes", "passes"} <= set(reply)
    assert [seen["segments"] != [] for seen in reply["passes"]] == [True, True]
    piped = chat(video, "--json", said="/when the first shape is visible\n\n/track 0 0 1 1 0 1 red circle\n")
    when, where = map(json.loads, piped.stdout.splitlines())
    assert when["text"] == reply["passes"][0]["text"]
    assert len(where["boxes"]) == len(where["times_s"]) == 4


def test_a_conversation_from_a_pipe_ends_with_it(world: Path) -> None:
    done = chat(first_video(world), said="/when the first shape is visible\n/nonsense\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("evidence") == 1
    assert "no command /nonsense" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["no.mp4"], "no.mp4: no such file"),
        ([Path(__file__)], "test_chat.py: "),
        (["VIDEO", "--once", "/track it"], "write /track"),
        (["VIDEO", "--once", " "], "the question is empty"),
        (["VIDEO", "--model", "nowhere/at-all", "--once", "what?"], "nowhere/at-all"),
        (["VIDEO", "--fps-boost", "0.5"], "--fps-boost"),
    ],
)
def test_what_is_wrong_is_one_line(world: Path, args: list[object], reason: str) -> None:
    done = chat(*(first_video(world) if arg == "VIDEO" else arg for arg in args))
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("end_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_site_that_is_ended_leaves_nothing(tmp_path: Path, end_signal: signal.Signals) -> None:
    pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
    with subprocess.Popen(
        [PROGRAM, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(tmp_path), "PATH": "", "TIMESIGHT_PASSWORD": "open sesame"},
    ) as serving:
        assert serving.stdout is not None
        assert serving.stderr is not None
        line = serving.stdout.readline()
        address = line.split()[0]
        assert httpx.get(address, timeout=60).status_code == 401
        page = httpx.get(address, auth=("timesight", "open sesame"))
        assert page.status_code == 200
        assert "example 1: " in page.text
        listed = httpx.get(f"{address}v1/models", headers={"Authorization": "Bearer open sesame"})
        assert [model["id"] for model in listed.json()["data"]] == ["tiny"]
        serving.send_signal(end_signal)
        assert serving.wait(60) == 0, serving.stderr.read()
        assert "Traceback" not in serving.stderr.read()
    assert [path for path in tmp_path.iterdir() if "torch" not in path.name] == []  # torch keeps a folder there
