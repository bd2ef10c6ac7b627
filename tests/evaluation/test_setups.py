"""The frames and limits of other sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from timesight.artifacts import read_result
from timesight.cli import group
from timesight.errors import InputError
from timesight.evaluation import SUITES
from timesight.evaluation.setups import SETUPS, find_setup


@pytest.mark.parametrize("name", SETUPS)
def test_what_is_reported_is_about_suites(name: str) -> None:
    assert set(SETUPS[name].reported) <= set(SUITES)
    assert SETUPS[name].url.startswith("https://")


def test_the_papers_setup_reports_the_papers_figures() -> None:
    for suite, figures in find_setup("videochat-r1").reported.items():
        printed = SUITES[suite].paper["Qwen2.5-VL-7B"]
        assert figures == {metric: printed[metric] for metric in figures}


def test_an_evaluation_takes_the_frames_of_a_setup(world: Path, tmp_path: Path) -> None:
    flags = ["--limit", "2", "--max-pixels", "1568", "--total-pixels", "6272", "--json", "--workers", "0"]
    result = CliRunner().invoke(
        group, ["eval", str(world / "test.jsonl"), "--setup", "lmms-eval", "--out", str(tmp_path / "out"), *flags]
    )
    assert result.exit_code == 0, result.output
    settings = read_result(tmp_path / "out").model_dump()
    assert settings["video"]["max_frames"] == 32
    assert settings["video"]["max_pixels"] == 1568  # options win
    assert settings["video"]["total_pixels"] == 6272
    assert settings["max_new_tokens"] == 50
    assert json.loads(result.stdout.splitlines()[-1])


def test_an_unknown_setup_is_refused() -> None:
    result = CliRunner().invoke(group, ["eval", "charades_sta", "--setup", "qwen"])
    assert isinstance(result.exception, InputError)
    assert "no setup qwen: choose one of videochat-r1, qwen-report" in str(result.exception)
