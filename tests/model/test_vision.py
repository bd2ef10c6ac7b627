from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from timesight.data import read_jsonl
from timesight.infer.prompts import encode_sample
from timesight.model import vision
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.vision import FeatureStore, encode_videos
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import PrefixTree, build_tree
from timesight.video import FrameReader


@pytest.fixture
def policy(new_model: Path) -> Policy:
    return load_policy(new_model, dtype="float32")


def batch(policy: Policy, world: Path, videos: list[int]) -> PrefixTree:
    unique = list({sample.video.path: sample for sample in read_jsonl(world / "train.jsonl")}.values())
    reader = FrameReader(policy.default_budget, policy.factor)
    return build_tree(policy, [encode_sample(policy, unique[v], False, reader) for v in videos])


def logps(policy: Policy, prompts: PrefixTree, store: FeatureStore | None) -> torch.Tensor:
    tree = prompts.with_replies([[20, 21]] * len(prompts.leaves.input_ids))
    with torch.no_grad():
        features = encode_videos(policy, prompts.patches, prompts.grid_thw, store)
        return completion_logprobs(policy, tree.with_features(features))[0]


@pytest.fixture
def patches_seen(policy: Policy) -> list[int]:
    """Number of patches of each run of the tower."""
    seen: list[int] = []
    policy.core.visual.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    return seen


def test_kept_features_are_the_features(
    policy: Policy, world: Path, tmp_path: Path, patches_seen: list[int]
) -> None:
    prompts = batch(policy, world, [0, 1, 1, 2])
    expected = logps(policy, prompts, None)
    for _ in range(2):  # the second time from a new store on the same folder
        store = FeatureStore(tmp_path, policy, max_bytes=10**9)
        torch.testing.assert_close(logps(policy, prompts, store), expected, atol=1e-5, rtol=0)
    sizes = prompts.grid_thw.prod(-1).tolist()
    assert patches_seen == [sum(sizes), sizes[0] + sizes[1] + sizes[3]]  # once for each video, then never again


def test_only_what_is_missing_is_computed(
    policy: Policy, world: Path, tmp_path: Path, patches_seen: list[int]
) -> None:
    store = FeatureStore(tmp_path, policy, max_bytes=10**9)
    logps(policy, batch(policy, world, [0, 2]), store)
    patches_seen.clear()
    prompts = batch(policy, world, [2, 3, 0])
    assert torch.allclose(logps(policy, prompts, store), logps(policy, prompts, None), atol=1e-5)
    sizes = prompts.grid_thw.prod(-1).tolist()
    assert patches_seen == [sizes[1], sum(sizes)]


def test_other_weights_or_other_pixels_are_other_features(policy: Policy, world: Path, tmp_path: Path) -> None:
    prompts = batch(policy, world, [0])
    key = FeatureStore(tmp_path, policy, 10**9).key(prompts.patches, prompts.grid_thw[0])
    assert key == FeatureStore(tmp_path, policy, 10**9).key(prompts.patches, prompts.grid_thw[0])
    assert key != FeatureStore(tmp_path, policy, 10**9).key(prompts.patches + 1e-3, prompts.grid_thw[0])
    with torch.no_grad():
        next(policy.core.visual.parameters()).add_(1e-3)
    assert key != FeatureStore(tmp_path, policy, 10**9).key(prompts.patches, prompts.grid_thw[0])


def test_a_damaged_file_is_computed_again(policy: Policy, world: Path, tmp_path: Path) -> None:
    prompts = batch(policy, world, [0])
    expected = logps(policy, prompts, FeatureStore(tmp_path, policy, 10**9))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    torch.testing.assert_close(logps(policy, prompts, FeatureStore(tmp_path, policy, 10**9)), expected)
    assert file.stat().st_size > 100


def test_a_full_store_keeps_nothing_more(policy: Policy, world: Path, tmp_path: Path) -> None:
    logps(policy, batch(policy, world, [0, 1]), FeatureStore(tmp_path, policy, max_bytes=1000))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_nothing_more_and_loses_nothing(
    policy: Policy, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(tensors: object, file: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    prompts = batch(policy, world, [0, 1])
    expected = logps(policy, prompts, None)
    monkeypatch.setattr(vision, "save_file", no_room)
    torch.testing.assert_close(logps(policy, prompts, FeatureStore(tmp_path, policy, 10**9)), expected)
    assert caplog.text.count("no more features are kept") == 1
    assert not list(tmp_path.iterdir())


def test_a_frozen_tower_runs_in_chunks_of_time(
    policy: Policy, world: Path, patches_seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are independent, so the features are the same; a tower that learns runs at once."""
    tree = batch(policy, world, [0, 1, 2])
    whole = tree.vision(policy)
    sizes = tree.grid_thw.prod(-1).tolist()
    step = int(tree.grid_thw[0, 1:].prod())
    monkeypatch.setattr(vision, "MAX_PATCHES", 3 * step)
    patches_seen.clear()
    with torch.no_grad():
        chunked = tree.vision(policy)
    assert sum(patches_seen) == sum(sizes)
    assert max(patches_seen) <= 3 * step < max(sizes)
    for ours, theirs in zip(chunked.pooler_output, whole.pooler_output, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(chunked.deepstack_features or (), whole.deepstack_features or (), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    patches_seen.clear()
    tree.vision(policy)
    assert patches_seen == [sum(sizes)]
