"""A vLLM server: waited for where it is not there, and given the weights of a policy that learns."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import APIConnectionError, APIError, APIStatusError

from timesight.clients import openai_client
from timesight.errors import ModelError
from timesight.generate.served import error_reason

LOGGER = logging.getLogger("timesight")
RETRY_S = 2.0  # between two looks at a server that does not answer
CACHES = ("prefix", "mm", "encoder")
HOW_TO_START = (
    "start it with VLLM_SERVER_DEV_MODE=1, and for adapters with --enable-lora and "
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
)


@dataclass(frozen=True)
class PushedWeights:
    """Weights that a server should have: the name that it knows them by, and where they are."""

    name: str
    folder: Path
    is_adapter: bool


class VllmServer:
    """The endpoints of a vLLM server.

    Args:
        base_url: Such as ``http://host:8000/v1``.
        timeout_s: How long to wait for it when it is not there, and for one request.

    Raises:
        ModelError: If it does not answer in time.
    """

    def __init__(self, base_url: str, timeout_s: float) -> None:
        self.url = base_url.rstrip("/").removesuffix("/v1")
        self.timeout_s = timeout_s
        self.client = openai_client(
            "vLLM", f"{self.url}/v1", api_key_env="VLLM_API_KEY", timeout_s=timeout_s, max_retries=0
        )
        self.wait()
        self.model = str(self.client.models.list().data[0].id)  # what it was started with

    def wait(self) -> None:
        """Wait until the server answers. Raises ModelError after ``timeout_s``."""
        begin = time.monotonic()
        said = False
        while True:
            try:
                self.client.models.list()
                return
            except APIError as error:
                if time.monotonic() > begin + self.timeout_s:
                    raise self.error(error_reason(error)) from None
                if not said:
                    LOGGER.warning("%s; waiting up to %.0f s", self.error(error_reason(error)), self.timeout_s)
                    said = True
                time.sleep(RETRY_S)

    def load(self, weights: PushedWeights) -> None:
        """Load an adapter, or replace all weights, after which its caches are emptied."""
        if weights.is_adapter:
            adapter = {"lora_name": weights.name, "lora_path": str(weights.folder), "load_inplace": True}
            self._post("/v1/load_lora_adapter", adapter)
            return
        self._post("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(weights.folder)}})
        for cache in CACHES:
            self._post(f"/reset_{cache}_cache", {})
        self._post("/update_weight_version", {"new_version": weights.name})

    def unload(self, weights: PushedWeights) -> None:
        """Unload an adapter; a restarted server has none."""
        if weights.is_adapter:
            self._post("/v1/unload_lora_adapter", {"lora_name": weights.name}, forgotten=True)

    def has(self, weights: PushedWeights) -> bool:
        """Whether the weights that it loaded last are these; adapters are asked for by name instead."""
        if weights.is_adapter:
            return True
        answer: Any = self.client.get(f"{self.url}/weight_info", cast_to=object)
        return bool(answer.get("weight_version") == weights.name)

    def error(self, reason: str) -> ModelError:
        """An error that says which server it is about."""
        return ModelError(f"vLLM at {self.url}: {reason}")

    def _post(self, path: str, body: dict[str, Any], *, forgotten: bool = False) -> None:
        until = time.monotonic() + self.timeout_s
        while True:
            try:
                self.client.post(f"{self.url}{path}", cast_to=str, body=body)
                return
            except APIConnectionError as error:
                if time.monotonic() > until:
                    raise self.error(f"{path}: {error_reason(error)}") from None
                self.wait()
            except APIStatusError as error:
                if forgotten and error.status_code in (400, 404):
                    return
                hint = f"; {HOW_TO_START}" if error.status_code == 404 else ""
                raise self.error(f"{path}: {error_reason(error)}{hint}") from None
