"""A pod to run, and the interface of everything that can run it: processes, docker and podman."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from argotune.workflows.engine.language.govalues import any_string
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.pods.inside import refuse_link_outside
from argotune.workflows.engine.pods.paths import Mount

# Where Argo puts these in a container.
SCRIPT_PATH = "/argo/staging/script"
SCRIPT_MODE = 0o755
"""Argo's: a shell with -c runs the file as a program."""
PROGRESS_PATH = "/var/run/argo/progress"
TERMINATION_PATH = "/dev/termination-log"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """An output parameter that the container writes to a file."""

    parameter: JsonObject
    path: str

    @property
    def name(self) -> str:
        """The parameter's name."""
        return str(self.parameter["name"])

    @property
    def default(self) -> str | None:
        """The value if the file does not exist; None if it must exist."""
        value = self.parameter["valueFrom"].get("default")
        return None if value is None else any_string(value)


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """The names that a pod has for itself."""

    node_id: str
    pod_name: str
    workflow_name: str
    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True)
class Pod:
    """One container to run, in the container's own terms, and the places of its files."""

    identity: PodIdentity
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    working_dir: str
    """A container path; empty: the launcher's default."""
    directory: Path
    """The pod's own directory, which is removed after it ends."""
    log: Path
    """Receives standard output and standard error."""
    mounts: tuple[Mount, ...]
    script: str | None = None
    """Text of the file at SCRIPT_PATH."""
    outputs: tuple[OutputFile, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """Raw input artifacts: text by container path."""
    gpus: int = 0
    keeps_result: bool = False
    """Whether the standard output becomes `outputs.result`."""
    termination_path: str = TERMINATION_PATH
    falls_back_to_logs: bool = False
    """Whether the end of the log is the termination message of a pod that wrote none."""
    grace_seconds: float = 30.0
    """From SIGTERM to SIGKILL."""

    def refuse_outside(self, file: Path, what: str) -> None:
        """Raise PodError unless `file`, after symbolic links, is the pod's or in a volume of it."""
        refuse_link_outside(file, [self.directory, *(mount.host for mount in self.mounts)], what)


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod to start, and its deadline in seconds since the epoch."""

    pod: Pod
    deadline: float | None
    deadline_message: str
    """Argo's message of a pod that is stopped at the deadline."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A command of this machine that runs a pod."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    working_dir: Path


class Launcher(Protocol):
    """Starts pods in one way; the supervisor waits for them and stops them."""

    def prepare(self, pod: Pod) -> Launch:
        """Write the pod's files and return the command that runs it. Raises PodError."""

    def output_file(self, pod: Pod, output: OutputFile) -> Path:
        """The file of an output parameter on this machine, once the pod has ended."""

    def progress_file(self, pod: Pod) -> Path:
        """The pod's progress file on this machine."""

    def termination_file(self, pod: Pod) -> Path:
        """The pod's termination message on this machine."""

    def text(self, pod: Pod, value: str) -> str:
        """`value`, which the pod wrote, in the container's own terms."""

    def kill(self, pod: Pod) -> None:
        """End what a SIGKILL to the command does not reach."""

    def clean_up(self, pod: Pod) -> None:
        """Remove what the pod leaves outside its directory."""
