"""One question about one video: its prompt, and the evidence in the reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from timesight.errors import ModelError
from timesight.generate.base import Completion, Sampling
from timesight.generate.local import LocalGenerator
from timesight.infer.answer import MAX_NEW_TOKENS
from timesight.infer.clue import ClueGenerator, ClueSettings
from timesight.infer.prompts import build_prompt
from timesight.model.policy import Policy
from timesight.model.prompt import Exchange, Prompt
from timesight.tasks import TASKS, TaskRegistry
from timesight.tasks.evidence import spans_of_reply
from timesight.types import Evidence, Question, Reply, Sample, TextPart, Video
from timesight.video import FrameBudget, FrameReader


def build_question(
    question: Question,
    video: Video,
    think: bool,
    reader: FrameReader,
    earlier: Sequence[Exchange] = (),
    tasks: TaskRegistry = TASKS,
) -> tuple[Sample, Prompt]:
    """``question`` about ``video`` as a sample, and as a model gets it.

    A text that shows an ``<answer>`` tag is a whole prompt, and given as it is.

    Raises:
        InputError: If it cannot be asked.
        VideoError: If the video cannot be read.
    """
    sample = tasks.sample_of(question, video)
    prompt = build_prompt(sample, think, reader, earlier, tasks)
    if "<answer>" in question.text:
        prompt = replace(prompt, parts=[*prompt.parts[:-1], TextPart(question.text)])
    return sample, prompt


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
    """Ask about a video and get the answer with its evidence.

    Args:
        policy: Answers.
        video: A file, or a ``Video`` with a window.
        question: A text is an open question.
        think: Ask for thoughts first.
        budget: How many frames of which size; the policy's own by default.
        clue: Take a second look at what the answer rests on (``infer.clue``).
        max_new_tokens: Of a reply.

    Raises:
        VideoError: If the video cannot be read.
        InputError: If the question cannot be asked.
        ModelError: If there is no reply.
    """
    source = video if isinstance(video, Video) else Video(path=Path(video))
    asked = Question(question) if isinstance(question, str) else question
    budget = budget or policy.default_budget
    sample, prompt = build_question(asked, source, think, FrameReader(budget, policy.factor))
    settings = clue if isinstance(clue, ClueSettings) else ClueSettings(max_passes=2 if clue else 1)
    generator = ClueGenerator(LocalGenerator(policy), budget, settings)
    (completion,) = generator.answer([prompt], Sampling(max_new_tokens=max_new_tokens))
    if isinstance(completion, ModelError):
        raise completion
    return read_reply(sample, completion, think)


def exchange(prompt: Prompt, reply: str) -> Exchange:
    """What later questions have to know of this one."""
    return Exchange("".join(part.text for part in prompt.parts[-1:] if isinstance(part, TextPart)), reply)


def read_reply(sample: Sample, completion: Completion, think: bool, tasks: TaskRegistry = TASKS) -> Reply:
    """What ``completion`` says, and what it shows."""
    task = tasks.of(sample)
    parsed: Any = task.parse(completion.text, think, strict=False, sample=sample)
    evidence = Evidence() if parsed is None else task.evidence(parsed)
    return Reply(
        text=completion.text,
        answer=None if parsed is None else task.display_answer(parsed, sample),
        spans=spans_of_reply(completion.text) if task.names_spans else (),
        boxes=evidence.boxes,
        times_s=getattr(sample, "times_s", ()) if evidence.boxes else (),
        passes=completion.passes,
        note=completion.note,
        truncated=completion.truncated,
    )
