"""Looking through all videos of a data set: in parallel, each with a time limit, going on where it was stopped."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from timesight.errors import VideoError
from timesight.types import Video
from timesight.video.fingerprint import state
from timesight.video.pool import Pending, VideoPool
from timesight.video.survey import VideoFacts, survey

IN_FLIGHT = 4  # pieces of work a process, so that none waits for the next


def survey_all(
    videos: Iterable[Video],
    kept: Path,
    *,
    workers: int,
    limit_s: float,
    on_video: Callable[[], None] = lambda: None,
) -> dict[Path, VideoFacts | str]:
    """What each file or folder of ``videos`` is, or in words what is wrong with it, by path.

    Facts are added to the JSONL file ``kept`` as they come; a file that did not change since is not looked at
    again, unless something was wrong with it.
    """
    known = _read(kept)
    outcomes: dict[Path, VideoFacts | str] = {}
    waiting: list[tuple[Video, str]] = []
    for video in {video.path: video for video in videos}.values():
        name = _known_as(video)
        if name in known:
            outcomes[video.path] = known[name]
            on_video()
        else:
            waiting.append((video, name))
    if waiting:
        pool = VideoPool(workers, limit_s)
        try:
            with kept.open("a", encoding="utf-8") as out:
                out.write("\n" if out.tell() else "")  # the last line may have been cut off
                for video, name, outcome in _in_order(pool, waiting, workers * IN_FLIGHT):
                    outcomes[video.path] = outcome
                    if isinstance(outcome, VideoFacts):
                        out.write(json.dumps({"video": name, **asdict(outcome)}) + "\n")
                        out.flush()
                    on_video()
        finally:
            pool.close()
    return outcomes


def _in_order(
    pool: VideoPool, waiting: list[tuple[Video, str]], most: int
) -> Iterator[tuple[Video, str, VideoFacts | str]]:
    """Outcomes in the order of ``waiting``, at most ``most`` pieces of work under way."""
    under_way: deque[tuple[Video, str, Pending[VideoFacts]]] = deque()
    for video, name in waiting:
        if len(under_way) >= most:
            yield _outcome(*under_way.popleft())
        work = pool.submit(video.path, survey, Video(path=video.path, fps=video.fps))
        under_way.append((video, name, work))
    while under_way:
        yield _outcome(*under_way.popleft())


def _outcome(video: Video, name: str, work: Pending[VideoFacts]) -> tuple[Video, str, VideoFacts | str]:
    try:
        return video, name, work.result()
    except VideoError as error:
        return video, name, error.reason


def _known_as(video: Video) -> str:
    """What an outcome is kept under: it holds while size and time of change stay."""
    try:
        return f"{video.path.absolute()} {state(video.path)} {video.fps or ''}".strip()
    except OSError:
        return f"{video.path.absolute()} unknown"


def _read(kept: Path) -> dict[str, VideoFacts]:
    """Facts of an earlier run; a line that was cut off counts as none."""
    known = {}
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else ():
        try:
            record = json.loads(line)
            name = str(record.pop("video"))
            known[name] = VideoFacts(**record)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return known
