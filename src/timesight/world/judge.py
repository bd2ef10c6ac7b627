"""The exact judge of the synthetic world, whose captions are lists of sentences that are compared word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence


class WorldJudge:
    """A ``Judge`` of captions in the sentences of the synthetic world; it judges every caption, and exactly."""

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        """The sentences of each caption, without repetitions."""
        return [tuple(dict.fromkeys(_sentences(caption))) for caption in captions]

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        """Which events are sentences of their caption."""
        said = [set(_sentences(caption)) for caption in captions]
        return [tuple(_plain(event) in mine for event in asked) for mine, asked in zip(said, events, strict=True)]


def _sentences(caption: str) -> list[str]:
    return [plain for sentence in re.split(r"[.;\n]", caption) if (plain := _plain(sentence))]


def _plain(sentence: str) -> str:
    return " ".join(sentence.lower().replace(".", " ").split())
