from __future__ import annotations

import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from timesight.training.metrics import MetricsLog
from timesight.training.stall import stall_warnings
from timesight.training.watch import WINDOW, Watch

HEALTHY = {
    "reward": 1.0,
    "entropy": 0.8,
    "completion_tokens": 30.0,
    "kl": 0.01,
    "sampler_kl": 1e-4,
    "truncated_share": 0.0,
    "frac_reward_zero_std": 0.2,
}


def warned(later: dict[str, float], caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is logged where a healthy run continues with ``later`` for as long again, twice."""
    watch = Watch()
    with caplog.at_level(logging.WARNING, logger="timesight"):
        for step in range(3 * WINDOW):
            watch.on_log(step + 1, HEALTHY | (later if step >= WINDOW else {}), Path())
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ({"reward": 0.4}, "the mean reward fell from 1.00 to"),
        ({"entropy": 0.01}, "the entropy fell from 0.800"),
        ({"completion_tokens": 4.0}, "replies shrank from 30 to"),
        ({"kl": 3.0}, "raise grpo.beta"),
        ({"sampler_kl": 0.5}, "the generator's probabilities are not the trainer's"),
        ({"truncated_share": 0.9}, "raise grpo.max_completion_length"),
        ({"frac_reward_zero_std": 1.0}, "teach nothing"),
    ],
)
def test_what_goes_wrong_is_said_once(later: dict[str, float], said: str, caplog: pytest.LogCaptureFixture) -> None:
    (message,) = warned(later, caplog)
    assert said in message


def test_a_healthy_run_is_left_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    assert warned({"reward": 1.4, "entropy": 0.3, "kl": 0.1}, caplog) == []


def test_a_stage_that_does_not_end_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = MetricsLog(tmp_path / "m.jsonl", torch.device("cpu"), SimpleNamespace(is_main_process=True))
    with caplog.at_level(logging.WARNING, logger="timesight"), stall_warnings(metrics, 3, limit_s=0.05):
        with metrics.stage("sample"):
            time.sleep(0.5)
        for _ in range(20):
            with metrics.stage("update"):
                time.sleep(0.005)
    (record,) = caplog.records
    assert record.getMessage().startswith("process 3 has been in sample for over 0 s")
