"""A survey of a whole video: whether it decodes to its end, its duration, and a digest of its content."""

from __future__ import annotations

from dataclasses import dataclass

from timesight.errors import VideoError
from timesight.types import Video
from timesight.video.fingerprint import content_fingerprint
from timesight.video.probe import (
    VideoInfo,
    is_folder,
    open_container,
    open_image,
    probe,
    probe_container,
    require_file,
    video_stream,
)

MISSING_END_S = 0.5  # frames in the last half second may be missing: some containers count one too many


@dataclass(frozen=True)
class VideoFacts:
    """The result of a survey.

    Args:
        duration_s: Of the whole file.
        num_frames: Number of frames that decode.
        fingerprint: Digest of the content (``content_fingerprint``), of a folder that of its images in order.
    """

    duration_s: float
    num_frames: int
    fingerprint: str


def survey(video: Video) -> VideoFacts:
    """Decode all frames of a file or folder, without regard to the window.

    Raises:
        VideoError: If it cannot be read, has damaged frames, or does not decode to its end.
    """
    if is_folder(video.path):
        info = probe(video)
        for path in info.frame_paths:
            with open_image(path) as picture:
                picture.load()
        return VideoFacts(info.duration_s, info.num_frames, content_fingerprint(info.frame_paths))
    require_file(video.path)
    with open_container(video.path) as container:
        info = probe_container(container, video.path)
        stream = video_stream(container, video.path)
        container.seek(0, stream=stream)
        count, last_s, first_s, num_damaged = 0, 0.0, None, 0
        for frame in container.decode(stream):
            count += 1
            num_damaged += frame.is_corrupt
            time_s = 0.0 if frame.time is None else frame.time
            first_s = time_s if first_s is None else first_s
            last_s = max(last_s, time_s - first_s)
    _require_whole(info, last_s, num_damaged)
    return VideoFacts(info.duration_s, count, content_fingerprint([video.path]))


def _require_whole(info: VideoInfo, last_s: float, num_damaged: int) -> None:
    if num_damaged:
        raise VideoError(info.path, f"{num_damaged} of its frames are damaged")
    if last_s < float(info.times_s[-1]) - MISSING_END_S:
        raise VideoError(info.path, f"decodes up to {last_s:.2f} s of {info.duration_s:.2f} s only")
