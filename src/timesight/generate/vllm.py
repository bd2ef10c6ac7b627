"""A policy's weights in a vLLM server, which runs in another environment or on another machine.

Everything that could make the server's replies those of another distribution is sent, or compared and refused:
frames travel without loss and with their times; the server's prompt ids must be the policy's own, and its
probabilities close to the policy's on the first reply; banned tokens are not allowed; the served folder's
defaults, such as top-p, are off. docs/training.md says how to start a server.
"""

from __future__ import annotations

import base64
import io
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from openai import APIConnectionError, APIError, InternalServerError, NotFoundError
from PIL import Image

from timesight.errors import ModelError
from timesight.generate.base import Completion, Generator, Sampling
from timesight.generate.served import error_reason
from timesight.generate.vllm_server import RETRY_S, PushedWeights, VllmServer
from timesight.model.adapter import has_adapter
from timesight.model.encode import EncodedPrompt, encode_prompts, video_metadata
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.types import TextPart
from timesight.video import FrameBudget, Frames

LOGGER = logging.getLogger("timesight")
GONE = (
    APIConnectionError,
    InternalServerError,
    NotFoundError,
)  # raised when a server stops or was restarted
# Mean difference of log-probabilities, in nats a token: rounding makes less, other positions made up to 2.4.
MAX_DIFFERENCE = 0.1
AS_SENT = {"do_sample_frames": False, "do_resize": False, "cap_pixels_per_frame": False}
ALWAYS: dict[str, Any] = {
    "return_token_ids": True,
    "mm_processor_kwargs": AS_SENT,
    "top_p": 1.0,  # and what follows: none of the served folder's defaults
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


class VllmGenerator(Generator):
    """The replies of a policy, sampled by a vLLM server that serves the same folder.

    Args:
        policy: Encodes prompts. Its weights may be on the meta device: then probabilities are not compared.
        base_url: Of the server, such as ``http://host:8000/v1``.
        pushed_dir: Where weights are written for the server, on a file system that it reads too; needed by
            ``update_weights``.
        run: Part of the name that pushed weights get: another one for each start of a run.
        is_main: Whether this process writes and pushes; the others wait for it.
        timeout_s: How long to wait for a server that is not there, and for one request.
        concurrency: Prompts that are asked at once.

    Raises:
        ModelError: If the server does not answer in time.
    """

    takes_weights = True

    def __init__(
        self,
        policy: Policy,
        base_url: str,
        *,
        pushed_dir: Path | None = None,
        run: str = "",
        is_main: bool = True,
        timeout_s: float = 240.0,
        concurrency: int = 64,
    ) -> None:
        self.name = policy.name
        self._policy = policy
        self._server = VllmServer(base_url, timeout_s)
        self._pushed_dir, self._run, self._is_main = pushed_dir, run, is_main
        self._concurrency = concurrency
        self._pushed: PushedWeights | None = None
        self._compared = policy.device.type == "meta"

    @property
    def factor(self) -> int:
        """The policy's own."""
        return self._policy.factor

    @property
    def default_budget(self) -> FrameBudget:
        """The policy's own."""
        return self._policy.default_budget

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        """Replies to each prompt, or why the server gave none; a server that died is waited for.

        Raises:
            ModelError: If the server does not come back in time, or is not one that serves this policy.
        """
        sampling = sampling or Sampling()
        encoded = encode_prompts(self._policy, prompts)
        until = time.monotonic() + self._server.timeout_s
        while True:
            try:
                if self._pushed is not None and not self._server.has(self._pushed):
                    self._server.load(self._pushed)
                groups = self._ask_all(encoded, num_generations, sampling)
                break
            except GONE as error:
                if time.monotonic() > until:
                    raise self._server.error(error_reason(error)) from None
                LOGGER.warning("%s; asking again", self._server.error(error_reason(error)))
                time.sleep(RETRY_S)
                self._server.wait()
                if self._pushed is not None:
                    self._server.load(self._pushed)
        if not self._compared and sampling.suppress_tokens in (None, self._policy.banned_token_ids):
            self._compare(encoded, groups, sampling)
        return groups

    def update_weights(self, policy: Policy, version: int, weights: Mapping[str, Any] | None = None) -> None:
        """Write the adapter, or all weights where there is none, and let the server load them.

        Adapters get a new name each time, so that no cache of another version's can be used. All weights are loaded
        in place, and the server's caches are emptied.

        Raises:
            ModelError: If the server does not take them.
        """
        assert self._pushed_dir is not None
        is_adapter = has_adapter(policy)
        if not is_adapter and policy.model.config.tie_word_embeddings:
            raise self._server.error(
                "does not update a tied lm_head when it reloads weights (seen with 0.32): "
                "train adapters (train.lora)"
            )
        name = f"timesight-{self._run}-{version}"
        before, self._pushed = self._pushed, PushedWeights(name, (self._pushed_dir / name).resolve(), is_adapter)
        if self._is_main:
            policy.save(self._pushed.folder, weights)
            self._server.load(self._pushed)
            if before is not None:
                self._server.unload(before)
            for folder in self._pushed_dir.glob("timesight-*"):  # those of runs that were killed too
                if folder.resolve() != self._pushed.folder:
                    shutil.rmtree(folder, ignore_errors=True)

    def _ask_all(
        self, prompts: Sequence[EncodedPrompt], group: int, sampling: Sampling
    ) -> list[list[Completion] | ModelError]:
        options = ALWAYS | _seed(sampling) | self._token_options(sampling)  # of a whole vocabulary: once for all
        pool = ThreadPoolExecutor(self._concurrency)
        asked = [pool.submit(self._ask, prompt, group, sampling, options) for prompt in prompts]
        try:
            wait(asked, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
        return [future.result() for future in asked]

    def _ask(
        self, prompt: EncodedPrompt, group: int, sampling: Sampling, options: dict[str, Any]
    ) -> list[Completion] | ModelError:
        try:
            response: Any = self._server.client.chat.completions.create(
                model=self._pushed.name if self._pushed and self._pushed.is_adapter else self._server.model,
                messages=_messages(prompt),
                n=group,
                temperature=sampling.temperature,
                max_tokens=sampling.max_new_tokens,
                logprobs=True,
                top_logprobs=0,
                extra_body=options | _media_options(prompt.frames),
            )
        except GONE:
            raise
        except APIError as error:
            return self._server.error(error_reason(error))
        self._require_same_prompt(prompt, getattr(response, "prompt_token_ids", None))
        choices = sorted(response.choices, key=lambda choice: choice.index)
        return [self._completion(choice, len(prompt)) for choice in choices]

    def _token_options(self, sampling: Sampling) -> dict[str, Any]:
        banned = self._policy.banned_token_ids if sampling.suppress_tokens is None else sampling.suppress_tokens
        size = int(self._policy.model.config.get_text_config().vocab_size)
        return {
            "allowed_token_ids": sorted(set(range(size)) - set(banned)),
            "stop_token_ids": sorted(self._policy.end_ids),
        }

    def _completion(self, choice: Any, prompt_tokens: int) -> Completion:
        ids = tuple(choice.token_ids)
        ended = bool(ids) and ids[-1] in self._policy.end_ids
        tokenizer = self._policy.processor.tokenizer
        return Completion(
            text=tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True),
            token_ids=ids,
            logprobs=tuple(token.logprob for token in choice.logprobs.content),
            finish_reason="stop" if ended else "length",
            prompt_tokens=prompt_tokens,
            completion_tokens=len(ids),
        )

    def _require_same_prompt(self, prompt: EncodedPrompt, ids: Sequence[int] | None) -> None:
        """Raise ModelError where the server has made other tokens of ``prompt`` than the policy."""
        if ids is None:
            raise self._server.error("is not a vLLM server that returns token ids; version 0.32 does")
        mine = prompt.input_ids.tolist()
        if list(ids) == mine:
            return
        pairs = enumerate(zip(mine, ids, strict=False))
        where = next((n for n, (a, b) in pairs if a != b), min(len(mine), len(ids)))
        tokens = self._policy.processor.tokenizer.convert_ids_to_tokens
        here, there = (tokens(list(row[where : where + 1])) for row in (mine, ids))
        raise self._server.error(
            f"makes {len(ids)} tokens of a prompt of {len(mine)}, the first other one at {where}: {there} and not "
            f"{here}; serve the folder that is trained"
        )

    def _compare(
        self, prompts: Sequence[EncodedPrompt], groups: Sequence[list[Completion] | ModelError], sampling: Sampling
    ) -> None:
        """Raise ModelError where the first reply is not as likely for the server as for the policy."""
        pairs = ((p, group[0]) for p, group in zip(prompts, groups, strict=True) if isinstance(group, list))
        prompt, reply = next(pairs, (None, None))
        if prompt is None or reply is None:
            return
        tree = build_tree(self._policy, [prompt]).with_replies([reply.token_ids])
        with torch.no_grad():
            mine, _ = completion_logprobs(self._policy, tree, temperature=sampling.temperature or 1.0)
        difference = float((mine[0].cpu() - torch.tensor(reply.logprobs)).abs().mean())
        if difference > MAX_DIFFERENCE:
            raise self._server.error(
                f"its log-probabilities differ from the policy's by {difference:.2f} a token: other weights, other "
                "positions (docs/compatibility.md), or no --logprobs-mode processed_logprobs"
            )
        self._compared = True


def _seed(sampling: Sampling) -> dict[str, int]:
    """Sent only where it says something: vLLM 0.32 for CPUs cannot go back on a seed when it splits a prompt."""
    return {} if sampling.seed is None or sampling.temperature == 0 else {"seed": sampling.seed}


def _messages(prompt: Prompt) -> list[Any]:
    """The conversation, with each video as its frames."""
    frames = iter(prompt.frames)
    return [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text}
                if isinstance(part, TextPart)
                else {"type": "video_url", "video_url": {"url": _data_url(next(frames))}}
                for part in message.parts
            ],
        }
        for message in prompt.messages()
    ]


def _data_url(frames: Frames) -> str:
    """Frames without loss: the server calls a sequence of pictures JPEG and takes PNG."""
    pictures = []
    for pixels in frames.pixels:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        pictures.append(base64.b64encode(file.getvalue()).decode())
    return "data:video/jpeg;base64," + ",".join(pictures)


def _media_options(frames: Sequence[Frames]) -> dict[str, Any]:
    """The frames' times, of which a request has one set.

    Raises:
        ModelError: For videos with different times.
    """
    if not frames:
        return {}
    videos = [video_metadata(of_video) for of_video in frames]
    if any(video != videos[0] for video in videos):
        raise ModelError("vLLM takes one set of frame times a request: several segments cannot be asked about")
    (video, *_) = videos
    times = video | {"total_num_frames": round(video["total_num_frames"]), "num_frames": -1}
    return {"media_io_kwargs": {"video": times | {"do_sample_frames": False}}}
