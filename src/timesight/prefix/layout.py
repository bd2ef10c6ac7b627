"""Groups as one row: ``[prompt 1 … prompt B | completions of 1 | … | completions of B]``, without padding between.

A plain batch repeats each prompt, its video tokens included, for each of its G completions. In the row each
token is computed once: P + G · C tokens a prompt instead of G · (P + C). Every completion keeps the positions
it was sampled at, and sees its prompt and itself (``attention.SharedPrefix``), so the result is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from timesight.model.attention import TEXT_PREFIX, SharedPrefix
from timesight.model.encode import PromptBatch
from timesight.model.policy import Policy

PACKED_FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
ROW_MULTIPLE = 64  # rows and slots come in few sizes: matrix kernels are tuned, or on CPUs compiled, for each size
SLOT_MULTIPLE = 8
# A mask of four dimensions is taken as it is: with this one no mask is made, and shared attention reads none.
NO_MASK = torch.zeros(1, 1, 1, 1)


@dataclass(frozen=True, eq=False)
class Completions:
    """G replies to each of B prompts, as token ids padded on the right: the G of prompt 0, then those of 1, …"""

    ids: Tensor  # (B · G, C)
    mask: Tensor  # (B · G, C) 1 where there is a token, the end token included
    num_prompts: int  # B

    @property
    def group(self) -> int:
        """G, replies to each prompt."""
        return len(self.ids) // self.num_prompts

    @property
    def prompt_of(self) -> Tensor:
        """(B · G,) index of each reply's prompt."""
        return torch.arange(self.num_prompts, device=self.ids.device).repeat_interleave(self.group)

    def positions(self, prompts: PromptBatch) -> Tensor:
        """(B · G, C) where each token stands: the first one right after the largest position of its prompt."""
        steps = torch.arange(self.ids.shape[1], device=self.ids.device)
        return prompts.next_position[self.prompt_of][:, None] + steps

    @staticmethod
    def of(rows: list[list[int]], num_prompts: int, device: torch.device) -> Completions:
        """Pad ``rows`` of token ids; an empty row gets a mask of zeros."""
        if not rows or len(rows) % num_prompts:
            raise ValueError(f"{len(rows)} replies cannot be split evenly over {num_prompts} prompts")
        longest = max(1, *(len(row) for row in rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[index, : len(row)] = 1
        return Completions(ids.to(device), mask.to(device), num_prompts)


@dataclass(frozen=True, eq=False)
class PackedRow:
    """Prompts and completions as one row of L tokens, ready for the model.

    T is the number of completion tokens, K the number of places whose logits predict one.
    """

    input_ids: Tensor  # (1, L)
    position_ids: Tensor  # (3, 1, L)
    shared_prefix: SharedPrefix
    predicting: Tensor  # (K,) index in the row of each token that predicts: prompts' last ones, then completions'
    predicted_by: Tensor  # (T,) for each completion token, in row order, its place in ``predicting``


def whole_prompt_reason(policy: Policy) -> str | None:
    """Why prompts cannot be shared in this policy's passes, or None where they can."""
    text = policy.model.config.get_text_config()
    if policy.model.config.model_type not in PACKED_FAMILIES:
        return f"{policy.model.config.model_type} models are not known to take packed rows"
    if set(getattr(text, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "this model has layers that see a window only"
    if not text._attn_implementation.startswith(TEXT_PREFIX):
        return f"its attention is {text._attn_implementation}, not timesight's"
    return None


def pack(prompts: PromptBatch, completions: Completions, pad_id: int) -> PackedRow:
    """Lay out a batch of prompts and their completions as one row."""
    device = completions.ids.device
    is_prompt, is_reply = prompts.mask.bool(), completions.mask.bool()
    prompt_lengths, reply_lengths = is_prompt.sum(1), is_reply.sum(1)
    num_prompt, num_reply = int(prompt_lengths.sum()), int(reply_lengths.sum())
    length = _round_up(num_prompt + num_reply, ROW_MULTIPLE)
    tail = length - num_prompt - num_reply

    position_ids = torch.cat(
        [
            prompts.position_ids[:, is_prompt],
            completions.positions(prompts)[is_reply].expand(3, -1),
            prompts.position_ids.new_zeros(3, tail),
        ],
        dim=1,
    )[:, None]
    padding = prompts.input_ids.new_full((tail,), pad_id)
    input_ids = torch.cat([prompts.input_ids[is_prompt], completions.ids[is_reply], padding])[None]

    prompt_slots, prompt_restore = _slots(prompt_lengths, first=0)
    reply_slots, reply_restore = _slots(reply_lengths, first=num_prompt)
    restore = torch.cat([prompt_restore, reply_restore + prompt_slots.numel(), prompt_restore.new_zeros(tail)])
    last_of_prompt = prompt_lengths.cumsum(0) - 1  # (B,)

    # The prompt's last token predicts every first reply token of its group, each reply token the one after it.
    steps = torch.arange(completions.ids.shape[1], device=device)
    is_first = is_reply & (steps == 0)
    is_last = steps == reply_lengths[:, None] - 1
    in_row = torch.full_like(completions.ids, -1)
    in_row[is_reply] = torch.arange(num_prompt, num_prompt + num_reply, device=device)
    predicts = is_reply & ~is_last
    order = torch.full_like(completions.ids, -1)
    order[predicts] = torch.arange(int(predicts.sum()), device=device) + completions.num_prompts
    before = torch.nn.functional.pad(order[:, :-1], (1, 0))
    predicted_by = torch.where(is_first, completions.prompt_of[:, None], before)[is_reply]
    return PackedRow(
        input_ids=input_ids,
        position_ids=position_ids,
        shared_prefix=SharedPrefix(
            prompts=prompt_slots,
            prompt_lengths=tuple(prompt_lengths.tolist()),
            completions=reply_slots.view(completions.num_prompts, completions.group, -1),
            restore=restore,
        ),
        predicting=torch.cat([last_of_prompt, in_row[predicts]]),
        predicted_by=predicted_by,
    )


def _slots(lengths: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Rows of ``lengths`` that lie one after the other from index ``first``.

    Returns, with N rows padded to length M, the index of each slot's token (N, M) (0 in padding), and for each
    token, in order, the index of its slot in the flattened N · M.
    """
    longest = _round_up(max(1, int(lengths.max())), SLOT_MULTIPLE)
    steps = torch.arange(longest, device=lengths.device)
    inside = steps < lengths[:, None]  # (N, M)
    starts = first + lengths.cumsum(0) - lengths
    slots = torch.where(inside, starts[:, None] + steps, 0)
    return slots, inside.flatten().nonzero().squeeze(1)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
