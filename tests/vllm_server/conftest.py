"""A vLLM server of the embedded model, in the environment that ``make test-vllm`` makes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from timesight.model.tiny import embedded_path

PYTHON = "TIMESIGHT_VLLM_PYTHON"
READY_S = 180.0
FLAGS = (
    *("--dtype", "float32", "--enforce-eager", "--max-model-len", "4096", "--max-num-seqs", "32"),
    *("--logprobs-mode", "processed_logprobs", "--trust-request-mm-kwargs"),
    *("--enable-lora", "--max-lora-rank", "64"),
)
SETTINGS = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


class Server:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path, flags: tuple[str, ...] = FLAGS) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._folder, self._flags = folder, flags
        self.url = f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        python = os.environ[PYTHON]
        self._process = subprocess.Popen(
            [
                python,
                *("-m", "vllm.entrypoints.openai.api_server", "--model", str(self._folder)),
                *("--host", "127.0.0.1", "--port", str(self._port), *self._flags),
            ],
            env={"PATH": f"{Path(python).parent}:{os.environ['PATH']}", "HOME": os.environ["HOME"]} | SETTINGS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        until = time.monotonic() + READY_S
        while True:
            try:
                httpx.get(self.url.replace("/v1", "/health")).raise_for_status()
                return
            except httpx.HTTPError:
                assert self._process.poll() is None, "the server has ended"
                assert time.monotonic() < until, "the server does not get ready"
                time.sleep(0.5)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if PYTHON not in os.environ:
        pytest.skip(f"{PYTHON} is not set: make test-vllm sets up an environment for vLLM and runs these")
    server = Server(embedded_path())
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()
