"""Finding videos by id, with any extension and at any depth of a folder."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from timesight.errors import InputError

# Only these extensions are removed: an id may contain dots, and other files may share a video's name.
VIDEO_SUFFIXES = {
    ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogg", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
}  # fmt: skip


def video_id(name: str) -> str:
    """Remove the extension of a video file from its name; any other name is an id as it is."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


class Videos:
    """An index of the files and folders under a root, by name.

    ``missing`` lists the names that ``path`` did not find, ``ambiguous`` those that it found in several folders.

    Args:
        root: Folder to search, links included; None does not look for videos.

    Raises:
        InputError: If ``root`` is no folder.
    """

    def __init__(self, root: Path | None) -> None:
        if root is not None and not root.is_dir():
            raise InputError(f"{root}: no such folder of videos")
        self.root = root
        self.missing: list[str] = []
        self.ambiguous: list[str] = []
        self._videos: dict[str, list[Path]] = defaultdict(list)
        self._folders: dict[str, list[Path]] = defaultdict(list)  # perhaps of frames
        self._others: dict[str, list[Path]] = defaultdict(list)
        seen: set[str] = set()  # links may form a cycle
        for place, folders, files in os.walk(root, followlinks=True) if root is not None else ():
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            for name in folders:
                self._folders[name].append(Path(place, name))
            for name in sorted(files):
                index = self._others if video_id(name) == name else self._videos
                for key in {name, video_id(name)}:
                    index[key].append(Path(place, name))

    def path(self, name: str, within: str = "", extension: str = ".mp4") -> Path:
        """Find the file or folder of a video.

        A video file comes before a folder, and a folder before any other file, whose name must match exactly.

        Args:
            name: With or without extension, and folders above it, which are preferred but need not match.
            within: Name of a folder anywhere above the video; it is preferred but need not match.
            extension: Added to a ``name`` without one, if nothing is found.

        Returns:
            The first match in order. If there is none, a path that does not exist, under the root if there is one.
        """
        found = self._found(name)
        if self.root is not None and not found:
            self.missing.append(name)
        above = Path(name).parent.parts
        for fits in (
            lambda path: within in path.parts,
            lambda path: path.parent.parts[-len(above) :] == above,
        ):
            found = [each for each in found if fits(each[1])] or found
        best = [path for rank, path in found if rank == found[0][0]]
        if len({path.parent for path in best}) > 1:
            self.ambiguous.append(name)
        if best:
            return best[0]
        return (self.root or Path()) / (f"{name}{extension}" if video_id(name) == name else name)

    def _found(self, name: str) -> list[tuple[int, Path]]:
        """All matches of ``name`` with their ranks, the best first."""
        name = Path(name).name
        indices = (self._videos, self._folders, self._others)
        return [
            (rank, path)
            for rank, index in enumerate(indices)
            for path in index.get(name) or index.get(video_id(name)) or ()
        ]
