"""Counts and sizes against qwen-vl-utils, which the models were trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen_vl_utils.vision_process import smart_nframes, smart_resize

from timesight.errors import VideoError
from timesight.types import FrameRequest, Video
from timesight.video import FrameBudget, VideoInfo, choose_times, count_frames, fit_size


def info(num_frames: int, fps: float) -> VideoInfo:
    return VideoInfo(Path("v.mp4"), 640, 360, num_frames / fps, np.arange(num_frames) / fps)


@given(
    num_frames=st.integers(4, 20_000),
    video_fps=st.sampled_from([8.0, 10.0, 15.0, 23.976, 25.0, 29.97, 30.0, 60.0]),
    fps=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    max_frames=st.sampled_from([8, 64, 768]),
)
def test_counts_are_those_of_qwen_vl_utils(num_frames: int, video_fps: float, fps: float, max_frames: int) -> None:
    budget = FrameBudget(fps=fps, max_frames=max_frames)
    expected = smart_nframes(
        {"fps": fps, "min_frames": 4, "max_frames": min(max_frames, num_frames)}, num_frames, video_fps
    )
    assert count_frames(num_frames / video_fps, num_frames, budget) == expected


@settings(max_examples=300)
@given(
    width=st.integers(30, 4000),
    height=st.integers(30, 4000),
    num_frames=st.integers(1, 384).map(lambda n: 2 * n),
    factor=st.sampled_from([28, 32]),
)
def test_sizes_are_those_of_qwen_vl_utils(width: int, height: int, num_frames: int, factor: int) -> None:
    token = factor * factor
    budget = FrameBudget(min_pixels=128 * token, max_pixels=768 * token, total_pixels=3584 * token)
    most = max(min(768 * token, 3584 * token / num_frames * 2), int(128 * token * 1.05))
    expected_height, expected_width = smart_resize(height, width, factor, min_pixels=128 * token, max_pixels=most)
    if min(expected_width, expected_height) > 0:  # theirs can round a thin frame down to nothing
        assert fit_size(width, height, num_frames, budget, factor) == (expected_width, expected_height)


def test_a_thin_frame_keeps_a_row_of_patches() -> None:
    assert min(fit_size(5000, 30, 2, FrameBudget(min_pixels=784, max_pixels=4704))) == 28


def test_a_frame_too_narrow_is_refused() -> None:
    with pytest.raises(ValueError, match="too narrow"):
        fit_size(6030, 30, 2, FrameBudget())


def test_times_are_even_steps_from_the_start_of_the_window() -> None:
    times = choose_times(info(300, 30.0), Video(path=Path("v.mp4"), start_s=2.0, end_s=8.0), FrameBudget(fps=2.0))
    np.testing.assert_allclose(times, 2.0 + 0.5 * np.arange(12))


def test_a_task_may_demand_its_own_number() -> None:
    times = choose_times(info(300, 30.0), Video(path=Path("v.mp4")), FrameBudget(), FrameRequest(num_frames=5))
    np.testing.assert_allclose(times, [0, 2, 4, 6, 8])


def test_a_single_frame_is_shown_twice() -> None:
    assert count_frames(1 / 30, 1, FrameBudget()) == 2


def test_a_window_past_the_end_is_named() -> None:
    with pytest.raises(VideoError, match=r"v\.mp4: lasts 10\.00 s, so nothing is left from 12\.00 s on"):
        choose_times(info(300, 30.0), Video(path=Path("v.mp4"), start_s=12.0), FrameBudget())


@pytest.mark.parametrize("wrong", [{"min_frames": 9, "max_frames": 8}, {"min_pixels": 9, "max_pixels": 8}])
def test_budgets_that_contradict_themselves_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is above"):
        FrameBudget(**wrong)  # type: ignore[arg-type]
