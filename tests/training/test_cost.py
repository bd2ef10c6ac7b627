"""The cost model against what can be counted, and the recipes against the GPUs they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesight.model.families import FAMILIES
from timesight.model.load import load_policy
from timesight.model.shape import model_shape
from timesight.training.cost import plan
from timesight.training.counts import count_questions
from timesight.training.recipe import load_recipe
from timesight.training.settings import GrpoRecipe

SEVEN_B = "Qwen/Qwen2.5-VL-7B-Instruct"


def recipe(name: str, *overrides: str) -> GrpoRecipe:
    loaded = load_recipe(name, overrides)
    assert isinstance(loaded, GrpoRecipe)
    return loaded


def test_known_shapes_have_the_published_numbers_of_weights() -> None:
    assert {name: model_shape(name).total for family in FAMILIES.values() for name in family.published} == {
        "Qwen/Qwen2-VL-7B-Instruct": 8_291_375_616,
        "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
        SEVEN_B: 8_292_166_656,
    }


def test_the_vision_tower_of_qwen2_vl_is_four_times_as_wide_inside() -> None:
    """Its configuration names the width of the tower and that of what it hands on differently from the others."""
    shape = model_shape("Qwen/Qwen2-VL-7B-Instruct")
    assert (shape.vision_hidden, shape.vision_intermediate) == (1280, 5120)


def test_a_shape_counts_every_weight_once() -> None:
    model = load_policy().model
    assert model_shape("tiny").total == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "num_gpus", "card_gb"), [("grpo-24gb", 1, 24), ("grpo-80gb", 1, 80), ("grpo", 8, 80)]
)
def test_a_recipe_fits_its_card_with_room_for_what_is_not_counted(name: str, num_gpus: int, card_gb: int) -> None:
    needed = plan(recipe(f"charades/{name}"), model_shape(SEVEN_B), 12_408, num_gpus)
    assert 0.3 * card_gb < needed.memory_gb < 0.8 * card_gb


def test_weights_gradients_and_moments_by_hand() -> None:
    model = model_shape(SEVEN_B)
    whole = plan(recipe("charades/grpo"), model, 100).memory
    assert whole["weights"] == pytest.approx(4 * model.total / 1e9)
    assert whole["gradients"] == pytest.approx(4 * model.total / 1e9)
    assert whole["optimizer"] == pytest.approx(8 * model.total / 1e9)
    assert plan(recipe("charades/grpo", "grpo.beta=0"), model, 100).memory["reference"] == 0
    lora = plan(recipe("charades/grpo-80gb"), model, 100).memory
    adapters = 64 * model.lora_sites
    assert adapters == 161_480_704  # rank 64 on the seven linear layers of each of 28 blocks
    assert lora["gradients"] == pytest.approx(4 * adapters / 1e9)


def test_sharded_weights_and_what_is_sent_by_hand() -> None:
    model = model_shape(SEVEN_B)
    needed = {how: plan(recipe("charades/grpo"), model, 100, 8, launch=how) for how in ("ddp", "zero2", "fsdp2")}
    memory = needed["fsdp2"].memory
    assert memory["weights"] == memory["gradients"] == pytest.approx(4 * model.total / 8 / 1e9)
    assert memory["reference"] == pytest.approx(needed["ddp"].memory["reference"] / 8)
    gathered = 2 * model.total / 1e9  # in bf16, to sample
    assert memory["sampling"] == pytest.approx(needed["ddp"].memory["sampling"] + gathered)
    sent = {how: of.communicated_gb / (7 / 8 * model.total / 1e9) for how, of in needed.items()}
    # gradients summed once; in bf16 after each of eight passes, and the weights; 18 gathers and eight sums
    assert sent == pytest.approx({"ddp": 2 * 4, "zero2": 8 * 2 + 2, "fsdp2": 18 * 2 + 8 * 4})
    assert plan(recipe("charades/grpo"), model, 100).communicated_gb == 0


def test_tokens_and_steps_by_hand() -> None:
    needed = plan(recipe("charades/grpo", "train.epochs=2"), model_shape(SEVEN_B), 12_408)
    assert needed.steps == 3102  # 2 × 12,408 prompts, 8 a step
    assert needed.tokens_per_step == 8 * (3584 + 60 + 8 * 256)


def test_questions_on_one_video_share_its_tokens() -> None:
    """2.3 questions a video on average and four at most: time is that of the average, memory that of the most."""
    model = model_shape(SEVEN_B)
    shared = recipe("charades/grpo", "train.questions_per_video=4")
    needed = plan(shared, model, 12_408, num_entries=5394)
    assert needed.steps == 675  # 5,394 videos, 8 a step
    assert needed.tokens_per_step == pytest.approx(8 * (3584 + 2.3 * (60 + 8 * 256)), abs=16)
    apart = plan(recipe("charades/grpo"), model, 12_408)
    assert needed.steps * needed.flops_per_step < 0.7 * apart.steps * apart.flops_per_step
    row = 3584 + 4 * (60 + 8 * 256)
    assert needed.memory["sampling"] == pytest.approx(8 * row * 28 * 2 * 4 * 128 * 2 / 1e9)


def test_every_reply_may_look_again() -> None:
    """At most each of 8 replies to each of 8 prompts sees other segments, with the budget of a whole video."""
    model = model_shape(SEVEN_B)
    first = plan(recipe("charades/grpo"), model, 100)
    both = plan(recipe("charades/grpo", "train.look_again=true"), model, 100)
    assert both.tokens_per_step - first.tokens_per_step == 64 * (3584 + 60 + 256)
    assert both.sampled_tokens == 2 * first.sampled_tokens
    assert both.memory["sampling"] > 2 * first.memory["sampling"]  # of the second turn alone
    narrow = recipe("charades/grpo", "train.look_again=true", f"second_look.total_pixels={512 * 28 * 28}")
    assert plan(narrow, model, 100).tokens_per_step - first.tokens_per_step == 64 * (512 + 60 + 256)


def test_a_reference_is_kept_in_bf16_but_for_its_embeddings() -> None:
    model = model_shape(SEVEN_B)
    reference = plan(recipe("charades/grpo"), model, 100).memory["reference"]
    embeddings = model.vocabulary * model.hidden
    assert reference == pytest.approx((2 * (model.total - embeddings) + 4 * embeddings) / 1e9)


def test_frozen_parts_learn_nothing() -> None:
    model = model_shape(SEVEN_B)
    frozen = plan(recipe("charades/grpo", "train.freeze=[tower, merger]"), model, 100).memory
    learning = model.total - model.tower - model.merger
    assert frozen["optimizer"] == pytest.approx(8 * learning / 1e9)


def test_visual_tokens_are_counted_by_the_familys_patches(new_model: Path) -> None:
    """Qwen3-VL's patches are 16 pixels wide, Qwen2.5-VL's 14: the same video is fewer tokens."""
    side = {"qwen2_5_vl": 28, "qwen3_vl": 32}[new_model.name]
    shape = model_shape(str(new_model))
    assert (shape.pixels_per_token, shape.frames_per_token) == (side**2, 2)
    settings = recipe("charades/grpo-80gb")
    needed = plan(settings, shape, 100)
    video, grpo, train = settings.video, settings.grpo, settings.train
    pixels = min(video.total_pixels, video.max_frames / 2 * video.max_pixels)
    row = round(pixels / side**2) + 60 + grpo.num_generations * grpo.max_completion_length
    assert needed.tokens_per_step == row * train.batch_size * train.gradient_accumulation_steps


def test_questions_of_a_custom_task_are_counted(tmp_path: Path) -> None:
    line = '{"id": "gym#%d", "task": "counting", "video": "gym.mp4", "query": "the rope is jumped", "count": 12}\n'
    (tmp_path / "counts.jsonl").write_text("".join(line % number for number in range(5)))
    counting = Path(__file__).parents[2] / "examples/counting.py"
    recipe = load_recipe("tiny/grpo", [f"tasks.files=[{counting}]"], tmp_path / "counts.jsonl")
    assert count_questions(recipe) == (5, 5)
