"""Surveys of all videos of a data set: in parallel, with a time limit for each, resumable."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from timesight.errors import VideoError, reason_of
from timesight.types import Video
from timesight.video.fingerprint import fingerprint, state
from timesight.video.pool import Pending, VideoPool
from timesight.video.survey import VideoFacts, survey

LOGGER = logging.getLogger("timesight")
IN_FLIGHT = 4  # jobs submitted per process, so that no process waits for the next

Facts = Mapping[Video, VideoFacts | str]  # of each whole video: what was found, or in words what is wrong with it


def whole(video: Video) -> Video:
    """``video`` without its window, as facts are keyed. One folder at two frame rates is two videos."""
    return Video(path=video.path, fps=video.fps)


def survey_all(
    videos: Iterable[Video],
    kept: Path,
    *,
    workers: int,
    limit_s: float,
    on_video: Callable[[], None] = lambda: None,
) -> dict[Video, VideoFacts | str]:
    """Survey each video as a ``whole``: decode it to its end, in parallel.

    Args:
        videos: Windows are ignored, and duplicates surveyed once.
        kept: JSONL file of the facts, appended to as they come. A video in it that has not changed since is not
            decoded again; broken ones are not in it. If it cannot be written, a warning says so.
        workers: Number of processes.
        limit_s: Seconds for one video; one that takes longer is broken.
        on_video: Called once per video.

    Returns:
        For each whole video the facts, or the reason why it is broken.

    Raises:
        InputError: If the processes cannot be started.
    """
    known = _read(kept)
    outcomes: dict[Video, VideoFacts | str] = {}
    waiting: list[tuple[Video, str]] = []
    for video in dict.fromkeys(map(whole, videos)):
        name = _known_as(video)
        if name in known:
            outcomes[video] = known[name]
            on_video()
        else:
            waiting.append((video, name))
    if waiting:
        pool = VideoPool(workers, limit_s)
        try:
            with _keeping(kept) as keep:
                for video, name, outcome in _in_order(pool, waiting, workers * IN_FLIGHT):
                    outcomes[video] = outcome
                    if isinstance(outcome, VideoFacts):
                        keep(json.dumps({"video": name, **asdict(outcome)}))
                    on_video()
        finally:
            pool.close()
    return outcomes


@contextmanager
def _keeping(kept: Path) -> Iterator[Callable[[str], None]]:
    """A function that appends a line to ``kept`` and flushes it, or does nothing if the file cannot be written."""
    try:
        out = kept.open("a", encoding="utf-8")
    except OSError as error:
        LOGGER.warning("%s: cannot be written (%s), so what is seen is not kept", kept, reason_of(error))
        yield lambda line: None
        return
    with out:
        out.write("\n" if out.tell() else "")  # the last line may have been cut off
        yield lambda line: print(line, file=out, flush=True)


def _in_order(
    pool: VideoPool, waiting: list[tuple[Video, str]], most: int
) -> Iterator[tuple[Video, str, VideoFacts | str]]:
    """Outcomes in the order of ``waiting``, with at most ``most`` jobs submitted at a time."""
    under_way: deque[tuple[Video, str, Pending[VideoFacts]]] = deque()
    for video, name in waiting:
        if len(under_way) >= most:
            yield _outcome(*under_way.popleft())
        under_way.append((video, name, pool.submit(video.path, survey, video)))
    while under_way:
        yield _outcome(*under_way.popleft())


def _outcome(video: Video, name: str, work: Pending[VideoFacts]) -> tuple[Video, str, VideoFacts | str]:
    try:
        return video, name, work.result()
    except VideoError as error:
        return video, name, error.reason


def _known_as(video: Video) -> str:
    """The key of an outcome, which changes when sizes or modification times do."""
    try:
        unchanged = fingerprint(video.path) if video.path.is_dir() else state(video.path)
    except (OSError, VideoError):
        unchanged = "unknown"
    return f"{video.path.absolute()} {unchanged} {video.fps or ''}".strip()


def _read(kept: Path) -> dict[str, VideoFacts]:
    """Facts of an earlier run, without invalid lines."""
    known: dict[str, VideoFacts] = {}
    try:
        lines = kept.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return known
    for line in lines:
        try:
            record = json.loads(line)
            name = str(record.pop("video"))
            known[name] = VideoFacts(**record)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return known
