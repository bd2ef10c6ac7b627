"""One question about one video, whoever asks it: how it is put, and what the reply shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from timesight.errors import InputError, ModelError
from timesight.generate.base import Completion, Sampling
from timesight.generate.local import LocalGenerator
from timesight.infer.answer import MAX_NEW_TOKENS
from timesight.infer.clue import ClueGenerator, ClueSettings
from timesight.infer.prompts import build_prompt
from timesight.model.policy import Policy
from timesight.model.prompt import Exchange, Prompt
from timesight.tasks import TASKS
from timesight.tasks.evidence import spans_of_reply
from timesight.types import Box, Reply, Sample, TextPart, Video
from timesight.video import FrameBudget, FrameReader

ASKED = ("open_qa", "temporal_grounding", "grounded_qa", "object_tracking")


@dataclass(frozen=True)
class Question:
    """What somebody wants to know.

    ``task`` says in which form: ``open_qa`` in words, ``temporal_grounding`` when something happens,
    ``grounded_qa`` which of ``options`` is right, ``object_tracking`` where the object ``text`` is at ``num_boxes``
    times from ``start_s`` to ``end_s``, seen at ``box`` first. All come with their evidence. A text that shows an
    ``<answer>`` tag is a whole prompt, and put as it is.
    """

    text: str
    task: str = "open_qa"
    options: tuple[str, ...] = ()
    box: Box | None = None
    start_s: float = 0.0
    end_s: float | None = None
    num_boxes: int = 8

    def sample(self, video: Video) -> Sample:
        """The question as a sample without truth. Raises InputError for one that cannot be asked."""
        if self.task not in ASKED:
            raise InputError(f"a question of task {self.task} cannot be asked; choose one of {', '.join(ASKED)}")
        if not self.text.strip():
            raise InputError("the question is empty: say what you want to know")
        fields = {
            "open_qa": self._open,
            "temporal_grounding": self._when,
            "grounded_qa": self._which,
            "object_tracking": self._where,
        }[self.task]()
        if self.task == "object_tracking":
            video = video.model_copy(update={"start_s": self.start_s, "end_s": self.end_s})
        record = {"id": "question", "task": self.task, "video": video} | fields
        try:
            sample: Sample = TASKS[self.task].Sample.model_validate(record)
        except ValidationError as error:
            raise InputError(f"this cannot be asked: {error.errors()[0]['msg']}") from None
        return sample

    def build_prompt(
        self, video: Video, think: bool, reader: FrameReader, earlier: Sequence[Exchange] = ()
    ) -> tuple[Sample, Prompt]:
        """The question as a model gets it. Raises InputError, and VideoError for a video that cannot be read."""
        sample = self.sample(video)
        prompt = build_prompt(sample, think, reader, earlier)
        if "<answer>" in self.text:
            prompt = replace(prompt, parts=[*prompt.parts[:-1], TextPart(self.text)])
        return sample, prompt

    def _open(self) -> dict[str, Any]:
        return {"question": self.text, "answer": "?", "spans": ()}

    def _when(self) -> dict[str, Any]:
        return {"query": self.text, "spans": ()}

    def _which(self) -> dict[str, Any]:
        if len(self.options) < 2:
            raise InputError("a choice needs two options at least")
        return {"question": self.text, "options": self.options, "answer": 0, "spans": ()}

    def _where(self) -> dict[str, Any]:
        if self.box is None or self.end_s is None:
            raise InputError("tracking needs the object's first box, and from when to when to follow it")
        box = (self.box.x0, self.box.y0, self.box.x1, self.box.y1)
        if not all(0 <= edge <= 1 for edge in box):
            raise InputError("the object's first box leaves the frame: give it as fractions of the frame, 0 to 1")
        if not 0 <= self.start_s < self.end_s < math.inf or self.num_boxes < 1:
            raise InputError("tracking needs a start of 0 s or more, and an end after it")
        step_s = (self.end_s - self.start_s) / self.num_boxes
        return {
            "object": self.text,
            "times_s": [self.start_s + n * step_s for n in range(self.num_boxes)],
            "boxes": [box] * self.num_boxes,
        }


def ask(
    policy: Policy,
    video: str | Path | Video,
    question: str | Question,
    *,
    think: bool = False,
    budget: FrameBudget | None = None,
    clue: bool | ClueSettings = False,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Reply:
    """Ask ``policy`` about a video and get the answer with its evidence; a plain text is an open question.

    With ``clue`` the model looks again at what its answer rests on (``infer.clue``). Raises VideoError for a video
    that cannot be read, InputError for a question that cannot be asked.
    """
    source = video if isinstance(video, Video) else Video(path=Path(video))
    asked = Question(question) if isinstance(question, str) else question
    budget = budget or policy.default_budget
    sample, prompt = asked.build_prompt(source, think, FrameReader(budget, policy.factor))
    settings = clue if isinstance(clue, ClueSettings) else ClueSettings(max_passes=2 if clue else 1)
    generator = ClueGenerator(LocalGenerator(policy), budget, settings)
    (completion,) = generator.answer([prompt], Sampling(max_new_tokens=max_new_tokens))
    if isinstance(completion, ModelError):
        raise completion
    return read_reply(sample, completion, think)


def exchange(prompt: Prompt, reply: str) -> Exchange:
    """What later questions have to know of this one."""
    return Exchange("".join(part.text for part in prompt.parts[-1:] if isinstance(part, TextPart)), reply)


def read_reply(sample: Sample, completion: Completion, think: bool) -> Reply:
    """What ``completion`` says, and what it shows."""
    parsed: Any = TASKS[sample.task].parse(completion.text, think, strict=False, sample=sample)
    answer, boxes, times_s = parsed, (), ()
    if parsed is not None and sample.task == "open_qa":
        answer = parsed.text
    elif parsed is not None and sample.task == "grounded_qa":
        answer = None if parsed.option is None else sample.options[parsed.option]  # type: ignore[attr-defined]
    elif parsed is not None and sample.task == "object_tracking":
        boxes, times_s = parsed, sample.times_s  # type: ignore[attr-defined]
    spans = () if sample.task == "object_tracking" else spans_of_reply(completion.text)
    return Reply(
        completion.text,
        answer,
        spans,
        boxes,
        times_s,
        completion.passes,
        completion.note,
        completion.truncated,
    )
