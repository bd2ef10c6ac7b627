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
    """Turn a user's question into a sample without truth and the prompt for the model.

    A text that contains an ``<answer>`` tag is taken for a complete prompt and used unchanged.

    Args:
        question: The question.
        video: What it is about.
        think: Ask in think mode.
        reader: Reads the frames.
        earlier: The conversation so far, about the same video.
        tasks: Where the question's task is looked up.

    Raises:
        InputError: If the question is empty, of an unknown form, or incomplete.
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
        policy: The model.
        video: A file, or a ``Video`` with a window.
        question: A text is an open question.
        think: Ask in think mode: reasoning first, then the answer.
        budget: How many frames of which size; None: the policy's own.
        clue: Take a second look at what the answer rests on (``infer.clue``).
        max_new_tokens: Limit of one reply.

    Returns:
        The text, the parsed answer, its spans and boxes, and the passes over the video.

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
    """Return the text of a question and the reply to it, as later prompts of a conversation repeat them."""
    return Exchange("".join(part.text for part in prompt.parts[-1:] if isinstance(part, TextPart)), reply)


def read_reply(sample: Sample, completion: Completion, think: bool, tasks: TaskRegistry = TASKS) -> Reply:
    """Parse a completion into an answer with its evidence.

    Parsing is lenient (``Task.parse`` with ``strict=False``).

    Args:
        sample: What was asked.
        completion: The model's reply.
        think: Whether it was asked for in think mode.
        tasks: Where the task of ``sample`` is looked up.

    Returns:
        The reply; its ``answer`` is None if it does not parse.
    """
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
