"""Writing the synthetic world to disk: .mp4 files and the samples that ask about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from zlib import crc32

import av

from timesight.errors import InputError
from timesight.tasks.quality_assessment import QualityAssessment
from timesight.video.pool import begin_worker
from timesight.world.corruption import Corruption
from timesight.world.questions import QUESTIONS, samples_of
from timesight.world.render import render
from timesight.world.scene import FPS, MARK_SHARE, Scene, make_scene


def write_world(
    out: Path,
    splits: dict[str, int],
    *,
    seed: int,
    duration_s: tuple[float, float] = (3.0, 8.0),
    max_shapes: int = 2,
    tasks: Sequence[str] = tuple(QUESTIONS),
    corruption: Corruption | None = None,
    named_share: float = 0.0,
    details: bool = False,
    mark_share: tuple[float, float] = MARK_SHARE,
    second_look_share: float = 0.0,
    on_video: Callable[[], None] = lambda: None,
) -> dict[str, Path]:
    """Write ``splits`` (name → number of videos) under ``out``; return each split's JSONL file.

    ``tasks`` are what is asked about the videos; only where quality is among them are some shown badly.
    ``details`` makes larger frames, marks (of ``mark_share`` of a shape's radius, least and most) and flashes, and
    asks about them; ``second_look_share`` of the questions that rest on a part of the video show segments.
    ``corruption`` and ``named_share`` are for pretraining. The same arguments give the same bytes of JSONL and the
    same frames. ``on_video`` is called once for each video written. Raises InputError where no processes can be
    started.
    """
    defects = QualityAssessment.name in tasks
    make = partial(
        make_scene,
        duration_s=duration_s,
        max_shapes=max_shapes,
        defects=defects,
        details=details,
        mark_share=mark_share,
    )
    files = {}
    # spawn, not fork: a caller that has loaded torch has threads that do not survive a fork
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=begin_worker) as pool:
        for split, num_videos in splits.items():
            (out / split).mkdir(parents=True, exist_ok=True)
            scenes = [
                make(f"{split}-{index:05d}", (seed, crc32(split.encode()), index)) for index in range(num_videos)
            ]
            paths = [out / split / f"{index:05d}.mp4" for index in range(num_videos)]
            _write_videos(pool, scenes, paths, on_video)
            # The list comes last: where it stands, all its videos do.
            files[split] = out / f"{split}.jsonl"
            lines = [
                sample.model_dump_json(exclude_defaults=True)
                for scene, path in zip(scenes, paths, strict=True)
                for sample in samples_of(
                    scene, path.relative_to(out), tasks, corruption or Corruption(), named_share, second_look_share
                )
            ]
            files[split].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return files


def _write_videos(
    pool: ProcessPoolExecutor, scenes: Sequence[Scene], paths: Sequence[Path], on_video: Callable[[], None]
) -> None:
    try:
        for _ in pool.map(write_video, scenes, paths, chunksize=8):
            on_video()
    except KeyboardInterrupt:
        pool.shutdown(cancel_futures=True)
        raise
    except BrokenProcessPool:
        raise InputError(
            "the processes that write videos were ended or do not start: put what your script does under "
            'if __name__ == "__main__":'
        ) from None


def write_video(scene: Scene, path: Path) -> None:
    """Encode ``scene`` as H.264 at ``path``; the file appears only once it is whole."""
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = scene.width_px, scene.height_px, "yuv420p"
        # Without mbtree: x264's assembly for it reads past the end of rows of 6 macroblocks, and the same frames
        # come out as different files now and then.
        stream.options = {"crf": "23", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
        for pixels in render(scene):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    part.replace(path)
