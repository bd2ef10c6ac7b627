"""Which judge, and how it is reached: a section of a recipe, or options of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from timesight.errors import InputError
from timesight.judge.asking import AskingJudge
from timesight.judge.cache import AnswerCache
from timesight.types import Judge

CACHE_FILE = "judge.sqlite"
SERVED_ONLY = {
    *("base_url", "api_key_env", "timeout_s", "max_retries", "concurrency", "max_questions", "max_total_tokens")
}


class JudgeSettings(BaseModel):
    """``served`` asks an OpenAI-compatible address, ``local`` a model in this process, ``world`` the synthetic
    world.

    ``max_questions`` bounds the questions sent, retries on top; ``max_total_tokens`` is looked at before each, so
    up to ``concurrency`` questions may pass it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["served", "local", "world"]
    model: str = ""
    base_url: str | None = None  # without one, OpenAI's own
    api_key_env: str = "OPENAI_API_KEY"  # the environment variable with the key
    timeout_s: float = Field(default=60.0, gt=0)
    max_retries: int = Field(default=4, ge=0)
    concurrency: int = Field(default=16, gt=0)
    max_questions: int | None = Field(default=None, ge=0)
    max_total_tokens: int | None = Field(default=None, ge=0)
    cache: Path | None = None  # a file of answers to share between runs; without one, in the run directory
    max_unjudged_share: float = Field(default=0.5, ge=0, le=1)  # training stops when more than this stays unscored

    @model_validator(mode="after")
    def _model_is_named(self) -> JudgeSettings:
        if self.kind != "world" and not self.model:
            raise ValueError(f"a {self.kind} judge needs a model")
        changed = {name for name, info in type(self).model_fields.items() if getattr(self, name) != info.default}
        if self.kind != "served" and (idle := sorted(changed & SERVED_ONLY)):
            raise ValueError(f"{idle[0]} is for a served judge, not for a {self.kind} one")
        return self


def open_judge(settings: JudgeSettings | None, exact: Judge, folder: Path | None = None) -> Judge | None:
    """The judge that ``settings`` describe; None without any.

    ``exact`` is the synthetic world's. Answers are kept in ``folder`` unless the settings name a file. Raises
    InputError for a judge that cannot be set up.
    """
    if settings is None:
        return None
    if settings.kind == "world":
        return exact
    file = settings.cache or (folder / CACHE_FILE if folder is not None else None)
    if settings.kind == "local":
        from timesight.judge.local import LocalModel  # torch is loaded only where a judge needs it

        return AskingJudge(LocalModel(settings.model), AnswerCache(file))
    from openai import OpenAIError

    from timesight.judge.served import ServedModel

    limits = settings.model_dump(exclude={"kind", "model", "base_url", "cache", "max_unjudged_share"})
    try:
        return AskingJudge(ServedModel(settings.model, settings.base_url, **limits), AnswerCache(file))
    except OpenAIError:
        raise InputError(
            f"judge {settings.model}: no key in {settings.api_key_env}; set it, or give the base_url of a server"
        ) from None
