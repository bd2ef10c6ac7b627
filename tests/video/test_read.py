from __future__ import annotations

import os
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from timesight.errors import VideoError
from timesight.types import FrameRequest, Video
from timesight.video import FrameBudget, probe, read
from timesight.video.read import _picture
from timesight.video.survey import survey

read_module = import_module("timesight.video.read")

BUDGET = FrameBudget(min_pixels=784, max_pixels=64 * 64)


def write(
    path: Path,
    stamps_s: list[float],
    *,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    title: str = "",
) -> Path:
    """A video whose frame number i is filled with gray level 8 · (i mod 30), shown from ``stamps_s[i]`` on."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index, stamp_s in enumerate(stamps_s):
            frame = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), 8 * (index % 30), np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = round(stamp_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def levels(pixels: np.ndarray) -> list[int]:
    """The number of each frame modulo 30, read off its gray level."""
    return [round(float(frame.mean()) / 8) for frame in pixels]


def test_constant_rate_frames_and_times(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", [i / 10 for i in range(40)])
    frames = read(Video(path=path), BUDGET)
    np.testing.assert_allclose(frames.times_s, 0.5 * np.arange(8), atol=1e-6)
    assert levels(frames.pixels) == [0, 5, 10, 15, 20, 25, 0, 5]
    assert frames.pixels.dtype == np.uint8
    assert frames.sampled_fps == pytest.approx(2.0, rel=0.02)


def test_variable_rate_gives_the_frame_on_screen_and_its_own_time(tmp_path: Path) -> None:
    stamps = [0.0, 0.1, 0.2, 1.7, 1.8, 3.0, 3.1, 3.9]
    video = Video(path=write(tmp_path / "v.mkv", stamps))
    info = probe(video)
    np.testing.assert_allclose(info.times_s, stamps, atol=2e-3)
    frames = read(video, BUDGET, FrameRequest(num_frames=4))
    asked = [k * info.duration_s / 4 for k in range(4)]
    on_screen = [max(i for i, stamp in enumerate(stamps) if stamp <= t) for t in asked]
    assert on_screen == [0, 2, 4, 4]
    assert levels(frames.pixels) == on_screen
    np.testing.assert_allclose(frames.times_s, [stamps[i] for i in on_screen], atol=2e-3)


def test_seeking_far_ahead_gives_the_same_frames_as_decoding_everything(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", [i / 5 for i in range(50 * 5)], size=(32, 32))  # 10 s from one to the next
    with av.open(str(path)) as container:
        everything = [f.to_ndarray(format="rgb24").mean() for f in container.decode(video=0)]
    frames = read(Video(path=path), FrameBudget(min_pixels=784, max_pixels=1024), FrameRequest(num_frames=5))
    length_s = probe(Video(path=path)).duration_s
    expected = [everything[int(k * length_s)] for k in range(5)]  # asked at k · length / 5, shown at 5 fps
    np.testing.assert_allclose([f.mean() for f in frames.pixels], expected, atol=2.0)


@pytest.mark.parametrize("name", ["v.ts", "v.mkv"])
def test_a_seek_may_land_too_late(tmp_path: Path, name: str) -> None:
    """In some containers it does; frames far apart are found all the same."""
    path = write(tmp_path / name, [i / 25 for i in range(600)])
    every = read(Video(path=path), FrameBudget(fps=25, min_pixels=784, max_pixels=784, max_frames=600))
    times_s = every.times_s[[0, 130, 131, 400, 590]]
    far = read(Video(path=path), BUDGET, FrameRequest(5, tuple(times_s.tolist())))
    np.testing.assert_allclose(far.times_s, times_s)
    assert levels(far.pixels) == [levels(every.pixels)[index] for index in (0, 130, 131, 400, 590)]


def test_a_late_window_is_not_decoded_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "v.mp4", [i / 10 for i in range(3000)])
    decoded: list[int] = []
    frames_with = read_module._frames_with
    monkeypatch.setattr(
        read_module, "_frames_with", lambda *args: (decoded.append(1) or frame for frame in frames_with(*args))
    )
    late = read(Video(path=path, start_s=280.0, end_s=282.0), BUDGET)
    np.testing.assert_allclose(late.times_s, [280.0, 280.5, 281.0, 281.5], atol=1e-6)
    assert levels(late.pixels) == [2800 % 30, 2805 % 30, 2810 % 30, 2815 % 30]
    assert len(decoded) < 300


def test_a_window_counts_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", [i / 10 for i in range(50)])
    frames = read(Video(path=path, start_s=2.0, end_s=4.0), BUDGET)
    assert frames.window_s == (2.0, 4.0)
    assert levels(frames.pixels) == [20, 25, 0, 5]


def test_same_file_same_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", [i / 10 for i in range(30)])
    np.testing.assert_array_equal(read(Video(path=path), BUDGET).pixels, read(Video(path=path), BUDGET).pixels)


def test_a_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    for index in range(12):
        Image.new("RGB", (40, 30), (index * 8,) * 3).save(tmp_path / f"f_{index}.png")
    frames = read(Video(path=tmp_path, fps=3.0), BUDGET, FrameRequest(num_frames=4))
    assert levels(frames.pixels) == [0, 3, 6, 9]  # natural order: f_2 before f_10
    np.testing.assert_allclose(frames.times_s, [0, 1, 2, 3])


def test_a_single_frame(tmp_path: Path) -> None:
    frames = read(Video(path=write(tmp_path / "v.mp4", [0.0])), BUDGET)
    assert len(frames.pixels) == 2


def truncated(path: Path) -> Path:
    content = write(path, [i / 10 for i in range(100)]).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def test_errors_name_the_file_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    cases = {
        "missing.mp4": "no such file",
        "text.mp4": "cannot be opened as a video",
        "empty.mp4": "cannot be opened as a video",
        "folder": 'is a folder of frames: say its "fps"',
        "pipe.mp4": "is not a regular file",
    }
    for name, reason in cases.items():
        with pytest.raises(VideoError, match=reason) as caught:
            read(Video(path=tmp_path / name), BUDGET)
        assert name in str(caught.value)
    with pytest.raises(VideoError, match=r"cut\.mp4: "):
        read(Video(path=truncated(tmp_path / "cut.mp4")), BUDGET)
    with pytest.raises(VideoError, match="holds no frames"):
        read(Video(path=tmp_path / "folder", fps=2.0), BUDGET)


def test_a_title_in_any_encoding_does_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", [0.0, 0.1, 0.2, 0.3], title="cafe")
    path.write_bytes(path.read_bytes().replace(b"cafe", b"caf\xe9"))
    assert read(Video(path=path), BUDGET).pixels.shape[0] == 4


def test_an_unknown_codec_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", [0.0, 0.1, 0.2, 0.3])
    path.write_bytes(path.read_bytes().replace(b"avc1\0", b"zzz1\0"))
    with pytest.raises(VideoError, match=r"v\.mp4: is in a codec that cannot be decoded here"):
        probe(Video(path=path))


def test_a_picture_that_is_too_large_to_open_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    Image.new("1", (20000, 20000)).save(path)
    for look in (read, survey):
        with pytest.raises(VideoError, match=r"0\.png: is not an image that can be read"):
            look(Video(path=tmp_path, fps=1.0))


def test_a_video_damaged_in_the_middle_is_refused_or_known_to_be_short(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", [i / 10 for i in range(100)], size=(128, 128))
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for packet in packets[30:]:  # everything after 3 s becomes zeros
        assert packet.pos is not None
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(bytes(content))
    with pytest.raises(VideoError, match=r"v\.mp4: (does not decode at|cannot be decoded)"):
        read(Video(path=path), BUDGET)


REAL = {
    "making_cake.mp4": (320, 426, 300),
    "nasa_13013.mp4": (320, 180, 325),
    "variable_fps_22.mp4": (640, 360, 491),
    "h265_video.mp4": (128, 128, 10),
    "h264_10bits.mp4": (200, 200, 30),
    "av1_video.mkv": (640, 360, 125),
    "flipping_a_pancake.mkv": (426, 240, 310),
    "video_90.mov": (320, 568, 3),  # stored lying on its side
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(samples_dir: Path, name: str) -> None:
    video = Video(path=samples_dir / "videos" / name)
    info = probe(video)
    assert (info.width_px, info.height_px, info.num_frames) == REAL[name]
    frames = read(video)
    assert frames.pixels.std() > 5
    assert set(frames.times_s.tolist()) <= set(info.times_s.tolist())
    height, width = frames.pixels.shape[1:3]
    assert width / height == pytest.approx(info.width_px / info.height_px, rel=0.2)


def test_real_frames_equal_a_full_decode(samples_dir: Path) -> None:
    path = samples_dir / "videos" / "nasa_13013.mp4"
    frames = read(Video(path=path))
    height, width = frames.pixels.shape[1:3]
    with av.open(str(path)) as container:
        shown = {round(float(f.time), 4): f.to_ndarray(format="rgb24") for f in container.decode(video=0)}
    for pixels, time_s in zip(frames.pixels, frames.times_s, strict=True):
        whole = torch.from_numpy(shown[round(float(time_s), 4)]).permute(2, 0, 1)
        sized = resize(whole, [height, width], InterpolationMode.BICUBIC, antialias=True)
        # torchvision's resampling is what qwen-vl-utils uses; its integer arithmetic rounds a little differently
        difference = np.abs(pixels.astype(int) - sized.permute(1, 2, 0).numpy())
        assert difference.mean() < 0.2
        assert difference.max() <= 8


def test_real_rotation_stands_upright(samples_dir: Path) -> None:
    path = samples_dir / "videos" / "video_90.mov"
    frames = read(Video(path=path))
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
    assert first.rotation % 180 != 0
    upright = np.rot90(first.to_ndarray(format="rgb24"), round(first.rotation / 90) % 4)
    small = np.asarray(Image.fromarray(upright).resize(frames.pixels.shape[2:0:-1]))
    assert np.abs(frames.pixels[0].astype(int) - small).mean() < 5


def test_real_corrupt_file_is_named(samples_dir: Path) -> None:
    with pytest.raises(VideoError, match=r"corrupted\.mp4: cannot be"):
        read(Video(path=samples_dir / "videos" / "corrupted.mp4"))


def test_real_folder(samples_dir: Path) -> None:
    frames = read(Video(path=samples_dir / "videos" / "tennis_frames", fps=3.0))
    assert frames.duration_s == pytest.approx(8 / 3)


CLIPS = [
    "making_cake.mp4",
    "playing_guitar.mp4",
    "variable_fps_22.mp4",
    "nasa_13013.mp4",
    "h265_video.mp4",
    "h264_10bits.mp4",
    "av1_video.mkv",
    "flipping_a_pancake.mkv",
    "video_90.mov",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("fps", [0.3, 2.0, 7.0])
def test_frames_are_those_of_a_decoder_that_skips_nothing(samples_dir: Path, name: str, fps: float) -> None:
    """Whatever is skipped on the way to a frame must not show in it."""
    path = samples_dir / "videos" / name
    budget = FrameBudget(fps=fps, max_pixels=128 * 128)
    frames = read(Video(path=path), budget)
    wanted = frames.times_s.tolist()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = float(stream.time_base or 1)
        decoded = sorted(((f.pts * base, f) for f in container.decode(stream)), key=lambda pair: pair[0])
        at = {round(time_s - decoded[0][0], 4): frame for time_s, frame in decoded}
        size = (frames.pixels.shape[2], frames.pixels.shape[1])
        for time_s, pixels in zip(wanted, frames.pixels, strict=True):
            assert np.array_equal(_picture(at[round(time_s, 4)], size), pixels)
