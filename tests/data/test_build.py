"""The builder of VideoChat-R1-18k on trees in the official layouts, and what it builds in one step of training."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from tests import official

from timesight.data import read_jsonl
from timesight.data.build import build
from timesight.errors import InputError

CHARADES, NEXTGQA, FIBER, VIDTAB = ["3MSZA", "AO8RW"], ["4010069381"], ["clip_1"], ["0012", "0013"]


@pytest.fixture
def tree(video: Path, tmp_path: Path) -> Path:
    """All five sources with one video each missing, under names as they are published."""
    root = tmp_path / "datasets"
    official.charades_sta(root / "charades_sta/annotations", [*CHARADES, "GONE1"])
    official.nextgqa(root / "nextgqa", NEXTGQA)
    official.fiber(root / "fiber", FIBER)
    official.vidtab_quality(root / "vidtab_quality", [*VIDTAB, "0099"])
    official.got10k(root / "got10k", ["GOT-10k_Train_000001"])
    for source, name in (
        *(("charades_sta/Charades_v1_480", f"{v}.mp4") for v in CHARADES),
        *(("nextgqa/videos/0003", f"{v}.mkv") for v in NEXTGQA),
        *(("fiber/clips", f"{v}.mp4") for v in FIBER),
        *(("vidtab_quality/videos", f"{v}.mp4") for v in VIDTAB),
    ):
        (root / source).mkdir(parents=True, exist_ok=True)
        shutil.copy(video, root / source / name)
    return root


def folders(root: Path) -> dict[str, Path]:
    return {path.name: path for path in root.iterdir()}


def test_what_is_there_is_built_and_what_is_not_is_told(tree: Path, tmp_path: Path) -> None:
    annotations = folders(tree) | {"charades_sta": tree / "charades_sta/annotations"}
    results = {r.source: r for r in build(annotations, folders(tree), tmp_path / "out")}
    assert {name: r.count for name, r in results.items()} == {
        "charades_sta": 2,
        "got10k": 1,
        "nextgqa": 1,
        "fiber": 1,
        "vidtab_quality": 2,
    }
    assert results["charades_sta"].reasons == ["1 videos not found"]
    assert results["got10k"].reasons == ["the annotations hold 1"]
    joint = read_jsonl(tmp_path / "out/joint.jsonl")
    assert Counter(s.task for s in joint) == {"temporal_grounding": 2, "object_tracking": 1, "grounded_qa": 1}
    assert all(sample.video.path.is_absolute() and sample.video.path.exists() for sample in joint)
    assert len(read_jsonl(tmp_path / "out/captions.jsonl")) == 1
    assert len(read_jsonl(tmp_path / "out/quality.jsonl")) == 2


def test_queries_are_one_a_video_or_all(tree: Path, tmp_path: Path) -> None:
    annotations = {"charades_sta": tree / "charades_sta/annotations"}
    videos = {"charades_sta": tree / "charades_sta"}

    def ids(name: str, **options: object) -> list[str]:
        build(annotations, videos, tmp_path / name, **options)  # type: ignore[arg-type]
        return [sample.id for sample in read_jsonl(tmp_path / name / "joint.jsonl")]

    assert len(ids("all", queries="all")) == 4
    chosen = [ids(str(seed), seed=seed) for seed in range(8)]
    assert all(
        sorted(i.partition("#")[0] for i in each) == sorted(f"charades_sta/{v}" for v in CHARADES)
        for each in chosen
    )
    assert len({tuple(each) for each in chosen}) > 1
    assert chosen[0] == ids("again", seed=0)


def test_nothing_is_written_over_and_nothing_empty(tree: Path, tmp_path: Path) -> None:
    annotations, videos = {"fiber": tree / "fiber"}, {"fiber": tree / "fiber"}
    build(annotations, videos, tmp_path / "out")
    with pytest.raises(InputError, match=r"captions\.jsonl: already exists"):
        build(annotations, videos, tmp_path / "out")
    (tree / "fiber/clips/clip_1.mp4").unlink()
    with pytest.raises(InputError, match=r"no sample can be used .*fiber: 1 videos not found"):
        build(annotations, videos, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_one_source_that_cannot_be_read_does_not_end_the_others(tree: Path, tmp_path: Path) -> None:
    (tree / "nextgqa/val.csv").unlink()
    annotations = {name: tree / name for name in ("fiber", "nextgqa")}
    results = {r.source: r for r in build(annotations, folders(tree), tmp_path / "out")}
    assert (results["nextgqa"].is_broken, results["fiber"].is_broken) == (True, False)
    assert "has no val.csv" in results["nextgqa"].reasons[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["captions.jsonl"]


def test_nothing_to_build_from_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no source found"):
        build({}, {}, tmp_path)
    with pytest.raises(InputError, match="charades is no source of this set; it is made of charades_sta"):
        build({"charades": tmp_path}, {}, tmp_path)


def test_what_is_built_can_be_trained_on(tree: Path, tmp_path: Path) -> None:
    from timesight.training.run import run_recipe
    from timesight.training.settings import GrpoRecipe

    annotations = folders(tree) | {"charades_sta": tree / "charades_sta/annotations"}
    build(annotations, folders(tree), tmp_path / "out")
    recipe = GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "data": {"jsonl": tmp_path / "out/joint.jsonl"},
            "video": {"min_pixels": 784, "max_pixels": 4704, "max_frames": 8},
            "reading": {"workers": 1, "cache": tmp_path / "cache"},
            "train": {"max_steps": 1, "batch_size": 4},
            "grpo": {"num_generations": 2, "max_completion_length": 16},
        }
    )
    result = run_recipe(recipe, tmp_path / "run")
    assert (result.num_steps, result.num_samples, result.num_quarantined) == (1, 4, 0)
    lines = (tmp_path / "run/completions/step-000001.jsonl").read_text().splitlines()
    assert len(lines) == 4 * 2
    # The three videos have one content and are asked about in the same way: they are kept once.
    assert len(list((tmp_path / "cache").glob("*.frames"))) == 2
