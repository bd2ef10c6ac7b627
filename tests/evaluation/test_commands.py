"""What the commands refuse, and what they print where there is little to say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from tests import official

from timesight.cli.console import percent
from timesight.cli.eval import command
from timesight.cli.eval_show import result_tables
from timesight.data import read_jsonl
from timesight.data.jsonl import write_jsonl
from timesight.errors import InputError, ModelError
from timesight.evaluation import Replies, Scoring, find_suite, score_replies
from timesight.evaluation.evaluate import evaluate
from timesight.files import json_text
from timesight.tasks import TASKS

FLAGS = ["--max-new-tokens", 8, "--workers", 0]


def invoke(*args: object) -> Any:
    return CliRunner().invoke(command, [*map(str, args)])


def refused(*args: object) -> str:
    done = invoke(*args)
    assert done.exit_code != 0
    message = str(done.exception)
    assert "\n" not in message
    return message


def write_replies(file: Path, replies: dict[str, str]) -> Path:
    file.write_text("".join(json.dumps({"id": id_, "reply": text}) + "\n" for id_, text in replies.items()))
    return file


def never(constant: str) -> Any:
    raise AssertionError(constant)


def test_no_json_holds_nan_and_no_table_either() -> None:
    content = {"a": [math.nan, (1.0, -math.inf)], "b": {"c": 2, "d": "NaN"}}
    assert json.loads(json_text(content), parse_constant=never) == {
        "a": [None, [1.0, None]],
        "b": {"c": 2, "d": "NaN"},
    }
    assert (percent(0.25), percent(0.25, "+"), percent(math.nan), percent(math.nan, "+")) == (
        "25.0",
        "+25.0",
        "–",
        "–",
    )


def test_one_video_has_no_interval(world: Path, tmp_path: Path) -> None:
    (first, *_) = samples = read_jsonl(world / "test.jsonl")
    write_jsonl(tmp_path / "one.jsonl", [s for s in samples if s.video == first.video])
    replies = write_replies(tmp_path / "r.jsonl", {first.id: TASKS[first.task].gold(first)})
    out = tmp_path / "out"
    done = invoke("score", tmp_path / "one.jsonl", "--replies", replies, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout.splitlines()[-1], parse_constant=never)
    assert printed["results"]["official"]["intervals"]["mIoU"] == [None, None]
    assert json.loads((out / "result.json").read_text(), parse_constant=never) == printed
    compared = json.loads(invoke("compare", out, out, "--json").stdout, parse_constant=never)
    assert compared["tasks"]["temporal_grounding"]["parts"][0]["metrics"]["mIoU"]["low"] is None
    assert "– to –" in invoke("compare", out, out).stdout
    assert "[–, –]" in invoke("export", out).stdout


def test_a_run_is_not_scored_over(world: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "eval.json").write_text("{}")
    replies = write_replies(tmp_path / "r.jsonl", {"a": "1 to 2"})
    score = ["score", world / "test.jsonl", "--replies", replies, "--out"]
    assert "holds a run of timesight eval, which is kept" in refused(*score, tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["eval.json"]
    assert "is not a writable folder" in refused(*score, replies / "below")
    assert "is not a writable folder" in refused(world / "test.jsonl", "--model", "no/such", "--out", replies)


def test_another_file_of_the_same_name_is_not_answered_by_the_firsts_replies(world: Path, tmp_path: Path) -> None:
    samples = read_jsonl(world / "test.jsonl")[:2]
    files = [tmp_path / name / "s.jsonl" for name in "ab"]
    for file, query in zip(files, ("the first query", "another query"), strict=True):
        write_jsonl(file, [s.model_copy(update={"query": query}) for s in samples])
    run = [*FLAGS, "--out", tmp_path / "out"]
    assert invoke(files[0], *run).exit_code == 0
    assert "holds a reply to another question, prompt or video under id" in refused(files[1], *run)
    assert invoke(files[0], *run).exit_code == 0


def test_the_command_goes_on_where_the_function_stopped_and_refuses_the_same(world: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "s.jsonl", tmp_path / "out"
    write_jsonl(file, read_jsonl(world / "test.jsonl")[:2])
    results = evaluate(file, "tiny", out, max_new_tokens=8)
    settings = (out / "eval.json").read_bytes()
    done = invoke(file, *FLAGS, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout.splitlines()[-1])
    (result,) = results.values()
    assert printed["results"]["official"]["metrics"] == result.results["official"].metrics
    assert (out / "eval.json").read_bytes() == settings
    assert "temperature 0.0, not 0.5: choose" in refused(file, *FLAGS, "--out", out, "--temperature", 0.5)
    with pytest.raises(InputError, match=r"temperature 0\.0, not 0\.5: choose"):
        evaluate(file, "tiny", out, max_new_tokens=8, temperature=0.5)


def test_a_run_without_a_single_reply_fails_and_says_why(world: Path, tmp_path: Path) -> None:
    (sample, *_) = read_jsonl(world / "test.jsonl")
    gone = sample.model_copy(update={"video": sample.video.model_copy(update={"path": tmp_path / "no.mp4"})})
    write_jsonl(tmp_path / "s.jsonl", [gone])
    message = refused(tmp_path / "s.jsonl", *FLAGS, "--out", tmp_path / "out")
    assert message == f"none of 1 items got a reply: {tmp_path / 'no.mp4'}: no such file"
    assert not (tmp_path / "out" / "result.json").exists()
    with pytest.raises(ModelError, match=re.escape(message)):
        evaluate([gone], "tiny")


def test_got10ks_own_protocol_takes_a_folder(tmp_path: Path) -> None:
    official.got10k(tmp_path, ["S"], "val")
    replies = write_replies(tmp_path / "r.jsonl", {"got10k/S": "[]"})
    flags = ["--annotations", tmp_path, "--replies", replies, "--protocol", "official"]
    assert "give the folder of predictions as the toolkit writes it" in refused("score", "got10k", *flags)


def shown(tables: Sequence[Any]) -> list[str]:
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as text:
        for table in tables:
            console.print(table)
    return [" ".join(line.split()) for line in text.get().splitlines()]


def test_the_papers_figures_on_a_part_stand_in_its_breakdown(tmp_path: Path) -> None:
    official.videomme(tmp_path, ["aaaa", "bbbb", "cccc"])
    suite = find_suite("videomme")
    samples = suite.read(tmp_path, None)
    scoring = Scoring(by=suite.by)
    result = score_replies("videomme", samples, Replies({}), False, scoring=scoring)
    lines = shown([*result_tables(result, "multiple_choice", "m", suite)])
    assert lines.index("paper: VideoChat-R1 72.2") == lines.index("short 3 0.0") + 2
    assert [line for line in lines if line.startswith("paper: VideoChat-R1")][:2] == [
        "paper: VideoChat-R1-thinking 62.1",
        "paper: VideoChat-R1 72.2",
    ]


@pytest.mark.parametrize("left", ['{"suite": "te', "[]", "[" * 100_000, '{"suite": "test"}'])
def test_results_that_are_cut_off_are_told(left: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(left)
    assert str(tmp_path / "result.json") in refused("export", tmp_path)
