"""Fixtures shared by all tests: a small synthetic world, small random models, real samples where present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test is timed: a busy machine must not make one fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Tests compare to the last digits, and GPUs add up in another order from run to run.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

SAMPLES = Path(
    os.environ.get("TIMESIGHT_SAMPLES", Path(__file__).parents[1] / ".." / "shared" / "samples")
).resolve()


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    if not SAMPLES.is_dir():
        pytest.skip(f"real samples are not at {SAMPLES} (set TIMESIGHT_SAMPLES)")
    return SAMPLES


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of the synthetic world, of three seconds and 30 frames."""
    from timesight.world import WorldSettings, make_scene, write_video

    file = tmp_path_factory.mktemp("video") / "v.mp4"
    write_video(make_scene("v", (5, 1), WorldSettings(duration_s=(3.0, 3.0))), file)
    return file


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic world of 24 training and 12 held-out videos, asked when things happen."""
    from timesight.world import WorldSettings, write_world

    root = tmp_path_factory.mktemp("world")
    write_world(root, {"train": 24, "test": 12}, WorldSettings(tasks=("temporal_grounding",)), seed=5)
    return root


@pytest.fixture(scope="session")
def full_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic world of 16 training and 12 held-out videos with samples of every task."""
    from timesight.world import write_world

    root = tmp_path_factory.mktemp("full_world")
    write_world(root, {"train": 16, "test": 12}, seed=5)
    return root


@pytest.fixture(scope="session", params=["qwen2_5_vl", "qwen3_vl"])
def new_model(request: pytest.FixtureRequest, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained tiny model, one of each family."""
    from timesight.data import read_jsonl
    from timesight.model.tiny import create
    from timesight.tasks.corpus import prompts_and_replies

    folder = tmp_path_factory.mktemp("model") / str(request.param)
    create(folder, request.param, 0, prompts_and_replies(read_jsonl(world / "train.jsonl")))
    return folder


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random chat model without eyes, which can only talk nonsense."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from timesight.model.tiny import embedded_path

    folder = tmp_path_factory.mktemp("text_model")
    tokenizer = AutoTokenizer.from_pretrained(embedded_path())
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
