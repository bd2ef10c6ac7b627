"""``timesight data`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import official
from tests.cli.test_cli import last_json, run

from timesight.data.build import VIDEOCHAT_R1_18K
from timesight.tasks import TASKS


def test_data_list() -> None:
    sources = last_json(run("data", "list", "--json"))["sources"]
    assert sources["mvbench"]["task"] == "multiple_choice"  # type: ignore[index]
    shown = run("data", "list").stdout
    assert all(name in shown for name in sources)  # type: ignore[attr-defined]
    assert max(len(line) for line in shown.splitlines()) <= 80


@pytest.mark.slow
def test_data_check(world: Path, tmp_path: Path) -> None:
    file = world / "test.jsonl"
    assert run("data", "check", file).stdout.strip().endswith("nothing wrong")
    records = [json.loads(line) | {"video": str(world / json.loads(line)["video"])} for line in file.open()]
    records[0]["spans"] = [[5, 1]]
    records[1]["video"] = str(tmp_path / "gone.mp4")
    bad = tmp_path / "bad.jsonl"
    bad.write_text("".join(json.dumps(record) + "\n" for record in records))
    result = run("data", "check", bad, "--videos", "--fix", tmp_path / "good.jsonl", "--json")
    content = json.loads(result.stdout.splitlines()[-1])
    assert result.returncode == 1
    assert [(p["line"], p["kind"]) for p in content["problems"]] == [(1, "reversed_span"), (2, "video_missing")]
    assert content["fixed"] == {"kept": len(records) - 2, "fixed": 0, "dropped": 2}
    good = tmp_path / "good.jsonl"
    assert run("data", "check", good, "--videos").returncode == 0
    shown = run("data", "check", bad)
    assert f"line 1 {records[0]['id']}: span 5.0 to 1.0 is reversed [reversed_span]" in shown.stdout
    table = [line for line in shown.stdout.splitlines()[1:] if str(bad) not in line]
    assert max(map(len, table)) <= 80
    (tmp_path / "garbage.jsonl").write_text("{\n")
    for args, message in (
        (["--fix", bad], "already exists"),
        (["--report", bad], "already exists"),
        (["--fix", tmp_path / "n.jsonl", "--report", tmp_path / "n.jsonl"], "cannot be both"),
        (["--report", bad / "r.json"], "bad.jsonl is not a folder"),
        (["--against", tmp_path / "none.jsonl"], "no such file"),
        (["--against", tmp_path / "garbage.jsonl"], "garbage.jsonl: holds no samples to compare with"),
    ):
        refused = run("data", "check", bad, *args)
        assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr
    (tmp_path / "garbage.jsonl").write_text("{\n" + good.read_text())
    compared = run("data", "check", good, "--against", tmp_path / "garbage.jsonl")
    assert "1 lines of the other file are no samples and were not compared" in compared.stdout


@pytest.mark.slow
def test_data_build(tmp_path: Path) -> None:
    official.charades_sta(tmp_path / "datasets/charades_sta", ["A", "B"])
    for name in ("A", "B"):
        (tmp_path / "datasets/charades_sta" / f"{name}.mp4").touch()
    args = ("data", "build", "videochat-r1-18k", "--root", tmp_path / "datasets", "--out", tmp_path / "out")
    content = last_json(run(*args, "--queries", "all", "--json"))
    assert content["counts"] == dict.fromkeys(VIDEOCHAT_R1_18K, 0) | {"charades_sta": 4}
    again = run(*args)
    assert (again.returncode, "joint.jsonl: already exists" in again.stderr) == (2, True)
    (tmp_path / "datasets/fiber").mkdir()
    partly = run(*args[:-1], tmp_path / "partly")
    assert (partly.returncode, "left out: fiber: " in partly.stderr) == (1, True)
    shown = partly.stdout
    assert "5338" in shown
    assert "not found" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    for wrong, message in (
        (("data", "build", "r1", "--out", tmp_path), "no set r1: there is videochat_r1_18k"),
        ((*args[:3], "--out", tmp_path), "no source found"),
        ((*args, "--videos", "charades_sta"), "write SOURCE=DIR"),
    ):
        refused = run(*wrong)
        assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr


@pytest.mark.slow
def test_data_convert(full_world: Path, tmp_path: Path) -> None:
    result = run("data", "convert", full_world / "test.jsonl", tmp_path / "m.jsonl", "--to", "trl", "--json")
    content = json.loads(result.stdout.splitlines()[-1])
    assert content["counts"].keys() == content["examples"].keys() == TASKS.keys()
    assert content["examples"]["multiple_choice"]["answer"] in "ABCDE"
    back = run("data", "convert", tmp_path / "m.jsonl", tmp_path / "s.jsonl")
    assert back.returncode == 0
    for name, example in content["examples"].items():
        assert f"{content['counts'][name]} {name}, such as {example['id']}" in back.stdout
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == sum(content["counts"].values())
    assert "already exists" in run("data", "convert", tmp_path / "m.jsonl", tmp_path / "s.jsonl").stderr
    (tmp_path / "none.json").write_text("[]")
    assert "holds no conversations" in run("data", "convert", tmp_path / "none.json", tmp_path / "o.jsonl").stderr
    partly = run("data", "convert", full_world / "test.jsonl", tmp_path / "n.jsonl", "--to", "swift")
    assert partly.returncode == 1
    assert "asks about a window of its video" in partly.stderr
