"""New models are folders like those that the families' authors publish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from transformers import AutoProcessor

from timesight.model.load import load_policy
from timesight.model.tiny import embedded_path


def test_a_picture_gives_the_same_patches_as_an_image_and_as_a_video(new_model: Path) -> None:
    # vLLM normalizes frames of videos by what the folder says about images.
    for folder in (new_model, embedded_path()):
        processor = AutoProcessor.from_pretrained(folder)
        factor = processor.video_processor.patch_size * processor.video_processor.merge_size
        pixels = np.random.default_rng(0).integers(0, 256, (factor, 2 * factor, 3), dtype=np.uint8)
        image = processor.image_processor([pixels], do_resize=False, return_tensors="np")
        video = processor.video_processor(
            [np.stack([pixels, pixels])], do_resize=False, do_sample_frames=False, return_tensors="np"
        )
        np.testing.assert_array_equal(video["video_grid_thw"], image["image_grid_thw"])
        np.testing.assert_allclose(video["pixel_values_videos"], image["pixel_values"], atol=1e-6)


def test_a_new_model_keeps_to_the_limits_of_its_processor(new_model: Path) -> None:
    policy = load_policy(new_model)
    budget, token = policy.default_budget, policy.factor**2
    assert (budget.max_frames, budget.min_pixels, budget.max_pixels) == (80, token, 6 * token)
    assert budget.total_pixels == 96 * token
