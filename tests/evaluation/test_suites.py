"""Every suite, from its official files to figures: on the real excerpts, and on made-up trees with real videos."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tests import official

from timesight.cli.eval import command
from timesight.evaluation import SUITES, Replies, Scoring, find_suite, score_replies
from timesight.tasks import TASKS
from timesight.types import Judge, Sample
from timesight.world import WorldJudge

IDS = ["aaaa", "bbbb", "cccc"]


def run(*args: object) -> dict[str, Any]:
    done = CliRunner(catch_exceptions=False).invoke(command, [*map(str, args), "--json"])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def gold(samples: list[Sample]) -> dict[str, str]:
    return {s.id: TASKS[s.task].gold(s) for s in samples if TASKS[s.task].usable(s)}


TREES: dict[str, Callable[[Path], int]] = {
    "charades_sta": lambda root: official.charades_sta(root, IDS, "test"),
    "activitynet_captions": lambda root: official.activitynet_captions(root, IDS),
    "nextgqa": lambda root: official.nextgqa(root, IDS, "test"),
    "got10k": lambda root: official.got10k(root, ["GOT-10k_Val_000001", "GOT-10k_Val_000002"], "val"),
    "videomme": lambda root: official.videomme(root, IDS),
    "mvbench": lambda root: official.mvbench(root, IDS),
    "perception_test": lambda root: official.perception_test(root, IDS),
    "longvideobench": lambda root: official.longvideobench(root, IDS),
    "dream1k": lambda root: official.dream1k(root, IDS),
    "vidtab_quality": lambda root: official.vidtab_quality(root, IDS, "test"),
}


def test_every_suite_has_a_tree() -> None:
    assert set(TREES) == set(SUITES)


@pytest.fixture
def videos(full_world: Path, tmp_path: Path) -> Path:
    """Videos of the synthetic world under the trees' names, deep down; and MVBench's folders of frames."""
    from PIL import Image

    root = tmp_path / "videos"
    (root / "some" / "where").mkdir(parents=True)
    for name, file in zip(IDS, sorted((full_world / "test").glob("*.mp4")), strict=False):
        shutil.copy(file, root / "some" / "where" / f"{name}.mp4")
        (root / f"{name}_clip").mkdir()
        for number in range(1, 13):
            Image.new("RGB", (84, 56), (20 * number, 80, 120)).save(root / f"{name}_clip" / f"{number:05d}.jpg")
    return root


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_runs_from_its_official_files_to_figures(suite: str, videos: Path, tmp_path: Path) -> None:
    count = TREES[suite](tmp_path / "annotations")
    out = tmp_path / "out"
    flags = ["--judge", "world", "--max-new-tokens", 12, "--max-frames", 8, "--workers", 0, "--out", out]
    result = run(suite, "--annotations", tmp_path / "annotations", "--videos", videos, *flags)
    assert result["suite"] == suite
    assert (result["num_items"], result["num_quarantined"]) == (count, 0)
    assert result["video"]["max_frames"] == 8
    figures = next(iter(result["results"].values()))
    assert set(figures["intervals"]) <= set(figures["metrics"])
    assert all(0 <= value <= 1 for value in figures["metrics"].values())
    assert set(result["paper"]["rows"]) <= {"Qwen2.5-VL-7B", "VideoChat-R1", "VideoChat-R1-thinking"}
    again = run(
        "score",
        suite,
        "--annotations",
        tmp_path / "annotations",
        "--replies",
        out / "replies.jsonl",
        "--judge",
        "world",
    )
    for protocol, mine in again["results"].items():
        assert mine["metrics"] == result["results"][protocol]["metrics"]


def test_subtitles_reach_the_prompts_only_when_asked_for(tmp_path: Path) -> None:
    official.videomme(tmp_path, IDS)
    suite = find_suite("videomme")
    with_them, without = (suite.read(tmp_path, None, subtitles=on) for on in (True, False))
    assert any("1.0 to 2.5: Hello there" in str(TASKS[s.task].prompt(s)) for s in with_them)
    assert not any("Hello" in str(TASKS[s.task].prompt(s)) for s in without)


EXCERPTS = {
    "charades_sta": ("charades_sta", "test"),
    "activitynet_captions": ("activitynet_captions", "val"),
    "nextgqa": ("nextgqa", "val"),
    "mvbench": ("mvbench", "test"),
    "longvideobench": ("longvideobench", "val"),
    "dream1k": ("dream1k", "test"),
    "vidtab_quality": ("vidtab_quality", "test"),
}


class Oracle:
    """Says yes to whatever a caption's own reference says: DREAM-1K's captions earn 1 from nobody else."""

    def events(self, captions: list[str]) -> list[tuple[str, ...] | None]:
        return [("it happens",) for _ in captions]

    def entailed(self, captions: list[str], events: list[list[str]]) -> list[tuple[bool, ...] | None]:
        return [(True,) * len(mine) for mine in events]


@pytest.mark.parametrize("name", EXCERPTS)
def test_gold_replies_to_the_real_excerpts_score_one(name: str, samples_dir: Path) -> None:
    folder, split = EXCERPTS[name]
    suite = find_suite(name)
    items = suite.read(samples_dir / "annotations" / folder, None, split)
    usable = [item for item in items if TASKS[item.task].usable(item)]
    judge: Judge = Oracle()  # type: ignore[assignment]
    scoring = Scoring(by=suite.by, average_over=suite.average_over)
    result = score_replies(name, usable, Replies(gold(usable)), False, judge, scoring)
    assert result.num_unparsable == 0
    for figures in result.results.values():
        # Rewards ask for milliseconds, and from 0 on; metrics take the source's own digits.
        assert all(value == pytest.approx(1.0, abs=2e-3) for value in figures.metrics.values())
        for parts in figures.breakdowns.values():
            assert all(
                value == pytest.approx(1.0, abs=5e-3) for part in parts.values() for value in part.metrics.values()
            )


def test_baselines_on_the_excerpts_are_the_known_ones(samples_dir: Path) -> None:
    root = samples_dir / "annotations"
    items = find_suite("charades_sta").read(root / "charades_sta", None)
    whole = score_replies("s", items, Replies({}), False).results["official"].baselines["whole video"]
    assert [round(whole[name], 4) for name in ("mIoU", "R1@0.3", "R1@0.5")] == [0.2727, 0.3417, 0.0083]
    items = find_suite("activitynet_captions").read(root / "activitynet_captions", None)
    whole = score_replies("s", items, Replies({}), False).results["official"].baselines["whole video"]
    assert (len(items), round(whole["mIoU"], 4)) == (215, 0.3319)


def test_nextgqa_replies_score_as_the_authors_script_says(samples_dir: Path, tmp_path: Path) -> None:
    golden = json.loads((samples_dir / "golden/nextgqa_val.json").read_text())
    with (tmp_path / "r.jsonl").open("w") as file:
        for key, (start, end) in golden["predictions"].items():
            text = (
                f"<answer>{'ABCDE'[golden['answers'][key]['prediction']]}</answer><glue>[({start}, {end})]</glue>"
            )
            file.write(json.dumps({"id": f"nextgqa/{key}", "reply": text}) + "\n")
    flags = ["--split", "val", "--protocol", "official", "--replies", tmp_path / "r.jsonl"]
    result = run("score", "nextgqa", "--annotations", samples_dir / "annotations/nextgqa", *flags)
    figures = result["results"]["official"]["metrics"]
    names = ("Acc@GQA", "mIoP", "IoP@0.3", "IoP@0.5", "mIoU", "IoU@0.3", "IoU@0.5")
    printed = golden["reference_output"].splitlines()[1].split()
    assert [f"{100 * figures[name]:.1f}" for name in names] == printed


def test_got10k_predictions_score_as_the_toolkit_says(samples_dir: Path) -> None:
    golden = samples_dir / "golden"
    flags = ["--annotations", golden / "got10k_tree", "--replies", golden / "got10k_predictions"]
    figures = run("score", "got10k", *flags)["results"]["official"]["metrics"]
    report = json.loads((golden / "got10k_reference_report.json").read_text())["T"]["overall"]
    assert figures["AO"] == pytest.approx(report["ao"], abs=1e-12)
    assert figures["SR@0.5"] == pytest.approx(report["sr"], abs=1e-12)


def test_temporal_grounding_equals_a_computation_from_the_files_alone(samples_dir: Path) -> None:
    root = samples_dir / "annotations/charades_sta"
    items = find_suite("charades_sta").read(root, None)
    truths = [
        tuple(map(float, line.split("##")[0].split()[1:]))
        for line in (root / "charades_sta_test.txt").read_text().splitlines()
    ]
    draws = np.random.default_rng(0)
    answers = np.sort(draws.uniform(0, 40, (len(items), 2)).round(2), axis=1)
    replies = {s.id: f"<answer>{a} to {b}</answer>" for s, (a, b) in zip(items, answers, strict=True)}
    replies[items[3].id] = "<answer>somewhere</answer>"
    ious = []
    for n, ((start, end), (a, b)) in enumerate(zip(truths, answers, strict=True)):
        overlap = max(0.0, min(end, b) - max(start, a))
        ious.append(0.0 if n == 3 else overlap / ((end - start) + (b - a) - overlap))
    figures = score_replies("charades_sta", items, Replies(replies), False).results["official"].metrics
    assert figures["mIoU"] == pytest.approx(np.mean(ious), abs=1e-12)
    for threshold in (0.3, 0.5, 0.7):
        assert figures[f"R1@{threshold}"] == np.mean([iou >= threshold for iou in ious])


def test_videomme_by_duration_equals_a_count_by_hand(tmp_path: Path) -> None:
    from pyarrow import parquet

    official.videomme(tmp_path, [f"v{n}" for n in range(9)])
    rows = parquet.read_table(tmp_path / "test-00000-of-00001.parquet").to_pylist()
    said = {row["question_id"]: ("A.", "(b)", "because C", "")[n % 4] for n, row in enumerate(rows)}
    right = {
        row["question_id"]: {"A.": "A", "(b)": "B"}.get(said[row["question_id"]]) == row["answer"] for row in rows
    }
    suite = find_suite("videomme")
    replies = Replies({f"videomme/{id_}": text for id_, text in said.items()})
    result = score_replies("v", suite.read(tmp_path, None), replies, False, None, Scoring(by=suite.by))
    assert result.num_unparsable == sum(text in ("because C", "") for text in said.values())
    figures = result.results["official"]
    assert figures.metrics["accuracy"] == pytest.approx(np.mean(list(right.values())))
    for length in ("short", "medium", "long"):
        mine = [right[row["question_id"]] for row in rows if row["duration"] == length]
        assert figures.breakdowns["duration"][length].metrics["accuracy"] == pytest.approx(np.mean(mine))


def test_multiple_choice_equals_a_count_by_hand(samples_dir: Path) -> None:
    """Accuracy from the files alone, without our samples: MVBench's mean of tasks, LongVideoBench by category."""
    root = samples_dir / "annotations"
    suite = find_suite("mvbench")
    items = suite.read(root / "mvbench", None)
    replies = {item.id: "ABCDEFG"[n % 3] for n, item in enumerate(items)}
    scoring = Scoring(by=suite.by, average_over=suite.average_over)
    result = score_replies("mvbench", items, Replies(replies), False, None, scoring).results["official"]
    shares = []
    for file in sorted((root / "mvbench").glob("*.json")):
        records = json.loads(file.read_text())
        right = 0
        for n, record in enumerate(records):
            said = "ABCDEFG".index(replies[f"mvbench/{file.stem}#{n}"])
            right += said < len(record["candidates"]) and record["candidates"][said] == record["answer"]
        assert result.breakdowns["task"][file.stem].metrics["accuracy"] == pytest.approx(right / len(records))
        shares.append(right / len(records))
    assert result.metrics["accuracy"] == pytest.approx(sum(shares) / len(shares))

    suite = find_suite("longvideobench")
    records = json.loads((root / "longvideobench/lvb_val.json").read_text())
    items = suite.read(root / "longvideobench", None)
    replies = {f"longvideobench/{record['id']}": "ABCDE"[n % 4] for n, record in enumerate(records)}
    result = score_replies("l", items, Replies(replies), False, None, Scoring(by=suite.by)).results["official"]
    for kind in {record["question_category"] for record in records}:
        mine = [n % 4 == r["correct_choice"] for n, r in enumerate(records) if r["question_category"] == kind]
        part = result.breakdowns["question_category"][kind]
        assert (part.num_items, part.metrics["accuracy"]) == (len(mine), pytest.approx(sum(mine) / len(mine)))


def test_the_oddest_options_are_scored_all_the_same(tmp_path: Path) -> None:
    official.mvbench(tmp_path, IDS)  # character_order has one candidate
    items = find_suite("mvbench").read(tmp_path, None)
    result = score_replies("m", items, Replies(gold(items)), False, WorldJudge())
    assert result.results["official"].metrics == {"accuracy": 1.0}
