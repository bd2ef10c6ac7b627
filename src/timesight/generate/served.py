"""A video language model behind an OpenAI-compatible endpoint: a hosted one, vLLM, SGLang, Ollama.

The protocol has no videos, so frames are sent as images, each after its time in words.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from openai import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    BaseModel,
    NotFoundError,
    PermissionDeniedError,
)
from openai.types.chat import ChatCompletionContentPartParam
from PIL import Image

from timesight.clients import openai_client
from timesight.errors import ModelError
from timesight.generate.base import Completion, Generator, Sampling, as_group
from timesight.model.prompt import Prompt
from timesight.types import TextPart
from timesight.video import FrameBudget, Frames

JPEG_QUALITY = 90  # higher costs bytes and shows nothing new at this size
# A frame of this size costs a model some 200 to 400 tokens and a request 10 to 40 kB: 32 of them fit into contexts
# of 16,000 tokens, and stay below the number of pictures and megabytes that hosted models take in one request.
BUDGET = FrameBudget(fps=1.0, max_frames=32, max_pixels=360 * 420)
NO_REPLY = "not a reply of this protocol"
MAX_REASON_CHARS = 300  # some servers answer with a web page, or with the whole request
FOR_ALL = (APIConnectionError, AuthenticationError, PermissionDeniedError, NotFoundError)  # would not change


class ServedGenerator(Generator):
    """Up to ``concurrency`` prompts at once; time-outs, and retries with backoff, are the official client's.

    Without ``base_url`` OpenAI's own address is asked. ``api_key_env`` names the environment variable with the key;
    ``timeout_s`` bounds one try. ``factor``: frame sides are multiples of this many pixels. Raises InputError where
    there is neither a key nor an address.
    """

    def __init__(
        self,
        name: str,
        base_url: str | None,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        timeout_s: float = 120.0,
        max_retries: int = 4,
        concurrency: int = 8,
        factor: int = 28,
    ) -> None:
        self.name = name
        self._factor = factor
        self._client = openai_client(
            name, base_url, api_key_env=api_key_env, timeout_s=timeout_s, max_retries=max_retries
        )
        self._concurrency = concurrency

    @property
    def factor(self) -> int:
        """As given."""
        return self._factor

    @property
    def default_budget(self) -> FrameBudget:
        """``BUDGET``."""
        return BUDGET

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        """Replies to each prompt, each asked for by itself, or why the server gave none.

        Raises:
            ModelError: If the server is not there, does not answer in time, or has no such model for us.
        """
        pool = ThreadPoolExecutor(self._concurrency)
        sampling = sampling or Sampling()
        asked = [
            [pool.submit(self._reply, prompt, sampling, n) for n in range(num_generations)] for prompt in prompts
        ]
        try:
            wait([one for group in asked for one in group], return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
        return [as_group([future.result() for future in group]) for group in asked]

    def _reply(self, prompt: Prompt, sampling: Sampling, number: int) -> Completion | ModelError:
        try:
            completion = self._client.chat.completions.create(
                model=self.name,
                messages=_messages(prompt),
                temperature=sampling.temperature,
                max_tokens=sampling.max_new_tokens,
                **_options(sampling, number),
            )
            return self._read(completion)
        except FOR_ALL as error:
            raise self._error(error_reason(error)) from None
        except APIError as error:
            return self._error(error_reason(error))
        except Exception:  # whatever a server may call a completion
            return self._error(f"{NO_REPLY}: what came cannot be read as JSON")

    def _read(self, completion: Any) -> Completion | ModelError:
        choices = getattr(completion, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message, usage = getattr(choice, "message", None), getattr(completion, "usage", None)
        if not hasattr(message, "content"):
            return self._error(f"{NO_REPLY}: {_shown(completion)}")
        text, end = getattr(message, "content", None), getattr(choice, "finish_reason", None)
        if end == "content_filter" or not isinstance(text, str):
            refusal = getattr(message, "refusal", None)
            return self._error(f"no reply, finish_reason {end}" + (f": {refusal}" if refusal else ""))
        used = [getattr(usage, count, None) for count in ("prompt_tokens", "completion_tokens")]
        prompt_tokens, new_tokens = (count if isinstance(count, int) else None for count in used)
        return Completion(
            text=text,
            finish_reason="length" if end == "length" else "stop",
            prompt_tokens=prompt_tokens,
            completion_tokens=new_tokens,
        )

    def _error(self, reason: str) -> ModelError:
        line = " ".join(reason.split())[:MAX_REASON_CHARS]
        return ModelError(f"{self.name} at {self._client.base_url}: {line}")


def _options(sampling: Sampling, number: int) -> dict[str, Any]:
    """Sent only where asked for, since not every server knows them; each reply of a group has another seed."""
    options: dict[str, Any] = {}
    if sampling.seed is not None:
        options["seed"] = sampling.seed + number
    if sampling.suppress_tokens:
        options["logit_bias"] = {str(token): -100 for token in sampling.suppress_tokens}
    return options


def _messages(prompt: Prompt) -> list[Any]:
    """The conversation: texts and, for each video, its frames with their times."""
    frames = iter(prompt.frames)
    messages = []
    for role, parts in prompt.messages():
        content: list[ChatCompletionContentPartParam] = []
        for part in parts:
            if isinstance(part, TextPart):
                content.append({"type": "text", "text": part.text})
            else:
                content += _images(next(frames))
        messages.append({"role": role, "content": content})
    return messages


def _images(frames: Frames) -> list[ChatCompletionContentPartParam]:
    parts: list[ChatCompletionContentPartParam] = []
    for pixels, time_s in zip(frames.pixels, frames.times_s.tolist(), strict=True):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
        url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        parts += [
            {"type": "text", "text": f"{time_s:.1f} s:"},
            {"type": "image_url", "image_url": {"url": url}},
        ]
    return parts


def _shown(completion: Any) -> str:
    """What came, in the server's own words."""
    return str(completion.to_json(indent=None, warnings=False) if isinstance(completion, BaseModel) else completion)


def error_reason(error: APIError) -> str:
    """The server's own words where there are any, what went wrong with the connection where there are none."""
    said = error.body.get("message", error.body) if isinstance(error.body, dict) else error.body
    return str(said or error.__cause__ or error.message)
