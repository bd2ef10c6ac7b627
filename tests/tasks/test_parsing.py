from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesight.tasks.parsing import (
    find_option,
    find_span,
    letter,
    parse_boxes,
    parse_option,
    parse_span,
    parse_spans,
    shortest,
)
from timesight.types import Box, Span

seconds = st.floats(0, 99_999).map(lambda x: round(x, 3))
fractions = st.floats(0, 1).map(lambda x: round(x, 3))
spans = st.tuples(seconds, seconds).map(lambda pair: Span(*sorted(pair)))
boxes = st.tuples(fractions, fractions, fractions, fractions).map(
    lambda b: Box(min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
OPTIONS = ("a cat", "A dog.", "the  Sea", "Because C", "B")


@pytest.mark.parametrize(
    "text",
    [
        "12.5 to 17.8",
        " 12.5 to 17.8 ",
        "12.5s - 17.8s",
        "12.5 – 17.8",
        "from 12.5 to 17.8 seconds",
        "between 12.5 and 17.8",
        "12.5 seconds to 17.8 seconds.",
        "00:12.5 to 00:17.8",
        "0:00:12.5 - 0:00:17.8",
        "From 12.5 until 17.8 secs",
    ],
)
def test_forms_of_a_span_that_models_write(text: str) -> None:
    assert parse_span(text) == Span(12.5, 17.8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "17.8 to 12.5",
        "-1 to 5",
        "nan to 5",
        "1e3 to 1e4",
        "0 to inf",
        "1 to 2 to 3",
        "1 to 2, 3 to 4",
        "one to two",
        "1 to 2 or so",
        "9999999999 to 99999999999",
        "0:99 to 1:45",
        "٣ to ٧",
        "３ to ７",
        "3 ſ to 7 ſ",
        "1 to " + "9" * 300,
        "1.2.3 to 4",
        "'1' to '2'",
        "1" + " " * 50 + "to 2",
    ],
)
def test_any_other_span_is_refused(text: str) -> None:
    assert parse_span(text) is None


def test_a_span_in_a_sentence_must_be_the_only_one() -> None:
    assert find_span("It happens from 3 to 4.5 seconds, I think.") == Span(3, 4.5)
    assert find_span("Either 3 to 4 or 6 to 7.") is None
    assert find_span("It starts at -3 to 4.") is None
    assert find_span("No idea.") is None


@given(spans)
def test_a_written_span_reads_back(span: Span) -> None:
    assert parse_span(f"{shortest(span.start_s)} to {shortest(span.end_s)}") == span


@given(st.lists(spans, min_size=1, max_size=20), st.sampled_from(["", " ", "\n  "]))
def test_written_spans_read_back_whatever_the_white_space(some: list[Span], gap: str) -> None:
    text = f"[{gap}" + f",{gap}".join(f"({shortest(s.start_s)},{gap}{shortest(s.end_s)})" for s in some) + f"{gap}]"
    assert parse_spans(text) == tuple(some)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[ ]",
        "(1, 2)",
        "[(1, 2)",
        "[(1, 2),]",
        "[(2, 1)]",
        "[(1, 2) (3, 4)]",
        '[("1", "2")]',
        "[(1, 2, 3)]",
        "[(1, 1e9)]",
        "[(-1, 2)]",
        "[(1, 2)] or so",
        "[(1, 2]]",
        "[[1, 2)]",
        "[(١, 2)]",
        "[[[1, 2]]]",
        "[" * 3000 + "]" * 3000,
        "[" + "(1, 2), " * 65 + "(1, 2)]",
    ],
)
def test_any_other_list_of_spans_is_refused(text: str) -> None:
    assert parse_spans(text) is None


@given(st.lists(boxes, min_size=1, max_size=20), st.sampled_from(["", " ", "\n  "]))
def test_written_boxes_read_back_whatever_the_white_space(some: list[Box], gap: str) -> None:
    rows = [f"[{gap}" + f",{gap}".join(shortest(v) for v in (b.x0, b.y0, b.x1, b.y1)) + f"{gap}]" for b in some]
    assert parse_boxes(f"[{gap}" + f",{gap}".join(rows) + f"{gap}]") == tuple(some)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[[]]",
        "[0.1, 0.2, 0.3, 0.4]",
        "[[0.1, 0.2, 0.3]]",
        "[[0.1, 0.2, 0.3, 0.4, 0.5]]",
        '[["0.1", "0.2", "0.3", "0.4"]]',
        "[[0.5, 0.2, 0.3, 0.4]]",
        "[[0.1, 0.9, 0.3, 0.4]]",
        "[[0.1, 0.2, 1.3, 0.4]]",
        "[[-0.1, 0.2, 0.3, 0.4]]",
        "[[0.1, 0.2, 1e999, 0.4]]",
        "[[nan, 0.2, 0.3, 0.4]]",
        "[[0.1, 0.2, 0.3, 0.4]] [[0.1, 0.2, 0.3, 0.4]]",
        "[[[0.1, 0.2, 0.3, 0.4]]]",
        "[[0.1 0.2 0.3 0.4]]",
        "[[__import__('os'), 0, 0, 0]]",
        "[[٠.١, 0.2, 0.3, 0.4]]",
    ],
)
def test_any_other_list_of_boxes_is_refused(text: str) -> None:
    assert parse_boxes(text) is None


@pytest.mark.parametrize("text", ["B", "(B)", "B.", "b", "(b)", " B ", "B. a dog", "b. A DOG."])
def test_forms_of_an_option_that_are_taken(text: str) -> None:
    assert parse_option(text, ("a cat", "A dog.")) == 1


@pytest.mark.parametrize(("text", "index"), [("A Cat", 0), ("the sea", 2), ("Because C", 3), ("A dog", 1)])
def test_an_options_own_text_is_taken(text: str, index: int) -> None:
    assert parse_option(text, OPTIONS) == index


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "I",
        "A man walks",
        "Because D",
        "B or C",
        "B, C",
        "Option B",
        "The answer is B",
        "(B",
        "B)",
        "BB",
        "Z",
        "B. a cat",
        "A.\nB.",
        "(A) (B)",
        "é",
        "B" * 5000,
    ],
)
def test_any_other_option_is_refused(text: str) -> None:
    assert parse_option(text, ("a cat", "A dog.")) is None


@pytest.mark.parametrize("options", [("B", "A"), ("x", "a"), ("C", "A", "B")])
def test_a_letter_is_a_letter_even_where_options_are_letters(options: tuple[str, ...]) -> None:
    assert [parse_option(letter(n), options) for n in range(len(options))] == list(range(len(options)))


def test_accents_may_be_coded_either_way() -> None:
    assert parse_option("cafe\u0301", ("tea", "caf\u00e9")) == 1


def test_boxes_past_the_frame_are_cut_on_request() -> None:
    assert parse_boxes("[[0.5, 0.2, 1.3, 0.4]]", clip=True) == (Box(0.5, 0.2, 1.0, 0.4),)


def test_a_text_that_two_options_share_names_neither() -> None:
    assert parse_option("yes", ("yes", "Yes.", "no")) is None
    assert parse_option("B", ("yes", "Yes.", "no")) == 1


@given(st.integers(0, 25))
def test_letters_read_back(index: int) -> None:
    assert parse_option(letter(index)) == index


distinct_options = st.lists(
    st.text("abcdefgh ", min_size=2, max_size=12).filter(lambda t: len(t.split()) > 0 and len(t.strip()) > 1),
    min_size=2,
    max_size=5,
    unique_by=lambda text: " ".join(text.split()),
)


@given(distinct_options, st.data())
def test_lenient_forms_of_an_option_name_it_and_no_other(options: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(options) - 1))
    other = data.draw(st.integers(0, len(options) - 1).filter(lambda n: n != index))
    mark, text = letter(index), options[index].strip()
    for form in (f"({mark}) {text}", f"{mark}) {text}", f"**{mark}**", f"**{mark}.** {text}", f"{mark}: {text}"):
        assert parse_option(form, options, strict=False) == index
    for wrong in (f"({mark}) {options[other].strip()}", f"{mark}) {options[other].strip()}", f"({mark}) or (Z)"):
        assert parse_option(wrong, options, strict=False) is None


@given(st.text(max_size=30), distinct_options)
def test_lenient_parsing_only_adds_to_strict_parsing(text: str, options: list[str]) -> None:
    strict = parse_option(text, options)
    assert strict is None or parse_option(text, options, strict=False) == strict
    lenient = parse_option(text, options, strict=False)
    assert lenient is None or find_option(text, options) == lenient
