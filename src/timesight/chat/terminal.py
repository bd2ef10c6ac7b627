"""The conversation in a terminal: streamed replies, with their spans on a line of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from timesight.chat.session import Session
from timesight.chat.timeline import draw_timeline, write_spans
from timesight.errors import InputError, TimesightError
from timesight.infer.clue import PassEvent
from timesight.tasks import TASKS
from timesight.types import Box, Pass, Question, Reply

MARGIN = 24  # columns next to a timeline
HELP = """\
A plain line is a question in words. Others:
  /when EVENT                        when does it happen
  /which QUESTION | A | B | …        which option is right
  /track X0 Y0 X1 Y1 START END NAME  follow NAME from second START to END, first
                                     seen in this box (fractions of the frame)
  /clue                              look again at what answers rest on, or not
  /quit                              or Ctrl-D"""


@dataclass
class Conversation:
    """Reads questions and shows replies.

    Args:
        session: The conversation.
        console: Where it is shown, and where questions are read from.
        duration_s: Length of the video.
        clue: Whether questions are asked with a second look; ``/clue`` changes it.
        num_boxes: Number of boxes in a track.
    """

    session: Session
    console: Console
    duration_s: float
    clue: bool = False
    num_boxes: int = 8

    def run(self) -> None:
        """Converse until /quit or the end of the input. Ctrl-C ends a reply or, between two, the conversation."""
        self.console.print(
            Text(f"{self.session.video.path}, {self.duration_s:.1f} s. /help says what can be asked.")
        )
        for line in self._lines():
            try:
                if self._command(line):
                    continue
                self.show(parse_question(line, self.num_boxes))
            except KeyboardInterrupt:
                self.console.print("\n[stopped]", markup=False, style="dim")
            except TimesightError as error:
                self.console.print(Text(str(error), "red"))

    def show(self, question: Question) -> Reply:
        """Ask a question and show the reply while it is streamed.

        Raises:
            TimesightError: As ``Session.ask``.
        """
        pieces = self.session.ask(question, clue=self.clue)
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                reply: Reply = end.value
                break
            if isinstance(piece, PassEvent):
                self._show_look(piece.look, question)
            else:
                self.console.print(Text(piece), end="", soft_wrap=True)
        for time_s, box in zip(reply.times_s, reply.boxes, strict=False):
            edges = " ".join(f"{edge:.2f}" for edge in (box.x0, box.y0, box.x1, box.y1))
            self.console.print(Text(f"{time_s:8.1f} s {edges}", "cyan"))
        if isinstance(reply.answer, str):
            self.console.print(Text(f"{'answer':>10} {reply.answer}", "bold"))
        if reply.note and self.clue:
            self.console.print(Text(reply.note, "dim"))
        return reply

    def _lines(self) -> Iterator[str]:
        while True:
            try:
                line = self.console.input("[bold]>[/bold] ").strip()
            except (EOFError, KeyboardInterrupt):
                self.console.print()
                return
            if line in ("/quit", "/exit"):
                return
            if line:
                yield line

    def _command(self, line: str) -> bool:
        if line == "/help":
            self.console.print(Text(HELP))
        elif line == "/clue":
            self.clue = not self.clue
            self.console.print(Text("reads the evidence again" if self.clue else "one pass"))
        else:
            return False
        return True

    def _show_look(self, seen: Pass, question: Question) -> None:
        looked = f"saw {seen.num_frames} frames of {seen.size_px[0]} × {seen.size_px[1]} px, {seen.seconds:.1f} s"
        self.console.print()
        if question.box is not None:  # its evidence is boxes, which come with the reply
            self.console.print(Text(f"{'':>10} {looked}", "dim"))
            return
        width = max(10, min(60, self.console.width - MARGIN))
        for label, spans in (("looked at", seen.segments), ("evidence", seen.spans)):
            line = Text(f"{label:>10} ", "dim")
            line.append(draw_timeline(spans, self.duration_s, width), "cyan" if label == "evidence" else "dim")
            self.console.print(line)
        evidence = write_spans(seen.spans) or "no span named"
        self.console.print(Text(f"{'':>10} {evidence}; {looked}", "dim"))


def parse_question(line: str, num_boxes: int = 8) -> Question:
    """Parse a line of input; one without a command is an open question.

    Args:
        line: As typed; see ``HELP``.
        num_boxes: Number of boxes in a track.

    Raises:
        InputError: If there is no such command, or ``/track`` lacks a number or a name.
    """
    command, _, rest = line.partition(" ")
    if not command.startswith("/"):
        return Question(line)
    task, form = next(
        ((name, form) for name, form in TASKS.question_forms.items() if form.command == command), (None, None)
    )
    if form is None:
        raise InputError(f"no command {command}; /help shows what there is")
    if form.needs == "options":
        question, *options = (text.strip() for text in rest.split("|"))
        return Question(question, task, tuple(options))
    if form.needs == "box":
        return _following(task, rest.split(maxsplit=6), num_boxes)
    return Question(rest, task)


def _following(task: str | None, words: list[str], num_boxes: int) -> Question:
    try:
        x0, y0, x1, y1, start_s, end_s = map(float, words[:6])
        box = Box(x0, y0, x1, y1)
        (name,) = words[6:]
    except ValueError:
        raise InputError(
            "write /track X0 Y0 X1 Y1 START END NAME: the first box as fractions of the frame, then seconds, such "
            "as /track 0.1 0.2 0.4 0.6 1.0 4.0 red circle"
        ) from None
    return Question(name, task, box=box, start_s=start_s, end_s=end_s, num_boxes=num_boxes)
