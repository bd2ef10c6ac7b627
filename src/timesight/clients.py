"""Clients of OpenAI-compatible servers: the one copy of how their key and address are found."""

from __future__ import annotations

import os

from openai import OpenAI

from timesight.errors import InputError


def openai_client(
    name: str, base_url: str | None, *, api_key_env: str, timeout_s: float, max_retries: int
) -> OpenAI:
    """A client of the server at ``base_url``, or of OpenAI.

    Args:
        name: Of the model, for the error.
        base_url: Of a server; None is OpenAI's own.
        api_key_env: Environment variable with the key; other servers may need none.
        timeout_s: Of one try.
        max_retries: With backoff.

    Raises:
        InputError: If there is neither a key nor an address.
    """
    key = os.environ.get(api_key_env) or ("none" if base_url else None)
    if key is None:
        raise InputError(f"{name}: no key in {api_key_env}; set it, or give the base_url of a server")
    return OpenAI(base_url=base_url, api_key=key, timeout=timeout_s, max_retries=max_retries)
