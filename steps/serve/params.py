"""Parameters of the inference server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.values import origin_problems
from argotune.steps.contracts.ending import HAND_OVER_SECONDS, LONGEST_ANSWER_SECONDS


@dataclass(frozen=True, kw_only=True)
class Params:
    """Answer questions with a base model and its adapter until SIGTERM."""

    model_dir: Path
    """Directory of the base model."""
    adapter_dir: Path | None = None
    """Directory of the adapter, with its serving.json; empty, with service-dir: there is none."""
    service_dir: Path | None = None
    """Directory of a service without training: its plan (steps/contracts/service_plan.py), and its
    adapters, each in a directory of its name; in place of adapter-dir."""
    name: str
    """Name of the adapter in requests and in /v1/models, or with service-dir another name of the
    base; that has its repository's name."""
    adapter_digest: str | None = None
    """sha256:HEX of the adapter's image, which its answers name; empty: they name none."""
    adapters_dir: Path | None = None
    """Directory of further adapters of the same base, each in a directory of its name: what is
    renamed into it or out of it joins or leaves the running server; empty: none."""
    slots: int | None = None
    """Most answers at once; empty: 16 on transformers, fewer where the memory for their keys and
    values is short, and 256 on vLLM, where those wait that have no room."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 5000
    """Port to listen on; 0 for any free one."""
    port_file: Path | None = None
    """File to write the port to when the server listens; empty: none."""
    listener_fd: int | None = None
    """File descriptor of a listening socket, from which it takes connections once it gets SIGUSR1;
    until then only at `port`. Empty: none."""
    max_length: int | None = None
    """Longest question and answer together, tokens, where less fits the GPU than the adapter was
    trained for; empty: that."""
    load_in_4bit: bool = False
    """Load the base in 4 bits, as in QLoRA training: a quarter of the memory, but slower."""
    gpus: int = 0
    """Number of GPUs that the server was given; with 0 it uses one that is there, else the CPU."""
    allow_cpu: bool = False
    """Answer on the CPU where torch can use none of these GPUs."""
    keys_file: Path | None = None
    """File with the keys of clients (steps/contracts/client_keys.py), read again when it changes;
    empty: everybody who can connect may ask."""
    requests_per_minute: int = 0
    """Most questions of one client in a minute, a request for several answers counting as so many;
    more get status 429. 0: any number."""
    log_prompts: bool = False
    """Write every question into the log, which has none otherwise; answers are not written."""
    cors_origins: tuple[str, ...] = ()
    """Origins of the pages of other hosts that may ask from a browser, such as
    https://app.example.com, or * for all; empty: none."""
    queue_size: int = 64
    """Most requests in the queue, of one client half of them; more get status 429."""
    max_body_bytes: int = 1_048_576
    """Largest request body; larger ones get status 413."""
    timeout_seconds: float = LONGEST_ANSWER_SECONDS
    """Longest time for one answer, including the wait in the queue."""
    hand_over_seconds: float = HAND_OVER_SECONDS
    """After SIGTERM: how long it still answers on the connections that it has."""
    drain_seconds: float = LONGEST_ANSWER_SECONDS
    """Longest wait for running answers after that."""

    def __post_init__(self) -> None:
        problems = []
        if (self.adapter_dir is None) == (self.service_dir is None):
            problems.append("--adapter-dir, --service-dir: give one of them")
        if not 0 <= self.port <= 65535:
            problems.append(f"--port: {self.port} is not between 0 and 65535")
        if self.gpus < 0:
            problems.append(f"--gpus: {self.gpus} is less than 0")
        if self.max_length is not None and self.max_length < 1:
            problems.append(f"--max-length: {self.max_length} is less than 1")
        if self.slots is not None and self.slots < 1:
            problems.append(f"--slots: {self.slots} is less than 1")
        problems += origin_problems(self.cors_origins)
        if self.queue_size < 0:
            problems.append(f"--queue-size: {self.queue_size} is less than 0")
        if self.requests_per_minute < 0:
            problems.append(f"--requests-per-minute: {self.requests_per_minute} is less than 0")
        if self.max_body_bytes < 1024:
            problems.append(f"--max-body-bytes: {self.max_body_bytes} is less than 1024")
        for flag, seconds in (
            ("--timeout-seconds", self.timeout_seconds),
            ("--drain-seconds", self.drain_seconds),
        ):
            if seconds <= 0:
                problems.append(f"{flag}: {seconds:g} is not above 0")
        if self.hand_over_seconds < 0:
            problems.append(f"--hand-over-seconds: {self.hand_over_seconds:g} is less than 0")
        if problems:
            raise ParamsError(problems)
