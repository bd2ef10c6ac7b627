"""Means over seeds, verdicts, and baselines of a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from timesight.artifacts import ItemEntry, ProtocolFigures, Spans
from timesight.errors import RecipeError
from timesight.reproduce import Measured, read_table, table_result
from timesight.statistics import Interval, cluster_bootstrap, over_runs

MEASUREMENT = {
    "name": "grounding",
    "world": {"num_videos": 4, "tasks": ["temporal_grounding"]},
    "metrics": {"mIoU": 0.593},
}
ROWS = {
    "base": {"row": "Qwen", "model": "tiny", "evaluate": [MEASUREMENT]},
    "grpo": {
        "row": "+ GRPO",
        "train": {"kind": "grpo", "data": {"jsonl": "train.jsonl"}},
        "evaluate": [MEASUREMENT],
    },
}


def write(folder: Path, claim: dict[str, object], rows: dict[str, object] = ROWS) -> Path:  # type: ignore[assignment]
    table = {"title": "Grounding", "rows": list(rows), "claims": [{"says": "GRPO helps", **claim}]}
    for name, content in {"table": table, **rows}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


def measured(ious: list[float], blind: float = 0.3) -> Measured:
    items = {
        f"q{n}": ItemEntry(
            id=f"q{n}",
            task="temporal_grounding",
            video=f"v{n // 2}.mp4",
            question="?",
            truth="",
            reply="",
            parsed=True,
            spans=Spans(),
            groups={},
            metrics={"official": {"mIoU": iou}},
            weights={"official": 1.0},
            data="",
        )
        for n, iou in enumerate(ious)
    }
    interval = cluster_bootstrap(ious, [item.video_path for item in items.values()])
    figures = ProtocolFigures(
        metrics={"mIoU": interval.mean},
        intervals={"mIoU": (interval.low, interval.high)},
        baselines={"whole video": {"mIoU": blind}},
    )
    return Measured(items, figures, "official")


def ious(mean: float, seed: int, num: int = 200) -> list[float]:
    return list(np.clip(np.random.default_rng(seed).normal(mean, 0.1, num), 0, 1))


@pytest.mark.parametrize(
    ("gain", "margin", "verdict"),
    [
        (0.2, 0.0, "holds"),
        (-0.2, 0.0, "does not hold"),
        (0.0, 0.0, "cannot be told"),
        (0.0, 0.1, "holds"),
        (-0.2, 0.1, "does not hold"),
        (-0.1, 0.1, "cannot be told"),
    ],
)
def test_a_claim_gets_the_verdict_of_the_rule(gain: float, margin: float, verdict: str, tmp_path: Path) -> None:
    claim = {"better": "grpo", "than": ["base"], "figures": ["grounding/mIoU"], "margin": margin}
    table = read_table(write(tmp_path, claim))
    base = {None: measured(ious(0.5, 0))}
    grpo = {seed: measured(ious(0.5 + gain, seed)) for seed in (1, 2, 3)}
    result = table_result(table, {"base": {"grounding": base}, "grpo": {"grounding": grpo}}, 3)
    assert result.claims[0].verdict == verdict
    assert result.claims[0].figures[0].difference == pytest.approx(gain, abs=0.03)
    assert [row.name for row in result.rows] == ["Qwen", "+ GRPO"]
    assert result.rows[1].paper == {"grounding/mIoU": 0.593}
    assert result.baselines[0].name == "whole video"
    assert result.baselines[0].metrics == {"grounding/mIoU": 0.3}


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.0, "holds"), (0.2, "does not hold"), (-0.2, "does not hold"), (0.1, "cannot be told")]
)
def test_rows_are_alike_within_the_margin_on_both_sides(gain: float, verdict: str, tmp_path: Path) -> None:
    claim = {"better": "grpo", "than": ["base"], "figures": ["grounding/mIoU"], "margin": 0.1, "alike": True}
    table = read_table(write(tmp_path, claim))
    found = {
        "base": {"grounding": {None: measured(ious(0.5, 0))}},
        "grpo": {"grounding": {seed: measured(ious(0.5 + gain, seed)) for seed in (1, 2, 3)}},
    }
    (claimed,) = table_result(table, found, 3).claims
    assert claimed.verdict == verdict
    assert claimed.allowance() == "they may differ by 10"


def test_a_claim_may_be_about_a_baseline_and_says_what_is_not_shared(tmp_path: Path) -> None:
    claim = {"better": "grpo", "above": ["whole video"], "figures": ["grounding/mIoU"]}
    table = read_table(write(tmp_path, claim))
    found = {
        "base": {"grounding": {None: measured(ious(0.3, 0))}},
        "grpo": {"grounding": {0: measured(ious(0.5, 1))}},
        "whole video": {"grounding": {None: measured(ious(0.3, 2, num=210))}},
    }
    result = table_result(table, found, 1)
    (figure,) = result.claims[0].figures
    assert (figure.than, figure.verdict, figure.num_unshared) == ("whole video", "holds", 10)
    assert [row.name for row in result.rows] == ["Qwen", "+ GRPO"]


def test_replies_that_say_nothing_are_noted(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, {"better": "grpo", "than": ["base"], "figures": ["grounding/mIoU"]}))
    whole = measured(ious(0.3, 0))
    half = {
        id_: item.model_copy(update={"parsed": n % 2 == 0}) for n, (id_, item) in enumerate(whole.items.items())
    }
    runs = {0: replace(whole, items=half, truncated=0.1), 1: whole}
    result = table_result(table, {"base": {"grounding": {None: whole}}, "grpo": {"grounding": runs}}, 2)
    assert [row.damage("grounding") for row in result.rows] == ["", "25% unparsable, 5% cut off"]


def test_what_does_not_hold_for_one_row_does_not_hold(tmp_path: Path) -> None:
    rows = ROWS | {"sft": ROWS["grpo"]}
    claim = {"better": "grpo", "than": ["base", "sft"], "figures": ["grounding/mIoU"]}
    table = read_table(write(tmp_path, claim, rows))
    found = {
        name: {"grounding": {0: measured(ious(mean, n))}}
        for n, (name, mean) in enumerate({"base": 0.3, "grpo": 0.5, "sft": 0.7}.items())
    }
    assert table_result(table, found, 1).claims[0].verdict == "does not hold"


def test_seeds_are_paired_and_a_missing_row_cannot_be_told(tmp_path: Path) -> None:
    rows = ROWS | {"sft": ROWS["grpo"]}
    claims = {"better": "grpo", "than": ["sft"], "figures": ["grounding/mIoU"]}
    table = read_table(write(tmp_path, claims, rows))
    high, low = measured(ious(0.7, 0)), measured(ious(0.3, 0))
    base = {"grounding": {None: low}}
    found = {"base": base, "grpo": {"grounding": {0: low, 2: high}}, "sft": {"grounding": {1: low, 2: low}}}
    result = table_result(table, found, 3, ["grpo, seed 1: out of memory"])
    assert result.claims[0].figures[0].difference == pytest.approx(0.4, abs=0.01)  # of seed 2 alone
    assert result.problems == ("grpo, seed 1: out of memory",)
    missing = table_result(table, {"base": base, "grpo": {"grounding": {0: high}}, "sft": {}}, 1)
    assert [row.name for row in missing.rows] == ["Qwen", "+ GRPO"]
    assert (missing.claims[0].verdict, missing.claims[0].figures) == ("cannot be told", ())


def test_an_interval_over_runs_holds_both_spreads() -> None:
    one = Interval(0.5, 0.4, 0.6)
    assert over_runs([one]) == one
    same = over_runs([one, one, one])
    assert (same.mean, same.low, same.high) == pytest.approx((0.5, 0.4, 0.6))
    apart = over_runs([Interval(0.4, 0.4, 0.4), Interval(0.5, 0.5, 0.5), Interval(0.6, 0.6, 0.6)])
    assert apart.high - apart.mean == pytest.approx(4.303 * 0.1 / 3**0.5)  # Student's t of two degrees of freedom
    with pytest.raises(ValueError, match="no run"):
        over_runs([])


def test_intervals_over_runs_cover() -> None:
    """Of the truth, 95%: seeds with a known std, measured on videos with another."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        videos = rng.normal(0, 0.1, 40)  # the same for every seed
        runs = []
        for shift in rng.normal(0, 0.02, 3):
            values = 0.5 + shift + videos + rng.normal(0, 0.02, 40)
            half = 2.02 * values.std(ddof=1) / 40**0.5
            runs.append(Interval(values.mean(), values.mean() - half, values.mean() + half))
        interval = over_runs(runs)
        inside += interval.low <= 0.5 <= interval.high
    assert inside >= 0.93 * 400


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"better": "sft", "than": ["base"], "figures": ["grounding/mIoU"]}, "there is no row sft"),
        (
            {"better": "grpo", "than": ["base"], "figures": ["grounding/R1@0.5"]},
            "grpo does not measure grounding/R1@0.5",
        ),
        ({"better": "grpo", "than": ["base"], "figures": ["tracking/AO"]}, "grpo does not measure tracking/AO"),
        ({"better": "grpo", "figures": ["grounding/mIoU"]}, "say with than or above"),
        ({"better": "grpo", "than": ["other"], "figures": ["grounding/mIoU"]}, "measure grounding on other items"),
        (
            {"better": "grpo", "than": ["base"], "figures": ["grounding/mIoU"], "alike": True},
            "alike needs a margin",
        ),
    ],
)
def test_a_claim_about_what_is_not_there_is_refused(claim: dict[str, object], said: str, tmp_path: Path) -> None:
    elsewhere = MEASUREMENT | {"world": {"num_videos": 5, "tasks": ["temporal_grounding"]}}
    rows = ROWS | {"other": {"row": "other", "model": "tiny", "evaluate": [elsewhere]}}
    with pytest.raises(RecipeError, match=said):
        read_table(write(tmp_path, claim, rows))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": None}, "set exactly one of model and train"),
        ({"modl": "tiny"}, "unknown key modl; did you mean model"),
        ({"evaluate": [MEASUREMENT | {"suite": "charades_sta"}]}, "set exactly one of suite and world"),
        ({"evaluate": [MEASUREMENT | {"world": {"num_videos": 4}}]}, "a measurement is of one task"),
        ({"evaluate": [MEASUREMENT | {"protocol": "paper"}]}, "temporal_grounding has official"),
    ],
)
def test_a_row_that_cannot_be_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    claim = {"better": "grpo", "than": ["base"], "figures": ["grounding/mIoU"]}
    rows = ROWS | {"base": ROWS["base"] | change}
    with pytest.raises(RecipeError, match=said):
        read_table(write(tmp_path, claim, rows))


def test_rows_share_how_they_measure(tmp_path: Path) -> None:
    (tmp_path / "measurements.yaml").write_text(
        yaml.safe_dump({"grounding": {"suite": "charades_sta", "think": True}})
    )
    folder = tmp_path / "table3"
    folder.mkdir()
    own = {"name": "grounding", "think": False, "metrics": {"mIoU": 0.3}}
    rows = {"base": {"row": "Qwen", "model": "tiny", "evaluate": [own]}}
    claim = {"better": "base", "than": ["base"], "figures": ["grounding/mIoU"]}
    (measured,) = read_table(write(folder, claim, rows)).rows["base"].evaluate
    assert (measured.suite, measured.think) == ("charades_sta", False)
    (folder / "base.yaml").write_text(yaml.safe_dump(rows["base"] | {"evaluate": ["grounding"]}))
    with pytest.raises(RecipeError, match=r"base\.yaml: evaluate\.0"):
        read_table(folder)
