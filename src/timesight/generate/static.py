"""Decoding with tensors of fixed size and place, so that a CUDA graph can replay a step without its launches.

The eager sampler (``decode``) launches some 1,500 kernels a token and waits for the device twice. Here a step
reads and writes tensors that were made before it: tokens, positions and log-probabilities are written by index,
the replies' keys and values go into a ``StaticCache``, and the host looks at the tokens every ``CHECK_EVERY``
steps only. Rows that have ended keep running and are cut afterwards. On a CPU the same code runs without the graph.

B prompts, G replies a prompt, R = B · G rows, C tokens a reply at most, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import StaticCache

from timesight.model.policy import Policy
from timesight.model.tree_attention import PastLevel, TreePast
from timesight.prefix.layout import NO_MASK
from timesight.prefix.logprobs import sampling_logits

CHECK_EVERY = 16  # steps from one look at which rows have ended to the next
WARMUP_STEPS = 2  # before a capture: libraries allocate their workspaces in the first calls


class StaticDecoder:
    """Replies that continue a prefilled cache, a step at a time.

    Args:
        policy: A policy whose attention is timesight's.
        levels: The prompts' caches, each node stored once for all replies that continue it.
        position: (R,) of the first token of each reply.
        max_new_tokens: C.
        banned: (V,) True for tokens that are never drawn.
        temperature: 0 is greedy.
    """

    def __init__(
        self,
        policy: Policy,
        levels: tuple[PastLevel, ...],
        position: Tensor,
        *,
        banned: Tensor,
        max_new_tokens: int,
        temperature: float,
    ) -> None:
        rows, device = len(position), position.device
        self._policy = policy
        self._banned = banned
        self._temperature = temperature
        self._steps = torch.arange(max_new_tokens, device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)  # index of the last token
        self._position = position.clone()
        self._own_hidden = torch.zeros(max_new_tokens, dtype=torch.bool, device=device)
        self._past = TreePast(levels, own_hidden=self._own_hidden)
        self._own = StaticCache(config=policy.model.config.get_text_config(), max_cache_len=max_new_tokens)
        self._no_mask = NO_MASK.to(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self.ids = torch.zeros(rows, max_new_tokens, dtype=torch.long, device=device)
        self.logps = torch.zeros(rows, max_new_tokens, device=device)

    def start(self, logits: Tensor) -> None:
        """Draw the first tokens from the prompts' ``logits`` (R, V)."""
        self._write(logits)

    def capture(self) -> None:
        """Record a step as a CUDA graph. Before ``start``: the steps that warm it up leave nothing behind."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        kept = [self._position.clone(), self._step.clone()]
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_STEPS):
                self._advance()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._advance()
        self._position.copy_(kept[0])
        self._step.copy_(kept[1])
        self._own.reset()
        self._graph = graph

    def step(self) -> None:
        """One more token in every row; the host does not wait for it."""
        if self._graph is None:
            self._advance()
        else:
            self._graph.replay()

    def run(self) -> int:
        """Steps until every row has ended, or C; returns the number of tokens in a row."""
        ends = torch.tensor(sorted(self._policy.end_ids), device=self.ids.device)
        for count in range(1, self.ids.shape[1]):
            if count % CHECK_EVERY == 0 and bool(torch.isin(self.ids[:, :count], ends).any(1).all()):
                return count
            self.step()
        return self.ids.shape[1]

    def _advance(self) -> None:
        torch.gt(self._steps, self._step, out=self._own_hidden)
        tokens = self.ids.index_select(1, self._step)  # (R, 1)
        output: Any = self._policy.model(
            input_ids=tokens,
            attention_mask=self._no_mask,
            position_ids=self._position.expand(3, -1)[:, :, None],
            past_key_values=self._own,
            use_cache=True,
            logits_to_keep=1,
            tree_past=self._past,
        )
        self._step += 1
        self._position += 1
        self._write(output.logits[:, -1])

    def _write(self, logits: Tensor) -> None:
        tokens, logps = draw(logits, self._banned, self._temperature)
        self.ids.index_copy_(1, self._step, tokens[:, None])
        self.logps.index_copy_(1, self._step, logps[:, None])


def draw(logits: Tensor, banned: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token a row and its log-probability, both (R,).

    The largest of probabilities divided by exponential noise is a draw from them; ``torch.multinomial`` does
    the same with the same random numbers, and waits for the device to check its input.
    """
    logps = torch.log_softmax(sampling_logits(logits, banned, temperature or 1.0), dim=-1)
    scores = logps if temperature == 0 else logps.exp() / torch.empty_like(logps).exponential_()
    tokens = scores.argmax(-1)
    return tokens, logps.gather(-1, tokens[:, None]).squeeze(-1)
