"""The server on a real vLLM, as a process of the Python that has one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.steps.serve.conftest import Tuned

VARIABLE = "ARGOTUNE_VLLM_PYTHON"
# Now, for a test finds none of these variables.
_PYTHON = os.environ.get(VARIABLE, "")
_SOURCE = Path(__file__).parents[4] / ".src"
_START_SECONDS = 600


@dataclass(frozen=True)
class Process:
    process: subprocess.Popen[str]
    log: Path
    client: httpx.Client
    loading: httpx.Response | None
    """What /health answered before it was ready."""


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def vllm_python() -> str:
    """The Python that has vLLM."""
    if not _PYTHON:
        pytest.fail(f"set {VARIABLE} to what tests/steps/vllm/real/venv DIRECTORY printed")
    return _PYTHON


def environment() -> dict[str, str]:
    """The variables of such a process, which has a GiB for keys and values."""
    ours = {"PYTHONPATH": str(_SOURCE), "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **ours}


@contextlib.contextmanager
def serving(
    tuned: Tuned, directory: Path, *flags: str, service_dir: Path | None = None
) -> Iterator[Process]:
    """A server of the adapter `demo`, or of the service without training, that is ready."""
    served = ("adapter", tuned.adapter_dir) if service_dir is None else ("service", service_dir)
    port_file, log = directory / "port", directory / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(vllm_python(), "-m", "argotune.steps.vllm"),
                f"--model-dir={tuned.model_dir}",
                "--{}-dir={}".format(*served),
                "--name=demo",
                "--port=0",
                f"--port-file={port_file}",
                *flags,
            ],
            stdout=output,
            stderr=output,
            env=environment(),
            text=True,
        )
    try:
        url, loading = _ready(process, port_file, log)
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            yield Process(process, log, client, loading)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        process.kill()
        process.wait()


def _ready(
    process: subprocess.Popen[str], port_file: Path, log: Path
) -> tuple[str, httpx.Response | None]:
    """The URL of the server once it is ready, and what it said before."""
    loading = None
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
        if not port_file.exists():
            continue
        url = f"http://127.0.0.1:{port_file.read_text().strip()}"
        with contextlib.suppress(httpx.TransportError):
            response = httpx.get(f"{url}/health", trust_env=False)
            if response.status_code == httpx.codes.OK:
                return url, loading
            loading = response
    raise AssertionError(f"the server did not start: {log.read_text()[-3000:]}")
