"""Clients of OpenAI-compatible servers, with their key and address."""

from __future__ import annotations

import os

from openai import OpenAI

from timesight.errors import InputError


def openai_client(
    name: str, base_url: str | None, *, api_key_env: str, timeout_s: float, max_retries: int
) -> OpenAI:
    """Make a client of an OpenAI-compatible server.

    Args:
        name: Of the model, for the error message.
        base_url: Of the server; None is OpenAI's own.
        api_key_env: Environment variable with the key. With a ``base_url`` it need not be set.
        timeout_s: Of one attempt, in seconds.
        max_retries: After a failed attempt, with backoff.

    Raises:
        InputError: If there is neither a key nor a ``base_url``.
    """
    key = os.environ.get(api_key_env) or ("none" if base_url else None)
    if key is None:
        raise InputError(f"{name}: no key in {api_key_env}; set it, or give the base_url of a server")
    return OpenAI(base_url=base_url, api_key=key, timeout=timeout_s, max_retries=max_retries)
