"""Models of other families, small and random, saved to a folder and loaded as a user would load them."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
)
from transformers.models.got_ocr2 import GotOcr2ImageProcessor
from transformers.utils.logging import warning_once

from timesight.errors import InputError, ModelError
from timesight.generate.base import Completion, Sampling
from timesight.generate.hf import TransformersGenerator
from timesight.model.prompt import Prompt
from timesight.model.tiny import embedded_path
from timesight.types import TextPart, Video, VideoPart
from timesight.video import Frames

SIDE, PATCH = 32, 8  # pixels of what the towers see
SIZE = {"height": SIDE, "width": SIDE}
TEMPLATE = """\
{%- for message in messages -%}<|im_start|>{{ message.role }}
{% for part in message.content %}{% if part.type == 'video' %}<video>
{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
MARKS = {
    "image_token": "<image>",
    "video_token": "<video>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
}
QUESTION = TextPart("When is the red circle visible?")


def make_tokenizer() -> Any:
    tokenizer = AutoTokenizer.from_pretrained(embedded_path(), extra_special_tokens=MARKS)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def text_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,  # so that what a random model says depends on what it sees
        "max_position_embeddings": 1024,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }


def vision_config(model_type: str, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return (
        {"model_type": model_type, "image_size": SIDE, "patch_size": PATCH, "initializer_range": 0.3} | sizes | more
    )


def llava_onevision(tokenizer: Any) -> tuple[Any, Any]:
    config = LlavaOnevisionConfig(
        vision_config=vision_config("siglip_vision_model", vision_use_head=False),
        text_config=text_config(tokenizer),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=[[SIDE, SIDE]],
    )
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=SIZE, image_grid_pinpoints=[[SIDE, SIDE]]),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=SIZE, do_sample_frames=True, fps=1),
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def internvl(tokenizer: Any) -> tuple[Any, Any]:
    config = InternVLConfig(
        vision_config=vision_config("internvl_vision"),
        text_config=text_config(tokenizer),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=(SIDE // PATCH) ** 2 // 4,
    )
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=SIZE),
        tokenizer,
        InternVLVideoProcessor(size=SIZE, do_sample_frames=True, num_frames=9),
        image_seq_length=config.image_seq_length,
        chat_template=TEMPLATE,
    )
    return InternVLForConditionalGeneration(config), processor


def llava(tokenizer: Any) -> tuple[Any, Any]:
    """A model for images, whose processor takes a video without a word and does nothing with it."""
    config = LlavaConfig(
        vision_config=vision_config("clip_vision_model"),
        text_config=text_config(tokenizer),
        image_token_index=tokenizer.image_token_id,
    )
    processor = LlavaProcessor(CLIPImageProcessor(size=SIZE), tokenizer, patch_size=PATCH, chat_template=TEMPLATE)
    return LlavaForConditionalGeneration(config), processor


def saved(family: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    model, processor = family(make_tokenizer())
    model.generation_config.update(
        pad_token_id=None, do_sample=True, temperature=0.3, top_p=0.8, top_k=7, repetition_penalty=1.5
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[llava_onevision, internvl])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(request.param, tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def model(folder: Path) -> TransformersGenerator:
    return TransformersGenerator(folder, device="cpu")


def noise(seed: int, num_frames: int = 4, height: int = 40, width: int = 60) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(num_frames) * 0.5, (0.0, num_frames * 0.5), num_frames * 0.5)


def about(*videos: Frames, question: TextPart = QUESTION) -> Prompt:
    return Prompt([*[VideoPart(Video(path=Path("v.mp4")))] * len(videos), question], videos)


def ask(
    model: TransformersGenerator, *prompts: Prompt, temperature: float = 0.0, most: int = 8
) -> list[Completion]:
    replies = model.answer(prompts, Sampling(temperature=temperature, max_new_tokens=most))
    assert not [reply for reply in replies if isinstance(reply, ModelError)]
    return [reply for reply in replies if isinstance(reply, Completion)]


@torch.inference_mode()
def logits(model: TransformersGenerator, prompt: Prompt) -> torch.Tensor:
    """Scores (V,) of the first token of the reply."""
    return torch.as_tensor(model._model(**model._encode(prompt)).logits[0, -1])


def test_the_video_is_seen(model: TransformersGenerator) -> None:
    seen = logits(model, about(noise(0)))
    assert torch.equal(seen, logits(model, about(noise(0))))
    assert (seen - logits(model, about(noise(1)))).abs().max() > 0.01
    assert ask(model, about(noise(0)), most=32) != ask(model, about(noise(1)), most=32)


def test_every_frame_is_seen_and_their_order(model: TransformersGenerator) -> None:
    video = noise(0)
    seen = logits(model, about(video))
    for index in range(4):
        pixels = video.pixels.copy()
        pixels[index] = 255 - pixels[index]
        changed = Frames(pixels, video.times_s, video.window_s, video.duration_s)
        assert (seen - logits(model, about(changed))).abs().max() > 1e-3, f"frame {index}"
    backwards = Frames(video.pixels[::-1].copy(), video.times_s, video.window_s, video.duration_s)
    assert (seen - logits(model, about(backwards))).abs().max() > 1e-3


def test_both_of_two_videos_are_seen(model: TransformersGenerator) -> None:
    first, second = noise(0), noise(1)
    seen = logits(model, about(first, second))
    for other in (about(first, first), about(second, second), about(second, first)):
        assert (seen - logits(model, other)).abs().max() > 1e-3


def test_the_processor_gets_real_times_and_takes_no_sample(model: TransformersGenerator, monkeypatch: Any) -> None:
    calls: list[dict[str, Any]] = []
    video_processor = model._processor.video_processor
    decode = video_processor._decode_and_sample_videos

    def record(videos: Any, **given: Any) -> Any:
        calls.append(given)
        return decode(videos, **given)

    monkeypatch.setattr(video_processor, "_decode_and_sample_videos", record)
    ask(model, about(noise(0)))
    assert calls[0]["do_sample_frames"] is False
    assert calls[0]["video_metadata"][0]["frames_indices"] == [0, 500, 1000, 1500]
    assert calls[0]["video_metadata"][0]["fps"] == 1000


@torch.inference_mode()
def test_greedy_replies_are_the_likeliest_tokens(model: TransformersGenerator) -> None:
    prompt = about(noise(0))
    first, again = ask(model, prompt, prompt, most=12)
    inputs = model._encode(prompt)
    likeliest: list[int] = []
    for _ in range(12):
        likeliest.append(int(model._model(**inputs).logits[0, -1].argmax()))
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([likeliest[-1:]])], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    assert first == again
    assert first.text == model._processor.decode(likeliest, skip_special_tokens=True)


def test_sampled_replies_are_of_the_whole_distribution(model: TransformersGenerator) -> None:
    torch.manual_seed(0)
    prompt = about(noise(0))
    replies = ask(model, *[prompt] * 40, temperature=3.0, most=1)
    # More different tokens than the seven likeliest, which the settings saved with the model would leave.
    assert len({reply.text for reply in replies}) > 10


def test_a_reply_that_runs_into_the_limit_is_truncated(model: TransformersGenerator) -> None:
    (reply,) = ask(model, about(noise(0)), most=5)
    assert (reply.truncated, reply.completion_tokens) == (True, 5)


def test_a_reply_that_ends_is_not_truncated(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    file = tmp_path / "model/generation_config.json"
    settings = json.loads(file.read_text()) | {"eos_token_id": list(range(len(make_tokenizer())))}
    file.write_text(json.dumps(settings))
    (reply,) = ask(TransformersGenerator(tmp_path / "model", device="cpu"), about(noise(0)), most=1)
    assert (reply.truncated, reply.completion_tokens) == (False, 1)


def test_more_frames_are_more_tokens_of_the_prompt(model: TransformersGenerator) -> None:
    short, long, without = ask(model, about(noise(0, 4)), about(noise(0, 8)), Prompt([QUESTION], []))
    assert short.prompt_tokens is not None
    assert long.prompt_tokens is not None
    assert without.prompt_tokens is not None
    assert long.prompt_tokens - short.prompt_tokens >= 4 * 4  # a frame is four tokens or more
    assert short.prompt_tokens - without.prompt_tokens >= 4 * 4


def test_one_prompt_that_cannot_be_read_does_not_take_the_others_along(model: TransformersGenerator) -> None:
    bad = about(noise(0), question=TextPart("what does <video> mean?"))
    first, second, third = model.answer([about(noise(0)), bad, about(noise(1))], Sampling(max_new_tokens=2))
    assert isinstance(first, Completion)
    assert isinstance(third, Completion)
    assert isinstance(second, ModelError)
    assert str(second).startswith(f"{model.name}: ")
    assert "\n" not in str(second)


def test_a_model_for_images_is_not_asked_about_videos(tmp_path: Path) -> None:
    model = TransformersGenerator(saved(llava, tmp_path), device="cpu")
    with pytest.raises(ModelError, match="does not take videos"):
        model.answer([about(noise(0))], Sampling(max_new_tokens=2))


def test_settings_saved_with_a_model_cause_no_noise(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("transformers")
    warning_once.cache_clear()
    library.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING, "transformers"):
            ask(TransformersGenerator(folder, device="cpu"), about(noise(0)))
    finally:
        library.removeHandler(caplog.handler)
    assert not caplog.messages


def test_the_budget_is_the_processors_number_of_frames(tmp_path: Path) -> None:
    budget = TransformersGenerator(saved(internvl, tmp_path / "a"), device="cpu").default_budget
    assert (budget.min_frames, budget.max_frames) == (4, 8)
    budget = TransformersGenerator(saved(llava_onevision, tmp_path / "b"), device="cpu").default_budget
    assert budget.max_frames == 32


def test_what_is_no_such_model_is_named(tmp_path: Path, text_model: Path) -> None:
    with pytest.raises(InputError, match="no model at"):
        TransformersGenerator(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"is not a model that can be loaded \(.+\)$"):
        TransformersGenerator(text_model)
    mute = saved(internvl, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="has no chat template"):
        TransformersGenerator(mute)
