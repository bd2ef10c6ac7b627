"""Questions about one video: what their prompts have in common is encoded and prefilled once.

R rows of B prefixes, G questions to each; where one prefix has fewer, its first question fills the rows up.
P prefix length, S length of a question's own tokens, both padded on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.functional import pad

from timesight.model.encode import EncodedPrompt, PromptBatch, collate, encode_like, encode_prompt, rope_positions
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.types import TextPart


@dataclass(frozen=True, eq=False)
class Questions:
    """Prefixes, and what each question adds to its own."""

    prefixes: PromptBatch
    ids: Tensor  # (R, S)
    padding: Tensor  # (R, S) True where there is no token
    position_ids: Tensor  # (3, R, S)
    next_position: Tensor  # (R,) of the first token of the reply
    rows: tuple[int, ...]  # R, the question in each row

    @property
    def group(self) -> int:
        """G, rows to each prefix."""
        return len(self.rows) // len(self.prefixes.input_ids)


def encode_prompts(policy: Policy, prompts: Sequence[Prompt]) -> list[list[EncodedPrompt]]:
    """``prompts`` encoded, in lists of those that follow each other with the same frames, encoded once."""
    encoded = []
    for _, same in groupby(prompts, key=_before_text):
        first, *others = same
        one = encode_prompt(policy, first)
        encoded.append([one, *(encode_like(policy, other.parts, one, first.parts) for other in others)])
    return encoded


def _before_text(prompt: Prompt) -> tuple[object, ...]:
    """All that comes before the last text: what prompts have in common that share a prefix."""
    if prompt.earlier:
        return (id(prompt),)
    parts = [*prompt.parts]
    while parts and isinstance(parts[-1], TextPart):
        parts.pop()
    return (tuple(parts), tuple(map(id, prompt.frames))) if parts else (id(prompt),)


def lay_out(policy: Policy, groups: Sequence[list[EncodedPrompt]]) -> Questions:
    """Split each group's prompts into their common beginning and what is each one's own."""
    most = max(map(len, groups))
    numbered = iter(range(sum(map(len, groups))))
    rows, everyone, lengths, prefixes = [], [], [], []
    for group in groups:
        shared = _common_length(group)
        mine = [next(numbered) for _ in group]
        rows += mine + mine[:1] * (most - len(mine))
        everyone += [*group, *group[:1] * (most - len(group))]
        lengths += [shared] * most
        first = group[0]
        prefixes.append(replace(first, input_ids=first.input_ids[:shared], token_types=first.token_types[:shared]))
    positions = rope_positions(policy, everyone)  # (3, R, P + S)
    total, own = positions.shape[2], max(len(p) - n for p, n in zip(everyone, lengths, strict=True))
    batch = collate(policy, prefixes)
    longest = batch.input_ids.shape[1]
    # A prefix stands where it stands in the whole prompt: text does not always go on from a video's last position.
    standing = [
        pad(
            positions[:, row, total - len(everyone[row]) : total - len(everyone[row]) + n],
            (longest - n, 0),
            value=1,
        )
        for row, n in list(enumerate(lengths))[::most]
    ]
    ids = [prompt.input_ids[n:] for prompt, n in zip(everyone, lengths, strict=True)]
    to = policy.device
    return Questions(
        prefixes=replace(batch, position_ids=torch.stack(standing, dim=1).to(to)),
        ids=torch.stack([pad(mine, (own - len(mine), 0)) for mine in ids]).to(to),
        padding=torch.stack([torch.arange(own) < own - len(mine) for mine in ids]).to(to),
        position_ids=positions[:, :, total - own :].to(to),
        next_position=(positions.amax(dim=(0, 2)) + 1).to(to),
        rows=tuple(rows),
    )


def _common_length(group: Sequence[EncodedPrompt]) -> int:
    """How many tokens all prompts of ``group`` begin with; each keeps one of its own, to predict from."""
    shortest = min(map(len, group))
    ids = torch.stack([prompt.input_ids[: shortest - 1] for prompt in group])
    return int((ids == ids[0]).all(dim=0).long().cumprod(0).sum())
