"""``timesight chat`` and ``timesight serve`` as a user runs them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from timesight.artifacts import ItemEntry
from timesight.cli import main
from timesight.cli.serve import _hardest, _invitation, _with_videos
from timesight.types import Video
from timesight.video import probe

PROGRAM = Path(sys.executable).parent / "timesight"


def chat(*args: object, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "chat", *map(str, args)], input=said, capture_output=True, text=True, check=False, timeout=300
    )


def first_video(world: Path) -> Path:
    return next(iter(sorted((world / "test").glob("*.mp4"))))


@pytest.mark.slow
def test_scripts_get_one_object_a_question(world: Path) -> None:
    video = first_video(world)
    once = chat(video, "--json", "--clue", "--once", "/when the first shape is visible")
    assert once.returncode == 0, once.stderr
    (line,) = once.stdout.splitlines()
    reply = json.loads(line)
    assert {"text", "answer", "spans", "boxes", "passes"} <= set(reply)
    assert [seen["segments"] != [] for seen in reply["passes"]] == [True, True]
    piped = chat(
        video, "--json", said="/when the first shape is visible\n\n/track 0.61 0.61 0.9 0.91 0 1 white square\n"
    )
    when, where = map(json.loads, piped.stdout.splitlines())
    assert when["text"] == reply["passes"][0]["text"]
    assert len(where["boxes"]) == len(where["times_s"]) == 4


@pytest.mark.slow
def test_a_bad_line_does_not_end_the_others(world: Path) -> None:
    lines = "/nonsense\n/track 0.1 0.1 0.9 0.9 0 inf thing\n/when the first shape is visible\n<|image_pad|> what?\n"
    done = chat(first_video(world), "--json", said=lines)
    assert (done.returncode, done.stderr) == (2, "")
    records = [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]
    assert [set(record) == {"error"} for record in records] == [True, True, False, True]
    assert records[0]["error"] == "no command /nonsense; /help shows what there is"


@pytest.mark.slow
def test_a_conversation_from_a_pipe_ends_with_it(world: Path) -> None:
    done = chat(first_video(world), said="/when the first shape is visible\n/nonsense\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("evidence") == 1
    assert "no command /nonsense" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.slow
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
def test_what_is_wrong_is_one_line(
    world: Path,
    args: list[object],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Where the hub cannot be reached, it is asked for most of a minute.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    given = [str(first_video(world) if arg == "VIDEO" else arg) for arg in args]
    monkeypatch.setattr(sys, "argv", ["timesight", "chat", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    said, told = capsys.readouterr()
    assert ended.value.code == 2
    assert reason in told.splitlines()[-1]
    assert said == ""


class Kept:
    """Stands for a store: takes note of what is added."""

    def __init__(self) -> None:
        self.added: list[tuple[str, bool]] = []

    def add_example(self, video: Video, name: str, *, listed: bool = True) -> str:
        probe(video)
        self.added.append((name, listed))
        return name


def test_the_gallery_says_what_cannot_be_read(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
    asked = {"task": "temporal_grounding", "question": "it moves", "truth": "", "reply": "r", "parsed": True}
    asked |= {"spans": {"truth": [[0, 1]], "answer": []}, "groups": {}, "weights": {"official": 1.0}, "data": "d"}
    metrics = {"a": {"mIoU": 0.5}, "b": {"mIoU": 0.25}, "c": {"mIoU": 1.0}, "d": None}
    paths = {"a": str(first_video(world)), "b": "b.mp4", "c": "c.mp4", "d": str(tmp_path)}
    rows = [asked | {"id": n, "video": paths[n], "metrics": {"official": row}} for n, row in metrics.items()]
    items = {row["id"]: ItemEntry.model_validate(row) for row in rows}
    monkeypatch.setattr("timesight.artifacts.read_items", lambda _: items)
    store = Kept()
    shown = _with_videos(_hardest(tmp_path), store)  # type: ignore[arg-type]
    assert [(item.token, item.figure, item.title) for item in shown] == [("a", "mIoU: 0.50", "it moves")]
    assert store.added == [("a", False)]
    assert capsys.readouterr().err == "1 of 2 gallery videos cannot be read: b.mp4: no such file\n"


def test_the_address_is_one_that_can_be_opened() -> None:
    assert _invitation("127.0.0.1", 8400).startswith("http://127.0.0.1:8400/  ")
    assert _invitation("::1", 8400).startswith("http://[::1]:8400/  ")
    for host in ("0.0.0.0", "::"):
        assert _invitation(host, 8400).startswith(
            f"http://{socket.gethostname()}:8400/  (port 8400 of all addresses"
        )


@pytest.mark.slow
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
