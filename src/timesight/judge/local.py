"""A judge in this process: a chat model of ``transformers``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from timesight.errors import InputError
from timesight.judge.questions import Question

MAX_REPLY_TOKENS = 1024


class LocalModel:
    """A chat model of ``transformers`` that replies greedily, without running code from the model's repository.

    Args:
        name: Folder or hub id of the model.
        device: None takes a GPU if there is one.
        batch_size: Questions in a batch.

    Raises:
        InputError: If the model cannot be loaded or has no chat template.
    """

    def __init__(self, name: str, *, device: str | None = None, batch_size: int = 8) -> None:
        self.name = name
        self._batch_size = batch_size
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name, padding_side="left", trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(name, dtype="auto", trust_remote_code=False)
            self._model: Any = model.to(device).eval()
        except (OSError, ValueError) as error:
            raise InputError(
                f"judge {name}: is not a model that can be loaded ({str(error).splitlines()[0]})"
            ) from None
        if self._tokenizer.chat_template is None:
            raise InputError(f"judge {name}: has no chat template; choose an instruction-tuned model")

    def complete(self, questions: Sequence[Question]) -> list[str | None]:
        """The model's reply to each question."""
        replies: list[str | None] = []
        for first in range(0, len(questions), self._batch_size):
            replies += self._batch(questions[first : first + self._batch_size])
        return replies

    @torch.inference_mode()
    def _batch(self, questions: Sequence[Question]) -> list[str]:
        chats = [
            [{"role": "system", "content": question.task}, {"role": "user", "content": question.content}]
            for question in questions
        ]
        prompts = self._tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        inputs = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self._model.device)
        output = self._model.generate(**inputs, do_sample=False, max_new_tokens=MAX_REPLY_TOKENS)
        replies: list[str] = self._tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return replies
