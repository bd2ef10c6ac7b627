"""``timesight chat VIDEO``: talk about a video in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timesight.cli.options import clue_options, clue_settings, json_option
from timesight.errors import TimesightError

if TYPE_CHECKING:
    from timesight.chat.session import Session
    from timesight.types import Question

# The embedded model has learned to follow a shape over four frames, and to answer one question at a time.
TINY, TINY_BOXES = "tiny", 4
REMEMBERED = 4  # exchanges that other models see


@click.command(
    epilog='Example: timesight chat kitchen.mp4 --model runs/grpo --clue --once "What does she take out?"',
    short_help="Talk about a video; replies come with their evidence.",
)
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--model", default=TINY, show_default=True, help="Model folder, run directory or hub id.")
@click.option("--model-url", help="OpenAI-compatible endpoint where --model is served.")
@click.option("--once", metavar="QUESTION", help="Ask this and end; /when, /which and /track work here too.")
@click.option("--clue", is_flag=True, help="Reread the cited spans at higher resolution and answer again.")
@clue_options
@click.option("--think", is_flag=True, help="Ask in think mode.")
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0), help="0 is greedy.")
@click.option(
    "--max-new-tokens", default=256, show_default=True, type=click.IntRange(1), help="Token limit per reply."
)
@json_option
def command(video: Path, once: str | None, as_json: bool, **flags: Any) -> None:
    """Ask about VIDEO, turn by turn; spans are drawn on a timeline.

    With --json each reply is one JSON object on one line, and questions are read from standard input,
    unless --once has the only one. A line without a reply gives an object with the error, and the exit code is 2.
    """
    from timesight.chat.terminal import Conversation, parse_question
    from timesight.cli.console import OUT, quiet_libraries
    from timesight.types import Video
    from timesight.video import probe

    source = Video(path=video)
    info = probe(source)  # reports a broken video before the model is loaded
    num_boxes = TINY_BOXES if flags["model"] == TINY else 8
    asked = None if once is None else parse_question(once, num_boxes)
    quiet_libraries()
    session = _open(source, **flags)
    if as_json and asked:
        _print_reply(session, asked, flags["clue"])
        return
    if as_json:
        _answer_lines(session, flags["clue"], num_boxes)
        return
    conversation = Conversation(session, OUT, info.duration_s, flags["clue"], num_boxes)
    if asked:
        conversation.show(asked)
    else:
        conversation.run()


def _open(video: Any, **flags: Any) -> Session:
    from timesight.chat.session import ChatSettings, Session
    from timesight.generate.local import open_generator

    settings = ChatSettings(
        clue=clue_settings(flags),
        think=flags["think"],
        temperature=flags["temperature"],
        max_new_tokens=flags["max_new_tokens"],
        remembered=0 if flags["model"] == TINY else REMEMBERED,
    )
    return Session(open_generator(flags["model"], flags["model_url"]), video, settings)


def _answer_lines(session: Session, clue: bool, num_boxes: int) -> None:
    """A reply, or what went wrong, for every line of standard input. Exits with 2 where anything went wrong."""
    from timesight.chat.terminal import parse_question
    from timesight.cli.console import print_json

    exit_code = 0
    for line in filter(None, map(str.strip, sys.stdin)):
        try:
            _print_reply(session, parse_question(line, num_boxes), clue)
        except TimesightError as error:
            print_json({"error": str(error)})
            exit_code = 2
    sys.exit(exit_code)


def _print_reply(session: Session, question: Question, clue: bool) -> None:
    from timesight.chat.session import as_record
    from timesight.cli.console import print_json

    for _ in session.ask(question, clue=clue):
        pass
    print_json(as_record(session.turns[-1].reply))
