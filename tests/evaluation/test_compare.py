"""Two evaluations side by side, and tables of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests import official

from timesight.artifacts import ItemEntry, Spans
from timesight.cli.eval import command
from timesight.errors import InputError
from timesight.evaluation import Replies, Scoring, find_suite, score_replies
from timesight.evaluation.compare import compare
from timesight.statistics import cluster_bootstrap


def items(values: list[float], kinds: str = "") -> dict[str, ItemEntry]:
    """Items with a metric each, two on a video."""
    return {
        f"i{n}": ItemEntry(
            id=f"i{n}",
            task="temporal_grounding",
            data=f"d{n}",
            weights={"official": 1.0, "paper": 1.0},
            video=f"v{n // 2}.mp4",
            question="?",
            truth="",
            reply=f"reply {value}",
            parsed=True,
            spans=Spans(),
            groups={"kind": (kinds[n],)} if kinds else {},
            metrics={"official": {"mIoU": value, "R1@0.5": float(value >= 0.5)}, "paper": {"mIoU": value / 2}},
        )
        for n, value in enumerate(values)
    }


def test_differences_are_paired_and_split_by_kind() -> None:
    draws = np.random.default_rng(0)
    before = draws.random(40).tolist()
    after = [min(1.0, value + 0.1 + 0.05 * draws.random()) for value in before]
    found = compare(items(before, "ab" * 20), items(after, "ab" * 20))
    whole, a, b = found.parts
    assert (whole.num_items, whole.num_videos, a.num_items, b.num_items) == (40, 20, 20, 20)
    changes = [y - x for x, y in zip(before, after, strict=True)]
    interval = cluster_bootstrap(changes, [n // 2 for n in range(40)])
    of = whole.metrics["mIoU"]
    assert (of.difference, of.low, of.high) == pytest.approx((interval.mean, interval.low, interval.high))
    assert of.b - of.a == pytest.approx(of.difference)
    assert of.p_value < 0.001
    assert (a.key, a.value) == ("kind", "a")
    assert found.num_better + found.num_worse <= 40
    assert [change.b - change.a for change in found.improved] == sorted(
        (change.b - change.a for change in found.improved), reverse=True
    )


def test_the_same_replies_differ_in_nothing() -> None:
    same = items([0.0, 0.5, 1.0, 0.3])
    found = compare(same, same)
    assert (found.num_better, found.num_worse, found.improved, found.hurt) == (0, 0, [], [])
    assert found.parts[0].metrics["mIoU"].p_value == 1.0


def test_what_flipped_is_shown_with_both_replies() -> None:
    found = compare(items([0.0, 1.0, 0.5]), items([1.0, 0.0, 0.5]), metric="R1@0.5")
    ((up,), (down,)) = found.improved, found.hurt
    assert (up.id, up.reply_a, up.reply_b) == ("i0", "reply 0.0", "reply 1.0")
    assert down.id == "i1"


def test_only_what_both_have_is_compared() -> None:
    found = compare(items([0.1, 0.2, 0.3]), items([0.1, 0.2]), protocol="paper")
    assert (found.only_a, found.only_b, found.parts[0].num_items) == (1, 0, 2)
    unjudged = items([0.1, 0.2, 0.3])
    unjudged["i1"].metrics["official"] = None
    found = compare(unjudged, items([0.1, 0.2, 0.3]))
    assert (found.only_a, found.only_b, found.parts[0].num_items) == (0, 1, 2)
    with pytest.raises(InputError, match="no item in common"):
        compare(items([0.1]), {})
    with pytest.raises(InputError, match=r"no metric AO in common: choose one of mIoU, R1@0\.5"):
        compare(items([0.1]), items([0.1]), metric="AO")


def test_both_protocols_name_the_one_of_a_task_that_has_one() -> None:
    letters = [items([0.0, 1.0]), items([1.0, 1.0])]
    for item in [item for run in letters for item in run.values()]:
        item.task = "multiple_choice"
        del item.metrics["paper"]
    assert compare(*letters, protocol="paper").protocol == "official"
    with pytest.raises(InputError, match="no protocol other in common: choose one of official"):
        compare(*letters, protocol="other")


def test_an_item_counts_as_in_the_benchmarks_own_figure() -> None:
    """Where weights turn the sign round, as in GOT-10k (frames) and MVBench (tasks), so they do here."""
    weighed = [items(values) for values in ([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])]
    for run in weighed:
        for n, item in enumerate(run.values()):
            item.weights["official"] = 9.0 if n == 3 else 1.0
    found = compare(*weighed).parts[0].metrics["mIoU"]
    assert (found.a, found.b, found.difference) == pytest.approx((0.25, 0.75, 0.5))
    videos, changes = ["a", "a", "b", "b"], [-1.0, -1.0, -1.0, 1.0]
    interval = cluster_bootstrap(changes, videos, weights=[1, 1, 1, 9])
    assert interval.high - interval.low > 2  # two videos say next to nothing
    assert (found.low, found.high) == (-1.0, 1.0)  # which is all that a difference can be
    assert compare(*weighed, protocol="paper").parts[0].metrics["mIoU"].difference == pytest.approx(-0.25)


def test_comparing_scored_runs_gives_their_own_figures(tmp_path: Path) -> None:
    official.mvbench(tmp_path, ["aaaa", "bbbb", "cccc"])
    (tmp_path / "episodic_reasoning.json").write_text(
        json.dumps(json.loads((tmp_path / "episodic_reasoning.json").read_text())[:1])
    )
    samples = find_suite("mvbench").read(tmp_path, None)
    scoring = Scoring(by=("task",), average_over="task")
    runs = [
        score_replies(
            "m", samples, Replies({s.id: "B" if wanted in s.id else "A" for s in samples}), False, None, scoring
        )
        for wanted in ("action_sequence", "episodic_reasoning")
    ]
    found = compare(*({item.id: item for item in run.items} for run in runs))
    own = [run.results["official"].metrics["accuracy"] for run in runs]
    of = found.parts[0].metrics["accuracy"]
    assert (of.a, of.b) == pytest.approx(own)
    for part in found.parts[1:]:
        mine = [run.results["official"].breakdowns[part.key][part.value].metrics["accuracy"] for run in runs]
        assert (part.metrics["accuracy"].a, part.metrics["accuracy"].b) == pytest.approx(mine)


def test_what_is_made_of_means_is_compared_too() -> None:
    draws = np.random.default_rng(0)
    runs = []
    for _ in range(2):
        run = items([0.0] * 40)
        for item in run.values():
            row = {"event_recall": draws.random(), "event_precision": draws.random() / 2}
            item.task, item.metrics = "captioning", {"official": row}
        runs.append(run)
    found = compare(*runs).parts[0].metrics
    assert list(found) == ["event_recall", "event_precision", "event_f1"]
    for at in ("a", "b"):
        recall, precision, f1 = (getattr(of, at) for of in found.values())
        assert f1 == pytest.approx(2 * recall * precision / (recall + precision))
    assert found["event_f1"].low < found["event_f1"].difference < found["event_f1"].high
    assert 0 < found["event_f1"].p_value <= 1
    assert all(of.p_value == 1.0 for of in compare(runs[0], runs[0]).parts[0].metrics.values())


def test_windows_of_one_file_are_one_video() -> None:
    run = items([0.1, 0.2])
    for n, item in enumerate(run.values()):
        item.video = {"path": "v.mp4", "start_s": float(n), "end_s": n + 1.0}
    assert compare(run, run).parts[0].num_videos == 1


def test_other_data_under_the_same_ids_is_refused() -> None:
    other = items([0.1, 0.2])
    other["i1"].data = "another question"
    with pytest.raises(
        InputError, match=r"^i1: question or truth differ between the two evaluations \(1 such ids\)"
    ):
        compare(items([0.1, 0.2]), other)


def invoke(*args: object) -> Any:
    return CliRunner().invoke(command, [*map(str, args)])


@pytest.mark.slow
def test_the_commands_read_what_eval_keeps(full_world: Path, tmp_path: Path) -> None:
    for name, flags in {"a": [], "b": ["--fps", "1"]}.items():
        done = invoke(
            full_world / "test.jsonl",
            "--judge",
            "world",
            "--max-new-tokens",
            16,
            "--limit",
            4,
            "--out",
            tmp_path / name,
            *flags,
        )
        assert done.exit_code == 0, done.output
    done = invoke("compare", tmp_path / "a", tmp_path / "b")
    assert done.exit_code == 0
    assert "difference" in done.stdout
    assert "fewer than 30 videos are rough" in done.stdout
    found = json.loads(invoke("compare", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert all(task["parts"][0]["num_items"] > 0 for task in found["tasks"].values())
    done = invoke("export", tmp_path / "a", tmp_path / "b", "--format", "latex")
    assert done.stdout.startswith("\\begin{tabular}")
    for args, message in (
        (["compare", tmp_path, tmp_path / "a"], "holds no finished evaluation"),
        (["export", tmp_path], "holds no finished evaluation"),
        (["charades_stb"], "no suite charades_stb: choose one of charades_sta"),
        (["charades_sta"], "say where its official files are"),
        (["got10k", "--annotations", tmp_path, "--subtitles"], "got10k has no subtitles"),
        ([full_world / "test.jsonl", "--split", "test"], "split goes with a suite"),
        (["run"], "which suite, or which JSONL file"),
        ([full_world / "test.jsonl", "--judge", "world", "--model", "no/such/model/here"], "no model at"),
        ([full_world / "test.jsonl", "--judge", "world", "--out", tmp_path / "a"], "choose another folder"),
    ):
        failed = invoke(*args)
        assert message in str(failed.exception), failed.output
