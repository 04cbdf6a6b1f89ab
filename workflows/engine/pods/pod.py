"""A pod to run, and what every way to run it has in common: processes, docker and podman."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from argotune.workflows.engine.language.govalues import any_string
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.pods.paths import Mount

# Where Argo puts these in a container.
SCRIPT_PATH = "/argo/staging/script"
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
        """What it is where the file is missing."""
        value = self.parameter["valueFrom"].get("default")
        return None if value is None else any_string(value)


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """The names a pod knows about itself."""

    node_id: str
    pod_name: str
    workflow_name: str
    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True)
class Pod:
    """One container to run: everything in the container's own terms, and where its files are."""

    identity: PodIdentity
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    working_dir: str
    directory: Path
    """The pod's own directory, gone after it."""
    log: Path
    mounts: tuple[Mount, ...]
    script: str | None = None
    outputs: tuple[OutputFile, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """Raw input artifacts: text by container path."""
    gpus: int = 0
    keeps_result: bool = False
    termination_path: str = TERMINATION_PATH
    falls_back_to_logs: bool = False
    grace_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod to start, and until when it may run."""

    pod: Pod
    deadline: float | None
    deadline_message: str


@dataclass(frozen=True, slots=True)
class Launch:
    """A command of this machine that runs a pod."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    working_dir: Path


class Launcher(Protocol):
    """Starts pods one way or the other; the supervisor does the waiting and the killing."""

    def prepare(self, pod: Pod) -> Launch:
        """Writes the pod's files and says which command runs it."""

    def output_file(self, pod: Pod, output: OutputFile) -> Path:
        """Where the file of an output parameter is on this machine once the pod ended."""

    def progress_file(self, pod: Pod) -> Path:
        """Where the pod's progress file is on this machine."""

    def termination_file(self, pod: Pod) -> Path:
        """Where the pod's termination message is on this machine."""

    def text(self, pod: Pod, value: str) -> str:
        """What the pod wrote, in the container's own terms."""

    def kill(self, pod: Pod) -> None:
        """Ends what a SIGKILL to the command does not reach."""

    def clean_up(self, pod: Pod) -> None:
        """Removes what the pod leaves behind, outside its directory."""
