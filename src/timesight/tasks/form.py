"""The form of a reply: which tags, in which order. The prompt and the strict check both come from here.

A reply is plain text with tags. Think mode puts ``<think>…</think>`` first; answer mode leaves it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

MAX_REPLY_CHARS = 20_000  # longer replies are refused unread, so that checking stays bounded


@dataclass(frozen=True)
class Tag:
    """One tag of a reply and the placeholder that stands in it when a prompt shows the form."""

    name: str
    placeholder: str

    def around(self, content: str) -> str:
        """``content`` between this tag's opening and closing."""
        return f"<{self.name}>{content}</{self.name}>"


THINK = Tag("think", "what you see, and when")


@dataclass(frozen=True)
class ReplyForm:
    """The tags of a task's reply, in order, not counting ``<think>``."""

    tags: tuple[Tag, ...]

    def instruction(self, think: bool) -> str:
        """How a prompt asks for this form."""
        shown = "".join(tag.around(tag.placeholder) for tag in self.asked(think))
        return f"Reply as {shown}"

    def render(self, contents: dict[str, str], thought: str | None = None) -> str:
        """A reply in this form, with ``thought`` first in think mode."""
        head = "" if thought is None else THINK.around(thought)
        return head + "".join(tag.around(contents[tag.name]) for tag in self.tags)

    def split_strict(self, reply: str, think: bool) -> dict[str, str] | None:
        """Contents by tag if the reply is exactly this form, else None.

        Each tag once, in order, nothing but white space outside, nothing empty, no tag inside another.
        """
        if len(reply) > MAX_REPLY_CHARS:
            return None
        match = self._patterns[think].fullmatch(reply)
        contents = match.groupdict() if match else {}
        return contents if contents and all(any(map(str.isalnum, text)) for text in contents.values()) else None

    def read(self, reply: str, tag: str, think: bool, strict: bool) -> str | None:
        """What ``reply`` has in ``tag``, by ``split_strict`` or by ``find``."""
        if not strict:
            return self.find(reply, tag)
        contents = self.split_strict(reply, think)
        return contents[tag] if contents else None

    def find(self, reply: str, tag: str) -> str | None:
        """What a model that was not trained on our tags put in ``tag``; the whole reply where it used no tag at
        all.

        Thoughts never count as an answer. Repeated, unclosed or nested tags make the reply unparsable.
        """
        if len(reply) > MAX_REPLY_CHARS:
            return None
        opened, closed = f"<{tag}>", f"</{tag}>"
        visible = reply.rpartition("</think>")[2].partition("<think>")[0]  # either tag may be missing
        if not any(f"<{t.name}>" in visible or f"</{t.name}>" in visible for t in self.tags):
            return visible
        if visible.count(opened) != 1 or visible.count(closed) != 1:
            return None
        content, end, _ = visible.partition(opened)[2].partition(closed)
        return content if end else None

    def asked(self, think: bool) -> tuple[Tag, ...]:
        """The tags of a whole reply, in order."""
        return (THINK, *self.tags) if think else self.tags

    @cached_property
    def _patterns(self) -> dict[bool, re.Pattern[str]]:
        # Any text that opens or closes none of the known tags; written without nesting, so matching is linear.
        names = "|".join(tag.name for tag in self.asked(think=True))
        inside = rf"(?:[^<]|<(?!/?(?:{names})>))*+"
        return {
            think: re.compile(
                r"\s*+"
                + r"\s*+".join(f"<{tag.name}>(?P<{tag.name}>{inside})</{tag.name}>" for tag in self.asked(think))
                + r"\s*+"
            )
            for think in (False, True)
        }
