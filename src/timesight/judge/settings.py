"""Settings of the judge: a section of a recipe, or options of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from timesight.judge.cache import AnswerCache
from timesight.judge.llm import LLMJudge
from timesight.judge.noisy import NoisyJudge
from timesight.types import Judge

CACHE_FILE = "judge.sqlite"
SERVED_ONLY = {
    *("base_url", "api_key_env", "timeout_s", "max_retries", "concurrency", "max_questions", "max_total_tokens")
}


class JudgeSettings(BaseModel):
    """Which judge to use.

    ``kind`` is ``served`` for an OpenAI-compatible server, ``local`` for a model in this process, ``world`` for the
    synthetic world's exact judge. ``max_questions`` bounds the questions sent, not counting the client's retries;
    ``max_total_tokens`` is checked before each question, so up to ``concurrency`` questions may go past it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["served", "local", "world"]  # a server, a model in this process, the world's
    model: str = ""  # name on the server, or folder or hub id; not used by world
    base_url: str | None = None  # None is OpenAI's own server
    api_key_env: str = "OPENAI_API_KEY"  # the environment variable with the key
    timeout_s: float = Field(default=60.0, gt=0)  # of one try
    max_retries: int = Field(default=4, ge=0)  # with backoff
    concurrency: int = Field(default=16, gt=0)  # requests in flight at the same time
    max_questions: int | None = Field(default=None, ge=0)  # sent, retries not counted; None is no limit
    max_total_tokens: int | None = Field(default=None, ge=0)  # of all replies and questions; None is no limit
    cache: Path | None = None  # SQLite file of replies to share between runs; None: in the run directory
    max_unjudged_share: float = Field(default=0.5, ge=0, le=1)  # training stops if a larger share is unscored
    error_rate: float = Field(default=0.0, ge=0, le=1)  # share of the exact judge's verdicts that are flipped

    @model_validator(mode="after")
    def _model_is_named(self) -> JudgeSettings:
        if self.kind != "world" and not self.model:
            raise ValueError(f"a {self.kind} judge needs a model")
        changed = {name for name, info in type(self).model_fields.items() if getattr(self, name) != info.default}
        if self.kind != "served" and (idle := sorted(changed & SERVED_ONLY)):
            raise ValueError(f"{idle[0]} is for a served judge, not for a {self.kind} one")
        if self.error_rate and self.kind != "world":
            raise ValueError(f"error_rate is for the world's judge: a {self.kind} one makes real mistakes")
        return self


def open_judge(settings: JudgeSettings | None, exact: Judge, folder: Path | None = None) -> Judge | None:
    """Set up the judge that ``settings`` describe.

    Args:
        settings: None for no judge.
        exact: The synthetic world's judge, returned for ``kind`` ``world``.
        folder: Where replies are cached, unless the settings name a file. None caches in memory only.

    Returns:
        The judge; None without settings.

    Raises:
        InputError: If a local model cannot be loaded, or a served one has neither a key nor a ``base_url``.
    """
    if settings is None:
        return None
    if settings.kind == "world":
        return NoisyJudge(exact, settings.error_rate) if settings.error_rate else exact
    file = settings.cache or (folder / CACHE_FILE if folder is not None else None)
    if settings.kind == "local":
        from timesight.judge.local import LocalModel  # torch is loaded only where a judge needs it

        return LLMJudge(LocalModel(settings.model), AnswerCache(file))
    from timesight.judge.served import ServedModel

    limits = settings.model_dump(exclude={"kind", "model", "base_url", "cache", "max_unjudged_share", "error_rate"})
    return LLMJudge(ServedModel(settings.model, settings.base_url, **limits), AnswerCache(file))
