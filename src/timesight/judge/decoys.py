"""Decoys: events that are not in a caption, mixed with the events that a judge is asked about.

If decoys had something in common, a caption could instruct a judge to deny them and to affirm the rest. So they are
written like the question's events, one takes its subject from them, and the rest are everyday words in varying
forms: an instruction to deny those also denies true events of other captions. Words that the caption or an event
uses are left out, so that no decoy is true.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

SUBJECTS = (
    "a boy|a girl|an old man|a young woman|two children|a chef|a farmer|a nurse|a soldier|a student|"
    "the teacher|a tall man|some people|a dancer|the driver|a painter|a tourist|three friends|a waiter|"
    "the player|a baby|a couple"
)
# A verb in the singular and in the plural.
VERBS = (
    "carries/carry|paints/paint|drops/drop|washes/wash|repairs/repair|hides/hide|throws/throw|buys/buy|"
    "opens/open|breaks/break|cleans/clean|folds/fold|kicks/kick|lifts/lift|pushes/push|sells/sell|"
    "shakes/shake|wraps/wrap|burns/burn|draws/draw|measures/measure|photographs/photograph|unpacks/unpack"
)
OBJECTS = (
    "a ladder|the piano|a kite|some flowers|a suitcase|the sofa|a bicycle|a mirror|an umbrella|a blanket|"
    "the curtains|a candle|two lamps|a tent|a basket|an envelope|the engine|a statue|a violin|some bricks|"
    "a map|a trumpet|the fence|a wooden box|a pumpkin|a camera|three balloons|a clock|a hammer|an armchair"
)
TAILS = (
    "|||in the rain|on a roof|at the station|behind a truck|in a garden|on the stairs|by the river|at night|"
    "in a church|under a bridge|on the beach|near a shop|in the snow|with both hands|in an office|and laughs|"
    "again"
)
DETERMINED = re.compile(r"(?:an?|the|one|two|three|his|her|their|some)\s+[^\W\d_]{3,}\b", re.IGNORECASE)
SEVERAL = re.compile(r"(?:two|three|some)\b", re.IGNORECASE)
WORD = re.compile(r"[^\W\d_]{3,}")
SMALL_WORDS = frozenset(("the", "two", "three", "some", "and", "with", "one", "his", "her", "their"))


def decoys(caption: str, events: Sequence[str], count: int, random_: random.Random) -> list[str]:
    """Make events that are not in ``caption``.

    Args:
        caption: Its words are avoided.
        events: Events of the question. Their words are avoided too, except one subject; capital letters and full
            stops are as in one of them.
        count: Number of decoys.
        random_: Source of the random choices; the same state gives the same decoys.

    Returns:
        ``count`` sentences.
    """
    told = {word.lower() for text in (caption, *events) for word in WORD.findall(text)} - SMALL_WORDS
    own = [found[0].lower() for event in events if (found := DETERMINED.match(event))]

    def draw(choices: str) -> str:
        everything = choices.split("|")
        foreign = [choice for choice in everything if not _stems(choice) & {word[:4] for word in told}]
        return random_.choice(foreign or everything)

    made = []
    for number in range(count):
        # Only the first one: two with the same subject would stand out.
        subject = random_.choice(own) if own and number == 0 else draw(SUBJECTS)
        verb = draw(VERBS).split("/")[1 if SEVERAL.match(subject) else 0]
        made.append(
            _like(
                random_.choice(events or ("",)), " ".join(filter(None, (subject, verb, draw(OBJECTS), draw(TAILS))))
            )
        )
    return made


def _stems(text: str) -> set[str]:
    return {word[:4].lower() for word in WORD.findall(text)} - {word[:4] for word in SMALL_WORDS}


def _like(event: str, decoy: str) -> str:
    """``decoy`` with a capital letter and a full stop where ``event`` has them."""
    if event[:1].isupper():
        decoy = decoy[0].upper() + decoy[1:]
    return decoy + "." if event.rstrip().endswith(".") else decoy
