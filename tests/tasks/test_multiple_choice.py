from __future__ import annotations

from typing import Any

import pytest

from timesight.tasks import TASKS, Graded
from timesight.tasks.aggregate import metrics_of
from timesight.tasks.multiple_choice import MultipleChoiceSample
from timesight.types import TextPart

TASK = TASKS["multiple_choice"]


def sample(**rest: Any) -> MultipleChoiceSample:
    record = {"id": "x", "task": "multiple_choice", "video": "v.mp4", "question": "What?"}
    return MultipleChoiceSample.model_validate(record | {"options": ["tea", "milk", "rum"], "answer": 1} | rest)


@pytest.mark.parametrize("said", ["B", "(B)", "B.", "b", "B. milk", "milk", "Milk."])
def test_right_answers(said: str) -> None:
    assert TASK.reward(f"<answer>{said}</answer>", sample()) == {"format": 1.0, "accuracy": 1.0}
    assert TASK.parse(said, strict=False, sample=sample()) == 1


@pytest.mark.parametrize(
    "said", ["(B) milk", "B) milk", "**B**", "**B.** milk", "`B`", "B: Milk.", "**(B) milk**", "B)"]
)
def test_lenient_parsing_takes_what_cannot_mean_anything_else(said: str) -> None:
    assert TASK.parse(said, strict=False, sample=sample()) == 1
    assert TASK.parse(f"<answer>{said}</answer>", strict=False, sample=sample()) == 1
    assert TASK.reward(f"<answer>{said}</answer>", sample())["format"] == 0.0  # rewards stay strict


PHRASES = [
    "The answer is B.",
    "Answer: B",
    "answer:(B)",
    "The correct answer is: **B) milk**",
    "Option B",
    "So the answer is milk.",
]


@pytest.mark.parametrize("said", PHRASES)
def test_a_phrase_counts_in_the_second_reading_only(said: str) -> None:
    assert TASK.parse(said, strict=False, sample=sample()) is None
    graded = [Graded(sample(), said, None), Graded(sample(), "B", 1), Graded(sample(), "C", 2)]
    assert metrics_of(TASK, graded) == {
        "accuracy": pytest.approx(1 / 3),
        "accuracy_with_phrases": pytest.approx(2 / 3),
    }


def test_without_phrases_there_is_one_reading() -> None:
    graded = [Graded(sample(), "B", 1), Graded(sample(), "no idea", None)]
    assert metrics_of(TASK, graded) == {"accuracy": 0.5}


def test_a_wrong_option_keeps_the_format() -> None:
    assert TASK.reward("<answer>C</answer>", sample()) == {"format": 1.0, "accuracy": 0.0}


@pytest.mark.parametrize(
    "said", ["D", "A or B", "B. tea", "(B) tea", "B) tea", "I", "Because B", "B C", "A man", ""]
)
def test_what_names_no_option_has_no_format(said: str) -> None:
    assert TASK.reward(f"<answer>{said}</answer>", sample()) == {"format": 0.0, "accuracy": 0.0}
    assert TASK.parse(said, strict=False, sample=sample()) is None


def test_a_letter_in_a_thought_is_not_the_answer() -> None:
    assert TASK.parse("<think>(B) looks right</think> C", strict=False, sample=sample()) == 2
    assert TASK.parse("<think>B</think>", strict=False, sample=sample()) is None


@pytest.mark.parametrize(
    "said",
    [
        "The answer is A or B",
        "The answer is I",
        "The answer is D.",
        "I do not know the answer: B",
        "Because the answer is B",
        "<think>The answer is B</think>",
        "<answer>B</answer><answer>B</answer>",
        "The answer is B. tea",
        "",
    ],
)
def test_what_names_no_option_is_no_phrase_either(said: str) -> None:
    assert metrics_of(TASK, [Graded(sample(), said, None)]) == {"accuracy": 0.0}


def test_an_unparsable_reply_stays_in_the_denominator() -> None:
    graded = [Graded(sample(), "B", 1), Graded(sample(), "", None)]
    assert metrics_of(TASK, graded) == {"accuracy": 0.5}


def test_subtitles_come_before_the_question() -> None:
    said = [{"text": "Hello.", "start_s": 1, "end_s": 2.5}, {"text": "Bye."}]
    text = TASK.prompt(sample(subtitles=said))[1]
    assert isinstance(text, TextPart)
    assert text.text.startswith("Subtitles:\n1.0 to 2.5: Hello.\nBye.\nWhat?\nA. tea\nB. milk\nC. rum\n")
    assert TASK.prompt(sample(subtitles="Hello."))[1].text.startswith("Subtitles:\nHello.\n")  # type: ignore[union-attr]


def test_an_answer_past_the_options_is_a_problem() -> None:
    assert TASK.problems(sample(answer=3)) == ["answer 3 is not among the 3 options"]


def test_blind_answers() -> None:
    samples = [sample(answer=2), sample(answer=2), sample(answer=0, options=["a long one", "b"])]
    assert TASK.baselines(samples, [None] * 3) == {"most common letter": [2, 2, 2], "longest option": [1, 1, 0]}
