"""A judge behind an OpenAI-compatible address: a hosted one, vLLM, SGLang, Ollama, ``transformers serve``."""

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
GIVE_UP_AFTER = 3  # requests in a row that found nobody: the rest of a batch is not sent


class ServedModel:
    """Up to ``concurrency`` questions at once; time-outs, and retries with backoff, are the official client's.

    ``max_questions`` and ``max_total_tokens`` bound what is spent in this process; past them questions stay
    unanswered.
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
        self._structured = True  # until the server says that it does not know about schemas
        self._unanswered = 0  # requests in a row that found nobody
        self._warned: set[str] = set()

    def complete(self, questions: Sequence[Question]) -> list[str | None]:
        """The model's replies."""
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
        except Exception as error:  # whatever a server may call a completion
            self._warn("reply", f"not a reply of this protocol: {error!r} ({self._client.base_url})")
            return None
        self._unanswered = 0
        return reply

    def _request(self, question: Question) -> str:
        structured = self._structured  # what this call sends; another thread may learn better meanwhile
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
        with self._lock:  # a server that does not say is taken to have used a token for four characters
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
        """Once for each kind of trouble."""
        if kind not in self._warned:
            self._warned.add(kind)
            LOGGER.warning("judge %s: %s", self.name, message)
