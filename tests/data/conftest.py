from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def videos(video: Path, tmp_path: Path) -> Path:
    """A folder with a video of three seconds, the same under another name, and broken ones."""
    folder = tmp_path / "videos"
    folder.mkdir()
    content = video.read_bytes()
    for name, part in (
        ("v", content),
        ("copy", content),
        ("cut", content[: len(content) * 2 // 3]),
        ("empty", b""),
    ):
        (folder / f"{name}.mp4").write_bytes(part)
    return folder
