"""Single items of an evaluation for its report, with thumbnails of their frames."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from timesight.artifacts import ItemEntry
from timesight.cli.thumbnails import write_thumbnails
from timesight.errors import VideoError
from timesight.files import write_text
from timesight.types import Video
from timesight.video import FrameBudget, read

NUM_WORST, NUM_UNPARSABLE, NUM_RANDOM = 5, 3, 4
BUDGET = FrameBudget(max_frames=20, max_pixels=180 * 320)


def write_gallery(out: Path, items: Sequence[ItemEntry], seed: int) -> None:
    """Write ``gallery.json`` and ``thumbnails/``: the worst items, random ones, and some with unparsable replies.

    Of scored items there is one for each video. Items whose video can no longer be read are left out.

    Args:
        out: Folder of the evaluation.
        items: All its items.
        seed: Of the random choice.
    """
    unparsable = [item for item in items if not item.parsed][:NUM_UNPARSABLE]
    scored = worst_items(items)
    worst = scored[:NUM_WORST]
    rest = [item for item in scored if item not in worst]
    drawn = random.Random(seed).sample(rest, min(NUM_RANDOM, len(rest)))
    chosen = [
        (item, why) for mine, why in ((worst, "one of the worst"), (drawn, "drawn at random")) for item in mine
    ]
    chosen += [(item, "could not be parsed") for item in unparsable]
    entries = []
    for number, (item, why) in enumerate(chosen):
        try:
            names = write_thumbnails(out, f"{number:02d}", read(Video.model_validate(item.video), BUDGET))
        except VideoError:
            continue
        entries.append({"id": item.id, "why": why, "thumbnails": names})
    write_text(out / "gallery.json", json.dumps(entries, indent=1))


def worst_items(items: Sequence[ItemEntry], most: int | None = None) -> list[ItemEntry]:
    """Return the scored items with a reply that parses, lowest first metric first.

    Args:
        items: Of one or several tasks; only the first item on each video is used.
        most: Number of items; None: all.
    """
    by_video = {json.dumps(item.video): item for item in reversed(items)}
    scored = [(found, item) for item in by_video.values() if item.parsed and (found := item.first_metric)]
    return [item for _, item in sorted(scored, key=lambda pair: (pair[0][1], pair[1].id))[:most]]
