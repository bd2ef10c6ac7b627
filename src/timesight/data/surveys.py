"""Looking through all videos of a data set: in parallel, each with a time limit, going on where it was stopped."""

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
IN_FLIGHT = 4  # pieces of work a process, so that none waits for the next

Facts = Mapping[Video, VideoFacts | str]  # what is known of each whole video, or in words what is wrong with it


def whole(video: Video) -> Video:
    """All of ``video``, without its window: what facts are kept by. One folder at two rates is two videos."""
    return Video(path=video.path, fps=video.fps)


def survey_all(
    videos: Iterable[Video],
    kept: Path,
    *,
    workers: int,
    limit_s: float,
    on_video: Callable[[], None] = lambda: None,
) -> dict[Video, VideoFacts | str]:
    """What each of ``videos`` is as a ``whole``, or in words what is wrong with it.

    Facts are added to the JSONL file ``kept`` as they come; a file that did not change since is not looked at
    again, unless something was wrong with it. Where ``kept`` cannot be written, a warning says so.
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
    """A function that adds a line to ``kept`` at once, or does nothing where that is not possible."""
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
    """Outcomes in the order of ``waiting``, at most ``most`` pieces of work under way."""
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
    """What an outcome is kept under: it holds while sizes and times of change stay."""
    try:
        unchanged = fingerprint(video.path) if video.path.is_dir() else state(video.path)
    except (OSError, VideoError):
        unchanged = "unknown"
    return f"{video.path.absolute()} {unchanged} {video.fps or ''}".strip()


def _read(kept: Path) -> dict[str, VideoFacts]:
    """Facts of an earlier run; a line that was cut off, and a file that is another thing, count as none."""
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
