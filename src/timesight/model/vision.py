"""The vision tower: run once for each video, and where it is frozen, once for all epochs.

V videos, N vision patches of all of them, M merged tokens of one video, H width of the text model.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from timesight.errors import InputError
from timesight.files import whole_file
from timesight.model.policy import Policy

LOGGER = logging.getLogger("timesight")
MAX_PATCHES = 2**15  # that pass through a tower at one time where nothing is kept for a backward pass


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """What the text model takes from the tower, video by video."""

    pooler_output: tuple[Tensor, ...]  # V of (M, H)
    deepstack_features: tuple[tuple[Tensor, ...], ...] | None  # layers of V of (M, H), for families that have them

    @property
    def inputs(self) -> dict[str, Any]:
        """The model's ``mm_encoder_outputs``; nothing where there is no video."""
        return {"video": self} if self.pooler_output else {}

    def pick(self, videos: Sequence[int]) -> VisionFeatures:
        """The features of ``videos``, in that order; one may come more than once."""
        layers = self.deepstack_features
        return VisionFeatures(
            tuple(self.pooler_output[v] for v in videos),
            None if layers is None else tuple(tuple(layer[v] for v in videos) for layer in layers),
        )

    def concatenated(self, counts: Sequence[int]) -> VisionFeatures:
        """Videos in place of their parts: the first ``counts[0]`` belong to the first video, and so on."""

        def joined(parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
            one_by_one = iter(parts)
            return tuple(torch.cat([next(one_by_one) for _ in range(count)]) for count in counts)

        layers = self.deepstack_features
        return VisionFeatures(
            joined(self.pooler_output), None if layers is None else tuple(joined(layer) for layer in layers)
        )

    @staticmethod
    def join(parts: Sequence[VisionFeatures]) -> VisionFeatures:
        """The features of ``parts`` one after the other."""
        layers = [part.deepstack_features for part in parts if part.deepstack_features is not None]
        return VisionFeatures(
            tuple(pooled for part in parts for pooled in part.pooler_output),
            tuple(tuple(chain.from_iterable(layer)) for layer in zip(*layers, strict=True)) or None,
        )


def encode_videos(
    policy: Policy, patches: Tensor, grid_thw: Tensor, store: FeatureStore | None = None
) -> VisionFeatures:
    """Run the vision tower once over all videos, or over those that ``store`` does not have.

    Args:
        policy: Whose tower runs.
        patches: (N, patch_dim) of all videos, one after the other.
        grid_thw: (V, 3) patches along time, height and width of each video.
        store: Features of a frozen tower on disk.
    """
    with policy.precision():
        if store is None:
            return _run_tower(policy, patches, grid_thw)
        of_videos = torch.split(patches, grid_thw.prod(-1).tolist())
        keys = [store.key(p, grid) for p, grid in zip(of_videos, grid_thw, strict=True)]
        known = {key: store.read(key, policy.device) for key in dict.fromkeys(keys)}
        missing = [key for key, features in known.items() if features is None]
        if missing:
            first = [keys.index(key) for key in missing]
            fresh = _run_tower(policy, torch.cat([of_videos[i] for i in first]), grid_thw[first])
            for place, key in enumerate(missing):
                known[key] = fresh.pick([place])
                store.write(key, fresh.pick([place]))
        return VisionFeatures.join([features for key in keys if (features := known[key]) is not None])


def _run_tower(policy: Policy, patches: Tensor, grid_thw: Tensor) -> VisionFeatures:
    """The tower over all videos: at once where it learns, else in chunks of time, since frames are independent."""
    if len(grid_thw) == 0:
        return VisionFeatures((), None)
    if torch.is_grad_enabled() and policy.trains_vision:
        return _tower_pass(policy, patches, grid_thw)
    chunks = [chunk for grid in grid_thw.tolist() for chunk in _time_chunks(*grid)]
    first, parts = 0, []
    for batch in _batched(chunks, MAX_PATCHES):
        size = sum(map(prod, batch))
        grids = torch.tensor(batch, device=grid_thw.device)
        with torch.no_grad():  # gradient checkpointing of adapters would make a graph of a frozen tower
            parts.append(_tower_pass(policy, patches[first : first + size], grids))
        first += size
    if len(chunks) == len(grid_thw):
        return VisionFeatures.join(parts)
    counts = [len(_time_chunks(*grid)) for grid in grid_thw.tolist()]
    return VisionFeatures.join(parts).concatenated(counts)


def _time_chunks(time: int, height: int, width: int) -> list[tuple[int, int, int]]:
    """A video's grid in parts along time of up to MAX_PATCHES patches, or of a single step."""
    steps = max(1, MAX_PATCHES // (height * width))
    return [(min(steps, time - first), height, width) for first in range(0, time, steps)]


def _batched(grids: Sequence[tuple[int, int, int]], most: int) -> Iterator[list[tuple[int, int, int]]]:
    """Grids in batches of up to ``most`` patches, or of a single grid."""
    batch: list[tuple[int, int, int]] = []
    for grid in grids:
        if batch and sum(map(prod, [*batch, grid])) > most:
            yield batch
            batch = []
        batch.append(grid)
    yield batch


def _tower_pass(policy: Policy, patches: Tensor, grid_thw: Tensor) -> VisionFeatures:
    output = policy.model.get_video_features(patches, grid_thw, return_dict=True)
    layers = getattr(output, "deepstack_features", None)
    return VisionFeatures(output.pooler_output, None if layers is None else tuple(tuple(layer) for layer in layers))


class FeatureStore:
    """A frozen tower's features on disk, one file a video.

    The key is made of the tower's weights and of the patches that go into it: file content, sampling and
    size all show in those. Files are complete or absent, so several processes may share a store and a kill does
    no harm. A 7B model's features of 3,584 tokens take 26 MB a video. Past ``max_bytes``, which each process counts
    for itself after the start, or once the disk is full, nothing more is kept.
    """

    def __init__(self, folder: Path, policy: Policy, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._tower = hashlib.sha256()
        for name, weight in policy.core.visual.state_dict().items():
            self._tower.update(name.encode())
            self._tower.update(_bytes(weight))
        self._tower.update(str(policy.autocast_bf16).encode())
        folder.mkdir(parents=True, exist_ok=True)
        self._num_bytes = 0
        for file in folder.iterdir():
            with suppress(FileNotFoundError):  # another process has finished it
                self._num_bytes += file.stat().st_size

    def key(self, patches: Tensor, grid_thw: Tensor) -> str:
        """The name of one video's features, from what the tower is given: (N, patch_dim) and (3,)."""
        digest = self._tower.copy()
        digest.update(_bytes(patches))
        digest.update(str(grid_thw.tolist()).encode())
        return digest.hexdigest()

    def read(self, key: str, device: torch.device) -> VisionFeatures | None:
        """The features under ``key``, or None; a file that cannot be read counts as absent."""
        try:
            tensors = load_file(self._file(key), device=str(device))
        except (OSError, SafetensorError):
            return None
        layers = sorted((name for name in tensors if name != "pooled"), key=int)
        return VisionFeatures((tensors["pooled"],), tuple((tensors[name],) for name in layers) or None)

    def write(self, key: str, features: VisionFeatures) -> None:
        """Keep the features of one video."""
        tensors = {"pooled": features.pooler_output[0]}
        tensors |= {str(i): layer[0] for i, layer in enumerate(features.deepstack_features or ())}
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        if self._num_bytes + size > self._max_bytes:
            return
        self._num_bytes += size
        try:
            with whole_file(self._file(key)) as unfinished:
                save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, unfinished)
        except (InputError, OSError, SafetensorError) as error:
            self._max_bytes = 0
            LOGGER.warning("%s: no more features are kept (%s)", self._folder, error)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())  # type: ignore[arg-type]
