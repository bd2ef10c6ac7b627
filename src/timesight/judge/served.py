"""A judge on an OpenAI-compatible server: a hosted one, vLLM, SGLang, Ollama, ``transformers serve``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import APIConnectionError, APIError, BadRequestError, UnprocessableEntityError

from timesight.clients import openai_client
from timesight.judge.questions import Question

LOGGER = logging.getLogger("timesight")
MAX_REPLY_TOKENS = 2048
GIVE_UP_AFTER = 3  # requests in a row that cannot connect: the rest of a batch is not sent


class ServedModel:
    """A model on an OpenAI-compatible server, asked at temperature 0.

    Time-outs and retries with backoff are those of the official client. ``spent`` counts the questions and tokens
    of this process; past a budget, questions stay unanswered.

    Args:
        name: Of the model, as the server knows it.
        base_url: Of the server; None is OpenAI's own.
        api_key_env: Environment variable with the key.
        timeout_s: Of one try, in seconds.
        max_retries: After the first try of a request.
        concurrency: Requests in flight at the same time.
        max_questions: Budget of questions, not counting the client's retries; None is no limit.
        max_total_tokens: Budget of prompt and completion tokens, checked before each question; None is no limit.

    Raises:
        InputError: If there is neither a key nor a ``base_url``.
    """

    def __init__(
        self,
        name: str,
        base_url: str | None,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        timeout_s: float = 60.0,
        max_retries: int = 4,
        concurrency: int = 16,
        max_questions: int | None = None,
        max_total_tokens: int | None = None,
    ) -> None:
        self.name = name
        self._client = openai_client(
            name, base_url, api_key_env=api_key_env, timeout_s=timeout_s, max_retries=max_retries
        )
        self._concurrency = concurrency
        self._most = {"questions": max_questions, "tokens": max_total_tokens}
        self.spent = {"questions": 0, "tokens": 0}
        self._lock = threading.Lock()
        self._structured = True  # until the server refuses a schema for the response
        self._unanswered = 0  # requests in a row that could not connect
        self._warned: set[str] = set()

    def complete(self, questions: Sequence[Question]) -> list[str | None]:
        """The model's reply to each question; None for a failed request or one past the budget."""
        self._unanswered = 0
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(self._complete, questions))

    def _complete(self, question: Question) -> str | None:
        if self._unanswered >= GIVE_UP_AFTER or not self._may_spend():
            return None
        try:
            reply = self._request(question)
        except APIError as error:
            with self._lock:
                self._unanswered += isinstance(error, APIConnectionError)
            self._warn(type(error).__name__, f"{error.message} ({self._client.base_url})")
            return None
        except Exception as error:  # a completion without the expected fields
            self._warn("reply", f"not a reply of this protocol: {error!r} ({self._client.base_url})")
            return None
        self._unanswered = 0
        return reply

    def _request(self, question: Question) -> str:
        structured = self._structured  # what this call sends; another thread may change it meanwhile
        try:
            completion = self._send(question, structured)
        except (BadRequestError, UnprocessableEntityError) as error:
            if not structured or "response_format" not in str(error):
                raise
            self._structured = False
            completion = self._send(question, structured=False)
        content = completion.choices[0].message.content
        if not isinstance(content, str):
            raise TypeError(f"content is {content!r}")
        used = getattr(completion.usage, "total_tokens", None)
        with self._lock:  # if the server reports no usage, estimate a token per four characters
            self.spent["tokens"] += used or (len(question.task) + len(question.content) + len(content)) // 4
        return content

    def _send(self, question: Question, structured: bool) -> Any:
        schema = {"name": "answer", "strict": True, "schema": question.schema.model_json_schema()}
        return self._client.chat.completions.create(
            model=self.name,
            messages=[{"role": "system", "content": question.task}, {"role": "user", "content": question.content}],
            temperature=0,
            max_tokens=MAX_REPLY_TOKENS,
            **({"response_format": {"type": "json_schema", "json_schema": schema}} if structured else {}),  # type: ignore[call-overload]
        )

    def _may_spend(self) -> bool:
        with self._lock:
            over = [what for what, most in self._most.items() if most is not None and self.spent[what] >= most]
            if not over:
                self.spent["questions"] += 1
                return True
        self._warn("budget", f"the budget of {self._most[over[0]]} {over[0]} is spent")
        return False

    def _warn(self, kind: str, message: str) -> None:
        """Log a warning once for each ``kind``."""
        if kind not in self._warned:
            self._warned.add(kind)
            LOGGER.warning("judge %s: %s", self.name, message)
