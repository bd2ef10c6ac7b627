"""The form of a reply: which tags, in which order. The prompt and the strict check both come from here.

A reply is plain text with tags. Think mode puts ``<think>…</think>`` first; answer mode leaves it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

MAX_REPLY_CHARS = 20_000  # longer replies are unparsable, so that parsing time is bounded


@dataclass(frozen=True)
class Tag:
    """A tag of a reply.

    Args:
        name: ``answer`` for ``<answer>…</answer>``.
        placeholder: Its content where a prompt shows the form.
    """

    name: str
    placeholder: str

    def around(self, content: str) -> str:
        """``content`` between the opening and the closing tag."""
        return f"<{self.name}>{content}</{self.name}>"


THINK = Tag("think", "what you see, and when")


@dataclass(frozen=True)
class ReplyForm:
    """The tags of a task's reply, in order, not counting ``<think>``."""

    tags: tuple[Tag, ...]

    def instruction(self, think: bool) -> str:
        """The sentence that asks for this form in a prompt, such as ``Reply as <answer>LETTER</answer>``."""
        shown = "".join(tag.around(tag.placeholder) for tag in self.asked(think))
        return f"Reply as {shown}"

    def render(self, contents: dict[str, str], thought: str | None = None) -> str:
        """A reply in this form.

        Args:
            contents: By tag name, for each of ``tags``.
            thought: Content of ``<think>``; None leaves the tag out, as in answer mode.
        """
        head = "" if thought is None else THINK.around(thought)
        return head + "".join(tag.around(contents[tag.name]) for tag in self.tags)

    def split_strict(self, reply: str, think: bool) -> dict[str, str] | None:
        """Contents of the tags if the reply has exactly this form.

        Each tag occurs once, in order, with nothing but white space outside, no tag inside another, and a letter or
        digit in every content.

        Args:
            think: Whether ``<think>`` must come first; otherwise it must not occur.

        Returns:
            Contents by tag name, including ``think`` in think mode; None if the form is not kept, or the reply is
            longer than ``MAX_REPLY_CHARS``.
        """
        if len(reply) > MAX_REPLY_CHARS:
            return None
        match = self._patterns[think].fullmatch(reply)
        contents = match.groupdict() if match else {}
        return contents if contents and all(any(map(str.isalnum, text)) for text in contents.values()) else None

    def read(self, reply: str, tag: str, think: bool, strict: bool) -> str | None:
        """Content of ``tag`` in ``reply``, by ``split_strict`` or ``find``.

        Args:
            tag: Name of one of ``tags``.
            think: As in ``split_strict``; not used by ``find``.
            strict: True uses ``split_strict``, False ``find``.

        Returns:
            The content; None if the reply is unparsable.
        """
        if not strict:
            return self.find(reply, tag)
        contents = self.split_strict(reply, think)
        return contents[tag] if contents else None

    def find(self, reply: str, tag: str) -> str | None:
        """Content of ``tag`` in the reply of a model that was not trained on these tags.

        Thoughts never count as an answer, even if ``<think>`` or ``</think>`` is missing.

        Returns:
            The content; the whole reply without its thoughts if it uses none of the form's tags; None if ``tag`` is
            missing, repeated or not closed, or the reply is longer than ``MAX_REPLY_CHARS``.
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
        """All tags of a reply, in order, with ``<think>`` in think mode."""
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
