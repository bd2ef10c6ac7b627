from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesight.tasks.form import ReplyForm, Tag

ONE = ReplyForm((Tag("answer", "X"),))
TWO = ReplyForm((Tag("answer", "X"), Tag("glue", "Y")))
plain = st.text(st.characters(exclude_characters="<>"), min_size=1).filter(lambda text: any(map(str.isalnum, text)))


@given(plain, plain)
def test_what_is_rendered_is_read_back(answer: str, thought: str) -> None:
    assert ONE.split_strict(ONE.render({"answer": answer}), think=False) == {"answer": answer}
    assert ONE.split_strict(ONE.render({"answer": answer}, thought), think=True) == {
        "think": thought,
        "answer": answer,
    }


@pytest.mark.parametrize("think", [False, True])
def test_the_prompt_shows_the_form_that_is_checked(think: bool) -> None:
    shown = TWO.instruction(think).removeprefix("Reply as ")
    assert TWO.split_strict(shown, think) is not None


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "1 to 2",
        "<answer></answer>",
        "<answer>  </answer>",
        "<answer>1</answer><answer>2</answer>",
        "<answer>1</answer> or so",
        "so: <answer>1</answer>",
        "<answer><answer>1</answer></answer>",
        "<answer>1",
        "<think>x</think><answer>1</answer>",  # think in answer mode
        "<ANSWER>1</ANSWER>",
    ],
)
def test_anything_else_is_refused(reply: str) -> None:
    assert ONE.split_strict(reply, think=False) is None


def test_think_mode_needs_its_tag_first() -> None:
    assert ONE.split_strict("<answer>1</answer>", think=True) is None
    assert ONE.split_strict("<answer>1</answer><think>x</think>", think=True) is None
    assert ONE.split_strict("<think>a <b> c</think>\n<answer>1</answer>\n", think=True) is not None


def test_order_matters() -> None:
    assert TWO.split_strict("<glue>1</glue><answer>2</answer>", think=False) is None


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("1 to 2", "1 to 2"),
        ("well, <answer>3</answer> it is", "3"),
        ("<think><answer>9</answer></think><answer>3</answer>", "3"),
        ("<think>9", ""),
        ("9, I think</think>3", "3"),
        ("<think>a <think>b</think> 9</think>3", "3"),
        ("1<think>9</think>3", "3"),
        ("<answer>1</answer><answer>2</answer>", None),
        ("<answer>1", None),
        ("</answer>1<answer>", None),
    ],
)
def test_find_for_models_without_our_tags(reply: str, found: str | None) -> None:
    assert ONE.find(reply, "answer") == found


@pytest.mark.parametrize(
    "reply", ["<answer>" * 2000, "<" * 15_000, "<think>" + "</think" * 2000, " " * 19_999 + "<"]
)
def test_hostile_replies_end(reply: str) -> None:
    assert TWO.split_strict(reply, think=True) is None
    assert ONE.find(reply, "answer") == (None if "answer" in reply else reply.partition("<think>")[0])


def test_very_long_replies_are_refused_unread() -> None:
    assert ONE.split_strict(f"<answer>{'1' * 30_000}</answer>", think=False) is None
    assert ONE.find("1" * 30_000, "answer") is None
