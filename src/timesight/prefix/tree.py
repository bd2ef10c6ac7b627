"""Prompts and replies as a tree: what they have in common is there once.

A root holds a video and all that prompts on it begin with. Where several prompts share one, what is each one's own
follows as another level; replies are leaves:

    [prompt | reply 1 … reply G]  or  [video | question 1 | r11 … r1G | question 2 | r21 … r2G | …]

One tree serves prefill, decoding and update. N nodes at a level, n padded length of a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

import torch
from torch import Tensor
from torch.nn.functional import pad

from timesight.model.encode import EncodedPrompt, pad_left, rope_positions
from timesight.model.policy import Policy
from timesight.model.vision import FeatureStore, VisionFeatures, encode_videos


@dataclass(frozen=True, eq=False)
class Level:
    """The nodes at one depth of a tree, in the order of their parents.

    Prompts are padded on the left, replies on the right.
    """

    input_ids: Tensor  # (N, n)
    mask: Tensor  # (N, n) 1 where there is a token
    position_ids: Tensor  # (3, N, n)
    parents: Tensor  # (N,) index in the level above; 0 for roots
    next_position: Tensor  # (N,) of a token after the node: the largest on the way to its end, plus one


@dataclass(frozen=True, eq=False)
class PrefixTree:
    """A batch of prompts, with or without their replies.

    Args:
        levels: Roots first.
        patches: (patches, patch_dim) of the roots' videos, one after the other; empty if their features are known
            and the vision tower does not learn.
        grid_thw: (videos, 3) patches along time, height and width of each of them.
        videos_of: Of each root, its videos.
        features: Of these videos, where the vision tower has run on them already.
    """

    levels: tuple[Level, ...]
    patches: Tensor
    grid_thw: Tensor
    videos_of: tuple[tuple[int, ...], ...]
    features: VisionFeatures | None = None

    @property
    def leaves(self) -> Level:
        """The deepest level: the prompts' ends, or the replies."""
        return self.levels[-1]

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens from the root to the end of each leaf."""
        lengths = self.levels[0].mask.sum(1)
        for level in self.levels[1:]:
            lengths = lengths[level.parents] + level.mask.sum(1)
        return [int(length) for length in lengths]

    def vision(self, policy: Policy, store: FeatureStore | None = None) -> VisionFeatures:
        """The features of the roots' videos: those that the tree or the ``store`` has, or a pass of the tower."""
        if self.features is not None:
            return self.features
        return encode_videos(policy, self.patches, self.grid_thw, store)

    def prompt_features(self) -> list[VisionFeatures | None]:
        """For each prompt, in a tree without replies, the features of its root's videos, where there are any."""
        roots = range(len(self.videos_of)) if len(self.levels) == 1 else self.leaves.parents.tolist()
        return [None if self.features is None else self.features.pick(self.videos_of[root]) for root in roots]

    def with_features(self, features: VisionFeatures | None) -> PrefixTree:
        """This tree with ``features``, so that no later pass runs the tower; or, with None, with none."""
        return replace(self, features=features)

    def with_replies(self, replies: Sequence[Sequence[int]]) -> PrefixTree:
        """This tree with a level of replies: the first ones to the first leaf, as many to each.

        Raises:
            ValueError: If they cannot be split evenly over the leaves.
        """
        num_prompts = len(self.leaves.input_ids)
        if not replies or len(replies) % num_prompts:
            raise ValueError(f"{len(replies)} replies cannot be split evenly over {num_prompts} prompts")
        device = self.leaves.input_ids.device
        longest = max(1, *map(len, replies))
        input_ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in replies], device=device)
        lengths = torch.tensor([len(row) for row in replies], device=device)
        steps = torch.arange(longest, device=device)
        parents = torch.arange(num_prompts, device=device).repeat_interleave(len(replies) // num_prompts)
        first = self.leaves.next_position[parents]
        level = Level(
            input_ids=input_ids,
            mask=(steps < lengths[:, None]).long(),
            position_ids=(first[:, None] + steps).expand(3, -1, -1),
            parents=parents,
            next_position=first + lengths,
        )
        return replace(self, levels=(*self.levels, level))


def build_tree(policy: Policy, prompts: Sequence[EncodedPrompt], *, share: bool | None = None) -> PrefixTree:
    """``prompts`` as a tree on the policy's device, its leaves in their order.

    Args:
        policy: The model that the tree is built for.
        prompts: Encoded.
        share: Whether consecutive prompts that hold the same encoding of a video (``encode_prompts``) continue
            one root. None: where the model's family allows it.
    """
    if share is None:
        share = policy.packing_unsupported_reason is None
    groups = [list(same) for _, same in groupby(prompts, key=lambda prompt: id(prompt.patches))]
    splits = share and max(map(len, groups)) > 1
    if not splits:
        groups = [[prompt] for prompt in prompts]
    shared = [_common_length(group) if splits else len(group[0]) for group in groups]
    roots = [group[0] for group in groups]
    longest = max(map(len, prompts))
    positions = rope_positions(policy, prompts)  # (3, N, P)
    pad_id = policy.processor.tokenizer.pad_token_id

    firsts = accumulate(map(len, groups), initial=0)
    cuts = [
        positions[:, first, longest - len(root) : longest - len(root) + n]
        for first, root, n in zip(firsts, roots, shared, strict=False)
    ]
    levels = [_level([root.input_ids[:n] for root, n in zip(roots, shared, strict=True)], cuts, None, pad_id)]
    if splits:
        parents = [index for index, group in enumerate(groups) for _ in group]
        lengths = [shared[parent] for parent in parents]
        own = [prompt.input_ids[n:] for prompt, n in zip(prompts, lengths, strict=True)]
        cuts = [positions[:, row, longest - len(ids) :] for row, ids in enumerate(own)]
        levels.append(_level(own, cuts, levels[0], pad_id, parents))

    counts = [len(root.grid_thw) for root in roots]
    videos = iter(range(sum(counts)))
    known = [root.features for root in roots if root.features is not None]
    is_known = len(known) == len(roots)
    patches = [] if is_known and not policy.trains_vision else [r.patches for r in roots if len(r.patches)]
    to = policy.device
    return PrefixTree(
        levels=tuple(_moved(level, to) for level in levels),
        patches=torch.cat(patches or [torch.zeros(0, 1)]).to(to),
        grid_thw=torch.cat([root.grid_thw for root in roots]).to(to),
        videos_of=tuple(tuple(next(videos) for _ in range(count)) for count in counts),
        features=VisionFeatures.join(known) if is_known else None,
    )


def _common_length(group: Sequence[EncodedPrompt]) -> int:
    """How many tokens all prompts of ``group`` begin with; each keeps at least one token, to predict from."""
    shortest = min(map(len, group))
    ids = torch.stack([prompt.input_ids[: shortest - 1] for prompt in group])
    return int((ids == ids[0]).all(dim=0).long().cumprod(0).sum())


def _level(
    rows: Sequence[Tensor],
    positions: Sequence[Tensor],
    above: Level | None,
    pad_id: int,
    parents: Sequence[int] | None = None,
) -> Level:
    """Rows of token ids (n,) with their positions (3, n), padded on the left."""
    longest = max(map(len, rows))
    parent = torch.tensor([0] * len(rows) if parents is None else parents)
    following = torch.stack([p.amax() + 1 if p.shape[1] else p.new_zeros(()) for p in positions])
    if above is not None:
        following = torch.maximum(following, above.next_position[parent])
    return Level(
        input_ids=pad_left(rows, longest, pad_id),
        mask=pad_left([torch.ones_like(row) for row in rows], longest, 0),
        position_ids=torch.stack([pad(p, (longest - p.shape[1], 0), value=1) for p in positions], dim=1),
        parents=parent,
        next_position=following,
    )


def _moved(level: Level, device: torch.device) -> Level:
    return Level(*(tensor.to(device) for tensor in vars(level).values()))
