"""Videos are found by id, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesight.data.videos import Videos


def index(root: Path, *files: str) -> Videos:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return Videos(root)


@pytest.mark.parametrize(
    ("files", "name", "found"),
    [
        (["a.json", "a.mp4", "a.txt"], "a", "a.mp4"),
        (["subtitle/a.srt", "videos/a.MKV"], "a", "videos/a.MKV"),
        (["a.json"], "a", None),
        (["a/a.mp4"], "a", "a/a.mp4"),
        (["rgb/a/1.jpg", "videos/a.mp4"], "a", "videos/a.mp4"),
        (["rgb/a/1.jpg"], "a", "rgb/a"),
        (["a.mp4/1.jpg"], "a.mp4", "a.mp4"),
        (["a.webm"], "a.mp4", "a.webm"),
        (["a.mp4"], "a.2", None),
        (["a.2.mp4", "a.mp4"], "a.2", "a.2.mp4"),
        (["deep/a.raw"], "a.raw", "deep/a.raw"),
        (["a/1.mp4", "b/1.mp4"], "b/1.mp4", "b/1.mp4"),
        (["a/1.mp4"], "z/1.mp4", "a/1.mp4"),
    ],
)
def test_a_video_is_found_by_its_name(tmp_path: Path, files: list[str], name: str, found: str | None) -> None:
    videos = index(tmp_path, *files)
    path = videos.path(name)
    assert videos.missing == ([name] if found is None else [])
    assert not videos.ambiguous
    assert path.exists() == (found is not None)
    assert found is None or path == tmp_path / found


def test_links_are_followed_and_may_lead_back(tmp_path: Path) -> None:
    index(tmp_path / "elsewhere", "x.mp4", "frames/1.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/videos").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root")
    (tmp_path / "elsewhere/same").symlink_to(tmp_path / "elsewhere/frames")
    videos = Videos(tmp_path / "root")
    assert videos.path("x") == tmp_path / "root/videos/x.mp4"
    assert videos.path("same") == tmp_path / "root/videos/same"
    assert (videos.missing, videos.ambiguous) == ([], [])


def test_names_that_several_have_are_noted(tmp_path: Path) -> None:
    videos = index(tmp_path, "star/a.mp4", "clevrer/a.mp4", "clevrer/a/1.jpg")
    assert videos.path("a") == tmp_path / "clevrer/a.mp4"
    assert videos.path("a", within="star") == tmp_path / "star/a.mp4"
    assert videos.ambiguous == ["a"]


def test_what_is_not_found_is_a_path_to_nothing(tmp_path: Path) -> None:
    videos = Videos(tmp_path)
    names = [videos.path("a"), videos.path("a.2"), videos.path("a.avi"), videos.path("frames", extension="")]
    assert [path.name for path in names] == ["a.mp4", "a.2.mp4", "a.avi", "frames"]
