"""The program as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig

from timesight.cli import COMMANDS, main
from timesight.cli.chat import command as chat_command
from timesight.cli.options import clue_settings
from timesight.cli.serve import command as serve_command
from timesight.infer.clue import ClueSettings
from timesight.tasks import TASKS


def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "timesight"
    return subprocess.run([program, *map(str, args)], capture_output=True, text=True, check=False, cwd=cwd)


def last_json(result: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert result.returncode == 0, result.stderr
    content: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return content


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert "Example: timesight" in result.stdout


def test_help_lists_all_commands() -> None:
    result = run("--help")
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "args", [["data", "list"], ["eval", "--list"], ["eval", "score", "--help"], ["train", "--help"]]
)
def test_what_asks_no_model_loads_no_torch(args: list[str]) -> None:
    load = f"import sys; from timesight.cli import group; group({args}, standalone_mode=False)"
    code = f"{load}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_second_look_of_the_commands_is_that_of_the_library() -> None:
    for command in (chat_command, serve_command):
        flags = command.make_context("x", ["v.mp4"] if command is chat_command else []).params
        assert clue_settings(flags) == ClueSettings()


@pytest.mark.slow
def test_world(tmp_path: Path) -> None:
    content = last_json(run("world", tmp_path / "w", "--train", 3, "--test", 2, "--seed", 1, "--json"))
    assert content["num_videos"] == {"train": 3, "test": 2}
    assert len(list((tmp_path / "w/train").glob("*.mp4"))) == 3


@pytest.mark.slow
def test_eval_prints_figures_and_keeps_replies(world: Path, tmp_path: Path) -> None:
    content = last_json(run("eval", world / "test.jsonl", "--out", tmp_path, "--json"))
    figures = content["results"]["official"]  # type: ignore[index]
    assert 0.0 < figures["metrics"]["mIoU"] < 1.0
    assert figures["metrics"]["mIoU"] > figures["baselines"]["whole video"]["mIoU"]
    assert len((tmp_path / "replies.jsonl").read_text().splitlines()) == content["num_items"]


@pytest.mark.slow
def test_eval_of_several_tasks_with_a_judge_and_wordings(full_world: Path, tmp_path: Path) -> None:
    wordings = tmp_path / "wordings.yaml"
    wordings.write_text('quality_assessment: "Good or bad? {form}"')
    args = ("eval", full_world / "test.jsonl", "--judge", "world", "--prompts", wordings)
    result = run(*args, "--out", tmp_path / "e")
    assert result.returncode == 0, result.stderr
    assert "test: object_tracking, official_on_n_frames protocol" in result.stdout
    assert "repeat the" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    figures = last_json(run(*args, "--out", tmp_path / "e", "--json"))["results"]
    assert "captioning/event_recall" in figures["official"]["metrics"]  # type: ignore[index]


def test_bench_rewards() -> None:
    rows = last_json(run("bench", "rewards", "--replies", 100, "--fuzz", 60, "--json"))["rows"]
    assert [row["task"] for row in rows] == list(TASKS)  # type: ignore[index,union-attr]


@pytest.mark.slow
def test_eval_in_think_mode(world: Path) -> None:
    result = run("eval", world / "test.jsonl", "--think")
    assert result.returncode == 0, result.stderr
    assert "mIoU" in result.stdout
    assert "replies unparsable" in result.stdout


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero2", "zero3"])
def test_launch_config(name: str) -> None:
    content = yaml.safe_load(run("launch-config", name, "--gpus", 16, "--machines", 2).stdout)
    assert (content["num_processes"], content["num_machines"]) == (16, 2)
    known = {field.name for field in fields(ClusterConfig)}
    assert set(content) <= known  # what accelerate launch takes


@pytest.mark.slow
def test_plan() -> None:
    content = last_json(
        run("plan", "charades/grpo-24gb", "--samples", 800, "--tflops", 100, "--gbs", 900, "--json")
    )
    assert {"tokens_per_step", "memory_gb", "seconds_per_step", "steps"} <= content.keys()
    assert content["steps"] == 100


@pytest.mark.slow
def test_a_preview_before_training(world: Path, tmp_path: Path) -> None:
    args = ("train", "tiny/grpo", "--preview", "--data", world / "train.jsonl", "--out", tmp_path)
    (task,) = last_json(run(*args, "--json"))["tasks"]  # type: ignore[misc]
    assert task["task"] == "temporal_grounding"
    assert task["components"]["format"] > 0.8
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.fixture
def bad_line(tmp_path: Path) -> Path:
    record = {"task": "temporal_grounding", "video": "v.mp4", "query": "q", "spans": [[0, 1]]}
    lines = [record | {"id": f"s{i}"} for i in range(1, 10)]
    lines[6]["quary"] = lines[6].pop("query")
    file = tmp_path / "bad.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    caption = {"id": "c", "task": "captioning", "video": "v.mp4", "caption": "a dog jumps"}
    (tmp_path / "captions.jsonl").write_text(json.dumps(caption) + "\n")
    return file


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["eval", "missing.jsonl"], "missing.jsonl: no such file"),
        (["eval", "."], "is not a file"),
        (["eval", "bad.jsonl"], "bad.jsonl line 7, id s7: unknown key 'quary'; did you mean 'query'?"),
        (["eval", "bad.jsonl", "--tempreature", "1"], "No such option"),
        (
            ["train", "tiny/grpo", "--out", "r", "--set", "train.learning_rat=1"],
            "did you mean learning_rate?",
        ),
        (["train", "tiny/nothing", "--out", "r"], "no recipe tiny/nothing"),
        (["plan", "charades/grpo"], "say with --samples"),
        (
            ["plan", "tiny/pretrain"],
            "new:qwen3_vl does not exist before its run: --set model=tiny names one of its size",
        ),
        (["eval", "captions.jsonl"], "captioning is scored by a judge: name one with --judge"),
        (["eval", "captions.jsonl", "--judge-url", "http://x"], "--judge-url goes with --judge NAME"),
        (["eval", "captions.jsonl", "--model-url", "http://x", "--vllm-url", "http://y"], "leave one of them out"),
        (["eval", "captions.jsonl", "--prompts", "missing.yaml"], "missing.yaml: no such file"),
        (["eval", "captions.jsonl", "--judge", "local:"], "--judge local: needs a model"),
        (["eval", "captions.jsonl", "--prompts", "captions.jsonl"], "no task id; known: temporal_grounding"),
        (["eval", "captions.jsonl", "--task-file", "missing.py"], "missing.py: no such file of tasks"),
        (["world", "w", "--task", "counting"], "is not one of 'temporal_grounding'"),
        (["merge", "missing", "out"], "holds no adapter"),
        (["merge", ".", "out"], "holds no model"),
        (["train", "tiny/pretrain", "--preview", "--out", "r"], "it is for recipes of kind grpo"),
        (["sft", "tiny/pretrain", "--out", "bad.jsonl"], "is a file"),
        (["train", "tiny/grpo", "--out", "r", "--data", "missing.jsonl"], "missing.jsonl: no such file"),
        (["train", "tiny/grpo", "--out", "r", "--model", "./no/model"], "no model at ./no/model"),
        (["report", "."], "holds neither a training run"),
        (["world", "bad.jsonl"], "is a file"),
        (["world", "w", "--train", "-1"], "--train"),
        (["fly"], "No such command"),
    ],
)
def test_bad_input_ends_in_one_clear_line(
    args: list[str],
    message: str,
    bad_line: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bad_line.parent)
    monkeypatch.setattr(sys, "argv", ["timesight", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in told
    assert told.rstrip().splitlines()[-1].startswith("Error: ")


CLIPS = ["making_cake.mp4", "playing_guitar.mp4", "variable_fps_22.mp4", "nasa_13013.mp4", "h265_video.mp4"]
CLIPS += ["h264_10bits.mp4", "av1_video.mkv", "flipping_a_pancake.mkv", "video_90.mov", "corrupted.mp4"]


@pytest.fixture
def real_clips(samples_dir: Path, tmp_path: Path) -> Path:
    videos: list[object] = [str(samples_dir / "videos" / name) for name in CLIPS]
    videos.append({"path": str(samples_dir / "videos/tennis_frames"), "fps": 3})
    file = tmp_path / "real.jsonl"
    with file.open("w") as out:
        for number, video in enumerate(videos):
            record = {
                "id": f"real#{number}",
                "task": "temporal_grounding",
                "video": video,
                "query": "someone moves",
            }
            out.write(json.dumps(record | {"spans": [[0, 1]]}) + "\n")
    return file


@pytest.mark.slow
def test_real_clips_are_evaluated_and_the_corrupt_one_is_named(real_clips: Path) -> None:
    content = last_json(run("eval", real_clips, "--json"))
    assert content["num_items"] == 10
    assert content["num_quarantined"] == 1
    assert "corrupted.mp4" in str(content["quarantined"])


@pytest.mark.slow
def test_real_clips_are_trained_on_and_the_corrupt_one_is_named(real_clips: Path, tmp_path: Path) -> None:
    small = [
        "train.max_steps=3",
        "train.batch_size=11",
        "grpo.num_generations=2",
        "train.max_broken_share=0.5",
    ]
    sets = [part for override in small for part in ("--set", override)]
    result = run("train", "tiny/grpo", "--data", real_clips, "--out", tmp_path / "run", *sets)
    assert result.returncode == 0, result.stderr
    assert "1 videos could not be read" in result.stdout
    assert "corrupted.mp4" in (tmp_path / "run/quarantine.jsonl").read_text()
    assert run("report", tmp_path / "run").returncode == 0
