"""Leakage: videos that two files of samples share, such as a training and a test set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from timesight.data.check import Line
from timesight.data.surveys import Facts, whole
from timesight.data.videos import video_id
from timesight.types import Sample
from timesight.video.survey import VideoFacts


def check_leakage(lines: Sequence[Line], others: Sequence[Line], facts: Facts | None = None) -> None:
    """Add a problem to each sample whose video is in another file too.

    Videos of the same content are the same. Videos of the same name are too, unless the facts of both show that
    their content differs.

    Args:
        lines: Of the file that is checked, such as a training set; problems are added in place.
        others: Of the other file, such as a test set.
        facts: Of the videos (``survey_all``), with their fingerprints; None compares names only.
    """
    facts = facts or {}
    by_name: dict[str, dict[str | None, int]] = defaultdict(dict)  # name, then content: first line
    by_content: dict[str | None, int] = {}
    for other in others:
        if other.sample is not None:
            content = _content(other.sample, facts)
            by_name[_name(other.sample)].setdefault(content, other.number)
            by_content.setdefault(content, other.number)
    by_content.pop(None, None)  # not known is not the same
    for line in lines:
        if line.sample is None:
            continue
        name, content = _name(line.sample), _content(line.sample, facts)
        named = by_name.get(name, {})
        possible = (
            named if content is None else {known: named[known] for known in (content, None) if known in named}
        )
        if possible:
            line.add("leaked_id", f"video {name} is on line {next(iter(possible.values()))} of the other file too")
        elif content in by_content:
            where = by_content[content]
            line.add("leaked_content", f"video {line.sample.video.path} is that of line {where} of the other file")


def _name(sample: Sample) -> str:
    """The name of a video without folder and extension."""
    return video_id(sample.video.path.name)


def _content(sample: Sample, facts: Facts) -> str | None:
    """The fingerprint of a video's content, if it is known."""
    found = facts.get(whole(sample.video))
    return found.fingerprint if isinstance(found, VideoFacts) else None
