from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from timesight.data import read_jsonl
from timesight.types import Video
from timesight.video import FrameBudget, probe, read
from timesight.world import Corruption, make_scene, write_world
from timesight.world.render import render
from timesight.world.scene import COLORS, FPS


def scene_of(index: int):  # type: ignore[no-untyped-def]
    return make_scene(f"s{index}", (9, index))


def test_same_seed_same_bytes_and_frames(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_world(tmp_path / name, {"train": 3, "test": 2}, seed=4)
    write_world(tmp_path / "c", {"train": 3}, seed=5)
    one, two, other = (tmp_path / name / "train.jsonl" for name in "abc")
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes() != other.read_bytes()
    budget = FrameBudget(min_pixels=784)
    for index in range(3):
        a, b = (read(Video(path=tmp_path / n / f"train/{index:05d}.mp4"), budget) for n in "ab")
        np.testing.assert_array_equal(a.pixels, b.pixels)


def test_more_videos_do_not_change_the_first_ones(tmp_path: Path) -> None:
    write_world(tmp_path / "few", {"train": 2}, seed=4)
    write_world(tmp_path / "many", {"train": 4}, seed=4)
    few = (tmp_path / "few/train.jsonl").read_text()
    assert (tmp_path / "many/train.jsonl").read_text().startswith(few)


@pytest.mark.parametrize("index", range(12))
def test_the_picture_shows_what_the_truth_says(index: int) -> None:
    scene = scene_of(index)
    frames = list(render(scene))
    assert len(frames) == scene.num_frames
    for shape in scene.shapes:
        for number in range(0, scene.num_frames, 3):
            time_s = number / FPS
            x, y = shape.center_at(time_s)
            patch = frames[number][
                int(y * scene.height_px) - 1 : int(y * scene.height_px) + 2,
                int(x * scene.width_px) - 1 : int(x * scene.width_px) + 2,
            ]
            distance = np.abs(patch.reshape(-1, 3).mean(0) - COLORS[shape.color]).max()
            passed = len(scene.shapes) > 1 and any(other.moves for other in scene.shapes)
            if not passed:
                assert (distance < 40) == shape.shown_at(time_s)


def test_events_lie_within_the_video_and_within_visibility() -> None:
    kinds = set()
    for index in range(200):
        scene = scene_of(index)
        assert len({shape.name for shape in scene.shapes}) == len(scene.shapes)
        for shape in scene.shapes:
            for event in shape.events():
                kinds.add(event.action)
                assert 0 <= event.span.start_s < event.span.end_s <= scene.duration_s
                assert shape.visible.start_s <= event.span.start_s
                assert event.span.end_s <= shape.visible.end_s
    assert kinds == {"is visible", "moves", "blinks"}


@pytest.mark.parametrize("index", range(20))
def test_listing_names_what_is_visible_each_second(index: int) -> None:
    scene = scene_of(index)
    entries = scene.listing().split("; ")
    assert len(entries) == int(np.ceil(scene.duration_s))
    assert all(shape.name in scene.listing() for shape in scene.shapes)
    for second, entry in enumerate(entries):
        for shape in scene.shapes:
            if shape.visible.start_s <= second and shape.visible.end_s >= second + 1:
                assert shape.name in entry
            if shape.visible.end_s <= second or shape.visible.start_s >= second + 1:
                assert shape.name not in entry


def test_written_videos_match_their_samples(world: Path) -> None:
    samples = read_jsonl(world / "test.jsonl")
    assert {sample.task for sample in samples} == {"temporal_grounding"}
    for sample in samples:
        assert probe(sample.video).duration_s == pytest.approx(sample.meta["duration_s"])


def test_corruption_changes_answers_and_nothing_else(tmp_path: Path) -> None:
    write_world(tmp_path / "clean", {"train": 20}, seed=4)
    write_world(tmp_path / "bad", {"train": 20}, seed=4, corruption=Corruption(replaced=0.3, shift_s=1.0))
    clean, bad = (read_jsonl(tmp_path / name / "train.jsonl") for name in ("clean", "bad"))
    assert [s.id for s in clean] == [s.id for s in bad]
    moved = [abs(c.spans[0][0] - b.spans[0][0]) for c, b in zip(clean, bad, strict=True)]  # type: ignore[attr-defined]
    assert 0.5 < np.mean([m <= 1.05 for m in moved]) < 1.0
    assert all(s.problems == () for s in bad)
