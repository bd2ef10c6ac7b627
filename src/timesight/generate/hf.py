"""Models that are not of the Qwen-VL families, each through its own processor: they answer, but are not trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from timesight.errors import InputError, ModelError
from timesight.generate.base import Completion, Generator, Sampling
from timesight.model.encode import video_metadata
from timesight.model.load import resolve
from timesight.model.prompt import Prompt
from timesight.types import TextPart
from timesight.video import FrameBudget

# LLaVA-OneVision was trained on as many; at some 200 tokens a frame they fill a quarter of a context of 32,000.
MAX_FRAMES = 32
MAX_PIXELS = 448 * 448  # InternVL's size, and about that of others: their processors fit the frame to it


class TransformersGenerator(Generator):
    """Any video-text-to-text model of ``transformers``: a folder, or a hub id.

    Prompts are answered one at a time, since families differ in how, and whether, they take videos of different
    lengths at once. ``device``: a GPU if there is one. ``dtype``: the weights' type, ``auto`` as saved. Raises
    InputError for what cannot be loaded or has no chat template.
    """

    def __init__(self, path: str | Path, *, device: str | None = None, dtype: str = "auto") -> None:
        self.name = str(path)
        where = resolve(path)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:  # code that comes with a model is not run; not saying so would ask on the terminal
            self._processor: Any = AutoProcessor.from_pretrained(where, trust_remote_code=False)
            model: Any = AutoModelForImageTextToText.from_pretrained(where, dtype=dtype, trust_remote_code=False)
            self._model: Any = model.to(device).eval()
        except Exception as error:  # every family fails in another way
            raise InputError(f"{path}: is not a model that can be loaded ({_first_line(error)})") from None
        if self._processor.chat_template is None:
            raise InputError(f"{path}: has no chat template; choose an instruction-tuned model")
        ends = self._model.generation_config.eos_token_id
        ends = self._processor.tokenizer.eos_token_id if ends is None else ends
        self._end_ids: list[int] = ends if isinstance(ends, list) else [ends]

    @property
    def factor(self) -> int:
        """1: the processors bring frames to the size that their model wants."""
        return 1

    @property
    def default_budget(self) -> FrameBudget:
        """As many frames as the model's processor says that it was made for, close together in short videos."""
        video_processor = getattr(self._processor, "video_processor", None)
        stated = getattr(video_processor, "num_frames", None) or MAX_FRAMES
        most = max(2, stated // 2 * 2)
        return FrameBudget(
            min_frames=min(4, most),
            max_frames=most,
            max_pixels=MAX_PIXELS,
            total_pixels=most // 2 * MAX_PIXELS,  # the size does not depend on the number
        )

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        """Replies to each prompt, or why the model gave none.

        Raises:
            ModelError: If the model does not take videos.
        """
        sampling = sampling or Sampling()
        settings: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            settings = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
        if sampling.suppress_tokens:
            settings["suppress_tokens"] = list(sampling.suppress_tokens)
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        settings["max_new_tokens"] = sampling.max_new_tokens
        settings["num_return_sequences"] = num_generations if settings["do_sample"] else 1  # greedy: all the same
        groups = [self._replies(prompt, settings) for prompt in prompts]
        return [group if isinstance(group, ModelError) else _widened(group, num_generations) for group in groups]

    @torch.inference_mode()
    def _replies(self, prompt: Prompt, settings: dict[str, Any]) -> list[Completion] | ModelError:
        try:
            inputs = self._encode(prompt)
            output = self._model.generate(
                **inputs,
                **settings,
                num_beams=1,  # what the model itself says, not what the settings saved with it make of that
                repetition_penalty=1.0,
                eos_token_id=self._end_ids,
            )
        except ModelError:
            raise
        except Exception as error:  # such as a prompt that is too long, or that holds a mark of the processor's
            return ModelError(f"{self.name}: {_first_line(error)}")
        num_prompt = inputs["input_ids"].shape[1]
        return [self._completion(row, num_prompt) for row in output[:, num_prompt:].tolist()]

    def _completion(self, row: list[int], num_prompt: int) -> Completion:
        length = next((n + 1 for n, token in enumerate(row) if token in self._end_ids), len(row))  # then padding
        ids = row[:length]
        return Completion(
            text=self._processor.decode(ids, skip_special_tokens=True),
            token_ids=tuple(ids),
            finish_reason="stop" if ids[-1] in self._end_ids else "length",
            prompt_tokens=num_prompt,
            completion_tokens=length,
        )

    def _encode(self, prompt: Prompt) -> Any:
        """What the model's own processor makes of ``prompt``. Raises ModelError if it makes nothing of videos."""
        frames = iter(prompt.frames)
        conversation = [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part.text}
                    if isinstance(part, TextPart)
                    else {"type": "video", "video": torch.from_numpy(next(frames).pixels).permute(0, 3, 1, 2)}
                    for part in message.parts
                ],
            }
            for message in prompt.messages()
        ]
        inputs = self._processor.apply_chat_template(
            conversation,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={
                "video_metadata": [video_metadata(f) for f in prompt.frames] or None,
                "do_sample_frames": False,  # these frames are the sample
            },
        )
        # Processors of models for images drop videos without a word.
        if prompt.frames and not any("pixel_values" in key for key in inputs):
            raise ModelError(f"{self.name}: does not take videos")
        return inputs.to(self._model.device, dtype=self._model.dtype)


def _widened(group: list[Completion], num_generations: int) -> list[Completion]:
    return group * (num_generations // len(group))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
