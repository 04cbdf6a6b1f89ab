"""What every way to run a container has in common: processes, docker and podman."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from argotune.workflows.engine.pods.factory import OutputFile, Pod


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
