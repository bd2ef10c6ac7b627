"""Writing the synthetic world to disk: .mp4 files and the samples that ask about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import av

from timesight.errors import InputError
from timesight.files import whole_file, write_text
from timesight.video.pool import begin_worker
from timesight.world.generate import make_scenes
from timesight.world.questions import samples_of
from timesight.world.render import render
from timesight.world.scene import FPS, Scene
from timesight.world.settings import WorldSettings

KEY_FRAMES_S = 5


def write_world(
    out: Path,
    splits: dict[str, int],
    settings: WorldSettings | None = None,
    *,
    seed: int,
    on_video: Callable[[], None] = lambda: None,
) -> dict[str, Path]:
    """Write videos and the samples that ask about them.

    Args:
        out: Folder of the world; videos and JSONL files that are there are overwritten.
        splits: Number of videos of each split, by name.
        settings: Of the world; None has the defaults.
        seed: The same arguments give the same bytes of JSONL and the same frames.
        on_video: Called once for each video written.

    Returns:
        The JSONL file of each split, by name.

    Raises:
        InputError: If the processes cannot be started or end early, or a video cannot be written.
    """
    settings = settings or WorldSettings()
    files = {}
    # spawn, not fork: a caller that has loaded torch has threads that do not survive a fork
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=begin_worker) as pool:
        for split, num_videos in splits.items():
            (out / split).mkdir(parents=True, exist_ok=True)
            scenes = make_scenes(split, num_videos, settings, seed)
            paths = [out / split / f"{index:05d}.mp4" for index in range(num_videos)]
            _write_videos(pool, scenes, paths, on_video)
            # The list comes last: if it exists, so do all its videos.
            files[split] = out / f"{split}.jsonl"
            lines = [
                sample.model_dump_json(exclude_defaults=True)
                for scene, path in zip(scenes, paths, strict=True)
                for sample in samples_of(scene, path.relative_to(out), settings)
            ]
            write_text(files[split], "".join(f"{line}\n" for line in lines))
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
    """Render a scene and encode it as H.264 in an .mp4 file, which is written atomically.

    Raises:
        InputError: If the file cannot be written.
    """
    with whole_file(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = scene.width_px, scene.height_px, "yuv420p"
        # Without mbtree: x264's assembly for it reads past the end of rows of 6 macroblocks, and the same frames
        # come out as different files now and then. A key frame every five seconds makes second looks quick to read.
        params = f"mbtree=0:keyint={KEY_FRAMES_S * FPS}"
        stream.options = {"crf": "23", "preset": "veryfast", "threads": "1", "x264-params": params}
        for pixels in render(scene):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
