"""Parsers of what models write: seconds, spans, boxes, option letters.

Every pattern takes linear time and every input is bounded, so that no reply can stall a run. Nothing here evaluates
a reply as code. ``parse_…`` functions accept a text that is the value and nothing else; ``find_…`` functions search
a sentence for it, for models that were not trained on our form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import normalize

import numpy as np

from timesight.geometry import clip_box
from timesight.types import Box, Span

MAX_CHARS = 4000  # of a span, an option, or a list of 64 items; form.MAX_REPLY_CHARS bounds the whole reply
MAX_SPANS = 64
MAX_BOXES = 400

_DECIMAL = r"\d{1,9}(?:\.\d{1,9})?"
_TIME = rf"(?:\d{{1,2}}:)?\d{{1,3}}:[0-5]\d(?:\.\d{{1,9}})?|{_DECIMAL}"
_UNIT = r"(?:\s{0,4}+(?:seconds?|secs?|s)(?![a-z]))?"
_SPAN = re.compile(
    rf"(?<![\w.:-])(?:(?:from|between)\s{{1,4}}+)?(?P<start>{_TIME}){_UNIT}\s{{0,4}}+(?:-|–|—|to|and|until)\s{{0,4}}+"
    rf"(?P<end>{_TIME}){_UNIT}(?![\w:]|\.\d)",
    re.IGNORECASE | re.ASCII,
)
_GAP = r"\s{0,40}+"
_PAIR_INSIDE = rf"{_GAP}({_TIME}){_GAP}s?{_GAP},{_GAP}({_TIME}){_GAP}s?{_GAP}"
_PAIR = re.compile(rf"(?:\({_PAIR_INSIDE}\)|\[{_PAIR_INSIDE}\]){_GAP}(?P<comma>,?){_GAP}", re.ASCII)
_COORDINATE = r"(?:0?\.\d{1,9}|\d(?:\.\d{0,9})?)"
_BOX = re.compile(
    rf"\[{_GAP}({_COORDINATE}){_GAP},{_GAP}({_COORDINATE}){_GAP},{_GAP}({_COORDINATE}){_GAP},{_GAP}({_COORDINATE}){_GAP}\]"
    rf"{_GAP}(?P<comma>,?){_GAP}",
    re.ASCII,
)
_LETTER = re.compile(
    r"\((?P<inner>[A-Za-z])\)|(?P<letter>[A-Za-z])(?:\.(?:\s{1,40}+(?P<text>\S.*))?)?", re.DOTALL | re.ASCII
)

_MARKED_LETTER = re.compile(
    r"(?:\((?P<inner>[A-Za-z])\)[.:]?|(?P<letter>[A-Za-z])(?:[).:])?)(?:\s{1,40}+(?P<text>\S.*))?",
    re.DOTALL | re.ASCII,
)
_MARKUP = re.compile(r"\*\*|__|`")
_PHRASE = re.compile(
    r"(?:so,?\s{1,4}|therefore,?\s{1,4})?(?:the\s{1,4})?(?:correct\s{1,4}|best\s{1,4}|right\s{1,4}|final\s{1,4})?"
    r"(?:answer|option|choice)(?:\s{1,4}is)?(?:\s{0,4}:\s{0,4}|\s{1,4})(?:option\s{1,4})?",
    re.IGNORECASE | re.ASCII,
)


def parse_span(text: str) -> Span | None:
    """Parse a text that is one span.

    Args:
        text: Such as ``12.5 to 17.8``, ``00:12 - 00:17``, ``from 5 to 9 seconds``, ``between 5 and 9 s``: times in
            seconds, m:ss or h:mm:ss. A full stop at the end is allowed.

    Returns:
        The span in seconds; None if the text is anything else, or the span is reversed.
    """
    text = text.strip().removesuffix(".")
    match = _SPAN.fullmatch(text) if len(text) <= MAX_CHARS else None
    return _to_span(match["start"], match["end"]) if match else None


def find_span(text: str) -> Span | None:
    """Find the only span in a text.

    Returns:
        The span in seconds; None if there is none or more than one, or it is reversed.
    """
    matches = list(_SPAN.finditer(text))
    return _to_span(matches[0]["start"], matches[0]["end"]) if len(matches) == 1 else None


def parse_spans(text: str) -> tuple[Span, ...] | None:
    """Parse a text that is a list of spans.

    Args:
        text: Such as ``[(1.5, 4), (7, 9.25)]``: pairs in round or square brackets, with times as in ``parse_span``.

    Returns:
        The spans in seconds, in the text's order; None for an empty or malformed list, more than ``MAX_SPANS``
        spans, or a reversed one.
    """
    pairs = _items(text, _PAIR, MAX_SPANS)
    spans = [_to_span(*(end for end in match.groups()[:4] if end)) for match in pairs] if pairs else [None]
    return tuple(span for span in spans if span) if all(spans) else None


def parse_boxes(text: str, clip: bool = False) -> tuple[Box, ...] | None:
    """Parse a text that is a list of boxes.

    Args:
        text: ``[[x0, y0, x1, y1], …]``, in fractions of the frame's width and height.
        clip: Clip boxes that reach past the right or bottom edge of the frame; otherwise they make the list
            unparsable.

    Returns:
        The boxes, with coordinates in [0, 1]; None for an empty or malformed list, more than ``MAX_BOXES`` boxes, a
        reversed box or a negative coordinate.
    """
    found = _items(text, _BOX, MAX_BOXES)
    boxes = [_box(match, clip) for match in found] if found else [None]
    return tuple(box for box in boxes if box) if all(boxes) else None


def parse_option(text: str, options: Sequence[str] = (), strict: bool = True) -> int | None:
    """Parse a text that names one option.

    Args:
        text: ``B``, ``(B)``, ``B.``, ``b``, ``B. text``, or the option's text, compared by ``plain``.
        options: Texts of the options. Without them only letters are parsed, and the text in ``B. text`` is not
            checked.
        strict: False also accepts ``(B) text``, ``B) text``, ``B: text``, and any of these in bold or code marks.

    Returns:
        Index of the option, from 0; None if the text names none: a letter past the last option, a letter with the
        text of another option, a text that two options share, or anything else.
    """
    text = text.strip()
    if len(text) > MAX_CHARS:
        return None
    texts = [plain(option) for option in options]
    match = _LETTER.fullmatch(text)
    if match is not None:  # letters come first: an option may consist of another one's letter
        index = _index(match)
        matches_text = not options or not match["text"] or plain(match["text"]) == _at(texts, index)
        if matches_text and (not options or index < len(options)):
            return index
    if plain(text) and texts.count(plain(text)) == 1:
        return texts.index(plain(text))
    return None if strict else _marked_option(_MARKUP.sub("", text).strip(), texts)


def find_option(text: str, options: Sequence[str]) -> int | None:
    """Parse a text that names one option, if need be in a phrase such as ``The answer is B.`` or ``Answer: B``.

    Args:
        text: The phrase and nothing else; what follows ``The answer is`` is parsed leniently by ``parse_option``.
        options: Texts of the options.

    Returns:
        Index of the option, from 0; None if the text names none.
    """
    if len(text) > MAX_CHARS:
        return None
    text = _MARKUP.sub("", text).strip()
    phrase = _PHRASE.match(text)
    return parse_option(text[phrase.end() :] if phrase else text, options, strict=False)


def _marked_option(text: str, texts: Sequence[str]) -> int | None:
    """The option that a letter with a bracket, full stop or colon names; text after it must be that option's."""
    match = _MARKED_LETTER.fullmatch(text)
    if match is None:
        return None
    index = _index(match)
    if texts and index >= len(texts):
        return None
    return index if not match["text"] or plain(match["text"]) == _at(texts, index) else None


def _index(match: re.Match[str]) -> int:
    return ord((match["inner"] or match["letter"]).upper()) - ord("A")


def letter(index: int) -> str:
    """The letter of the option with this index: ``A`` for 0."""
    return chr(ord("A") + index)


def shortest(number: float) -> str:
    """The shortest plain decimal that reads back as ``number``, with at least one digit after the point."""
    return np.format_float_positional(number, trim="0")


def plain(text: str) -> str:
    """``text`` normalized for comparison: case-folded, single spaces, no full stop at the end, Unicode form NFC."""
    return normalize("NFC", " ".join(text.split()).removesuffix(".").casefold())


def _at(texts: Sequence[str], index: int) -> str | None:
    return texts[index] if index < len(texts) else None


def _items(text: str, item: re.Pattern[str], most: int) -> list[re.Match[str]] | None:
    """Items of a text that is a bracketed list with commas between them; None if it is anything else."""
    text = text.strip()
    if len(text) > max(MAX_CHARS, most * 60) or not (text.startswith("[") and text.endswith("]")):
        return None
    position, end = 1 + len(text[1:]) - len(text[1:].lstrip()), len(text) - 1
    matches: list[re.Match[str]] = []
    while position < end and len(matches) <= most:
        match = item.match(text, position, end)
        if match is None or (matches and not matches[-1]["comma"]):
            return None
        matches.append(match)
        position = match.end()
    return matches if 0 < len(matches) <= most and not matches[-1]["comma"] else None


def _to_span(start: str, end: str) -> Span | None:
    start_s, end_s = _seconds(start), _seconds(end)
    return Span(start_s, end_s) if start_s <= end_s else None


def _seconds(clock: str) -> float:
    """``75.5``, ``01:15.5`` or ``0:01:15.5`` as seconds."""
    seconds = 0.0
    for field in clock.split(":"):
        seconds = 60 * seconds + float(field)
    return seconds


def _box(match: re.Match[str], clip: bool) -> Box | None:
    x0, y0, x1, y1 = (float(match[n]) for n in range(1, 5))
    if x0 > x1 or y0 > y1 or (not clip and max(x1, y1) > 1):
        return None
    return clip_box(x0, y0, x1, y1)
