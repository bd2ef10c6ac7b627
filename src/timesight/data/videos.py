"""Finding videos by id, whatever their extension and however deep they lie."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from timesight.errors import InputError

# Only these are taken off a name: an id may hold dots, and what lies next to a video may have its name.
VIDEO_SUFFIXES = {
    ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogg", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
}  # fmt: skip


def video_id(name: str) -> str:
    """The name of a video file without its extension; any other name is an id as it is."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


class Videos:
    """An index of the files and folders under a root, linked ones too; without a root, none is looked for.

    ``missing`` are the names that were asked for and not found, ``ambiguous`` those that more than one file had.
    Raises InputError where the root is no folder.
    """

    def __init__(self, root: Path | None) -> None:
        if root is not None and not root.is_dir():
            raise InputError(f"{root}: no such folder of videos")
        self.root = root
        self.missing: list[str] = []
        self.ambiguous: list[str] = []
        self._videos: dict[str, list[Path]] = defaultdict(list)
        self._folders: dict[str, list[Path]] = defaultdict(list)  # frames, perhaps
        self._others: dict[str, list[Path]] = defaultdict(list)
        seen: set[str] = set()  # a link may lead back to where it lies
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
        """The file or folder of the video ``name``, with or without its extension and the folders above it.

        A video comes before a folder, and that before any other file, which must have just this name. Of several,
        one in a folder ``within`` if there is one, or else the first in order. If there is none, a path to nothing,
        with ``extension`` where ``name`` has none.
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
        """All that ``name`` may stand for, each with a rank, the best first."""
        name = Path(name).name
        indices = (self._videos, self._folders, self._others)
        return [
            (rank, path)
            for rank, index in enumerate(indices)
            for path in index.get(name) or index.get(video_id(name)) or ()
        ]
