"""A judge that asks a language model. Replies are cached; after a malformed reply a question is asked once more."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from timesight.judge.cache import AnswerCache
from timesight.judge.questions import (
    DecoyAcceptedError,
    EventsQuestion,
    MalformedReplyError,
    Question,
    VerdictsQuestion,
)

LOGGER = logging.getLogger("timesight")
ATTEMPTS = 2  # at a well-formed reply


class Model(Protocol):
    """A language model that replies to batches of questions; ``name`` is part of the keys in the cache."""

    name: str

    def complete(self, questions: Sequence[Question]) -> list[str | None]:
        """Reply to each question; must not raise.

        Args:
            questions: N questions; ``task`` is the system prompt, ``content`` the user's message.

        Returns:
            N texts; None where there is no reply, after the model's own retries.
        """


class LLMJudge:
    """A ``Judge`` that asks a ``Model``.

    ``tally`` counts the outcomes of questions: ``scored``; ``unanswered`` (no reply), ``malformed`` (malformed
    reply, twice), ``decoy_accepted`` (the reply affirms a decoy).

    Args:
        model: The language model.
        cache: Replies to earlier questions; new ones are added.
    """

    def __init__(self, model: Model, cache: AnswerCache) -> None:
        self._model = model
        self._cache = cache
        self._warned: set[str] = set()
        self.tally: Counter[str] = Counter()

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        """The events in each caption, as the model lists them."""
        return self._answers([EventsQuestion(caption) for caption in captions])

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        """The model's verdicts; None if its reply is missing, malformed or affirms a decoy."""
        return self._answers([VerdictsQuestion(c, tuple(mine)) for c, mine in zip(captions, events, strict=True)])

    def _answers(self, questions: Sequence[Question]) -> list[Any]:
        """The answer to each question, in order; repeated questions are asked once."""
        answers: dict[Question, Any] = dict.fromkeys(questions)
        open_ = [question for question in answers if not self._take_kept(question, answers)]
        for attempt in range(ATTEMPTS):
            replies = self._model.complete(open_) if open_ else []
            again = []
            for question, reply in zip(open_, replies, strict=True):
                try:
                    if reply is None:
                        self._note("unanswered", "no answer")
                        continue
                    answers[question] = question.read(reply)
                    self._cache.put(self._key(question), reply)
                    self.tally["scored"] += 1
                except DecoyAcceptedError as error:
                    self._cache.put(self._key(question), reply or "")
                    self._note("decoy_accepted", str(error))
                except MalformedReplyError as error:
                    if attempt + 1 < ATTEMPTS:
                        again.append(question)
                    else:
                        self._note("malformed", str(error))
            open_ = again
        return [answers[question] for question in questions]

    def _take_kept(self, question: Question, answers: dict[Question, Any]) -> bool:
        """Take the answer from a cached reply; one that affirms a decoy still gives None."""
        kept = self._cache.get(self._key(question))
        if kept is None:
            return False
        try:
            answers[question] = question.read(kept)
            self.tally["scored"] += 1
        except DecoyAcceptedError:
            self.tally["decoy_accepted"] += 1
        except MalformedReplyError:  # cached by an older version that asked for another form
            return False
        return True

    def _key(self, question: Question) -> str:
        asked = "\0".join((self._model.name, question.task, question.content))
        return hashlib.sha256(asked.encode()).hexdigest()

    def _note(self, outcome: str, reason: str) -> None:
        self.tally[outcome] += 1
        if outcome not in self._warned:
            self._warned.add(outcome)
            LOGGER.warning(
                "judge %s: %s, a caption stays unscored (further ones are only counted)", self._model.name, reason
            )
