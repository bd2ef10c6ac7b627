"""Sampling replies: each node of the prompts' tree is prefilled once, and its cache is there once for all replies.

B prompts, G replies a prompt, R = B · G rows, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from timesight.generate.base import Completion, Sampling
from timesight.generate.past import TreeCache, prefill
from timesight.generate.static import StaticDecoder, draw
from timesight.model.adapter import without_autocast
from timesight.model.policy import Policy
from timesight.prefix.tree import PrefixTree

COLDEST = 1e-3  # temperatures below count as 0: scores divided by less than this have no finite exponent


@torch.no_grad()
def sample_replies(
    policy: Policy,
    tree: PrefixTree,
    num_generations: int = 1,
    sampling: Sampling | None = None,
    *,
    static: bool | None = None,
) -> list[Completion]:
    """Replies to the prompts of ``tree``: the G to prompt 0, then those to prompt 1, …

    Rows that have ended leave the batch, so that finished replies cost no further steps; or, with ``static``, a
    step keeps its shape and a GPU replays it as a graph.

    Args:
        policy: Samples the replies.
        tree: Prompts without replies.
        num_generations: G.
        sampling: Greedy if None.
        static: None: where ``captures`` says so.
    """
    sampling = sampling or Sampling()
    static = captures(policy) if static is None else static
    with _evaluating(policy, static):
        if static:
            rows = _decode_static(policy, tree, num_generations, sampling)
        else:
            rows = deque(_decode(policy, tree, num_generations, sampling), maxlen=1).pop()
        return _completions(policy, tree, rows)


def captures(policy: Policy) -> bool:
    """Whether a decoding step of ``policy`` can be kept as a CUDA graph."""
    return (
        policy.device.type == "cuda"
        and policy.packing_unsupported_reason is None
        and not policy.sharded
        and not policy.needs_autocast  # its casts of weights do not outlive the capture
        and not getattr(policy.model, "is_quantized", False)  # not tried
    )


def stream_reply(policy: Policy, tree: PrefixTree, sampling: Sampling) -> Generator[str, None, Completion]:
    """The reply to a tree of one prompt, piece by piece as it is sampled, and at the end all of it."""
    steps = _decode(policy, tree, 1, sampling)
    rows: list[_Row] = []
    shown = ""
    while True:
        with torch.no_grad(), _evaluating(policy):  # between two pieces the caller's code runs, and not under these
            grown = next(steps, None)
        if grown is None:
            return _completions(policy, tree, rows)[0]
        rows = grown
        (text,) = _texts(policy, rows)
        if not text.endswith("\ufffd"):  # half of a character
            yield text[len(shown) :]
            shown = text


@contextmanager
def _evaluating(policy: Policy, static: bool = False) -> Iterator[None]:
    training = policy.model.training
    policy.model.eval()
    try:
        with without_autocast(policy) if static and not policy.needs_autocast else policy.precision():
            yield
    finally:
        policy.model.train(training)


@dataclass
class _Row:
    """A reply as it grows."""

    ids: list[int]
    logps: list[float]


def _completions(policy: Policy, tree: PrefixTree, rows: Sequence[_Row]) -> list[Completion]:
    lengths = tree.prompt_lengths
    group = len(rows) // len(lengths)
    return [
        Completion(
            text=text,
            token_ids=tuple(row.ids),
            logprobs=tuple(row.logps),
            finish_reason="stop" if _ended(policy, row) else "length",
            prompt_tokens=lengths[index // group],
            completion_tokens=len(row.ids),
        )
        for index, (row, text) in enumerate(zip(rows, _texts(policy, rows), strict=True))
    ]


def _texts(policy: Policy, rows: Sequence[_Row]) -> list[str]:
    """The replies without the token that ends them."""
    texts: list[str] = policy.processor.tokenizer.batch_decode(
        [row.ids[:-1] if _ended(policy, row) else row.ids for row in rows], skip_special_tokens=True
    )
    return texts


def _ended(policy: Policy, row: _Row) -> bool:
    return bool(row.ids) and row.ids[-1] in policy.end_ids


# Decoding, one token a step


def _decode(policy: Policy, tree: PrefixTree, group: int, sampling: Sampling) -> Iterator[list[_Row]]:
    """The replies after each token."""
    banned = _banned_mask(policy, sampling)
    past, logits = prefill(policy, tree, group)
    position = tree.leaves.next_position.repeat_interleave(group)
    rows = [_Row([], []) for _ in range(len(position))]
    going = rows
    for step in range(sampling.max_new_tokens):
        tokens, logps = draw(logits, banned, _steady(sampling.temperature))
        for row, token, logp in zip(going, tokens.tolist(), logps.tolist(), strict=True):
            row.ids.append(token)
            row.logps.append(logp)
        yield rows
        alive = [n for n, row in enumerate(going) if row.ids[-1] not in policy.end_ids]
        if not alive or step == sampling.max_new_tokens - 1:
            break
        if len(alive) < len(going):
            past.retain(alive)
            index = torch.tensor(alive, device=tokens.device)
            tokens, position, going = tokens[index], position[index], [going[n] for n in alive]
        logits = past.advance(tokens[:, None], position.expand(3, -1)[:, :, None])
        position = position + 1


def _decode_static(policy: Policy, tree: PrefixTree, group: int, sampling: Sampling) -> list[_Row]:
    """The replies by a step of fixed shape, cut where they end."""
    past, logits = prefill(policy, tree, group)
    assert isinstance(past, TreeCache)
    decoder = StaticDecoder(
        policy,
        past.levels,
        tree.leaves.next_position.repeat_interleave(group),
        banned=_banned_mask(policy, sampling),
        max_new_tokens=sampling.max_new_tokens,
        temperature=_steady(sampling.temperature),
    )
    if captures(policy) and sampling.max_new_tokens > 1:
        decoder.capture()
    decoder.start(logits)
    length = decoder.run()
    rows = []
    for ids, logps in zip(decoder.ids[:, :length].tolist(), decoder.logps[:, :length].tolist(), strict=True):
        end = next((n + 1 for n, token in enumerate(ids) if token in policy.end_ids), length)
        rows.append(_Row(ids[:end], logps[:end]))
    return rows


def _banned_mask(policy: Policy, sampling: Sampling) -> Tensor:
    """(V,) True for tokens that are never drawn."""
    if sampling.suppress_tokens in (None, policy.banned_token_ids):
        return policy.banned_mask
    banned = torch.zeros_like(policy.banned_mask)
    banned[list(sampling.suppress_tokens or ())] = True
    return banned


def _steady(temperature: float) -> float:
    return temperature if temperature >= COLDEST else 0.0
