"""Finding videos by id, whatever their extension and however deep they lie."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from timesight.errors import InputError


class Videos:
    """An index of the files and folders under a root; without a root, none is looked for.

    ``missing`` are the names that were asked for and not found, ``ambiguous`` those that more than one file had.
    """

    def __init__(self, root: Path | None) -> None:
        if root is not None and not root.is_dir():
            raise InputError(f"{root}: no such folder of videos")
        self.root = root
        self.missing: list[str] = []
        self.ambiguous: list[str] = []
        self._by_id: dict[str, list[Path]] = defaultdict(list)
        for folder, folders, files in os.walk(root) if root is not None else ():
            folders.sort()
            for name in sorted(files):
                self._by_id[name].append(Path(folder, name))
                self._by_id[Path(name).stem].append(Path(folder, name))
            for name in folders:  # frames
                self._by_id[name].append(Path(folder, name))

    def path(self, name: str, within: str = "") -> Path:
        """The file or folder of the video ``name``, with or without its extension.

        Of several, one in a folder ``within`` if there is one, then the first in order. If there is none, a path to
        nothing.
        """
        found = self._by_id.get(name) or self._by_id.get(Path(name).stem) or []
        if self.root is not None and not found:
            self.missing.append(name)
        if len(found) > 1:
            found = [path for path in found if within in path.parts] or found
        if len({path.parent for path in found}) > 1:
            self.ambiguous.append(name)
        return found[0] if found else (self.root or Path()) / (name if Path(name).suffix else f"{name}.mp4")
