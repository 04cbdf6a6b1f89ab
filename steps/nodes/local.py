"""Provider local: this machine, with the accelerator that it has or none."""

from __future__ import annotations

import logging
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.provider import (
    KeptNode,
    Node,
    NodeRequest,
    OnWait,
    ReleasedNode,
    RunIsAlive,
    Stray,
    ignore_wait,
)

_LOGGER = logging.getLogger(__name__)
_DRIVER = Path("/proc/driver/nvidia/gpus")
_TIMEOUT_SECONDS = 30


class LocalProvider:
    """Looks at this machine, makes nothing, and so has nothing to release."""

    def __init__(self, driver_dir: Path = _DRIVER) -> None:
        self._driver_dir = driver_dir
        """Where the NVIDIA driver lists its devices, for machines without nvidia-smi."""

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = ignore_wait
    ) -> Node:
        """Return this machine. Raises PermanentError when it has fewer GPUs than the run needs."""
        gpus = self.gpus()
        if len(gpus) < request.gpus:
            raise PermanentError(
                f"the plan needs {request.gpus} GPU(s) and this machine has {len(gpus)}; take "
                "provider existing, or plan without an instance type to tune on this machine"
            )
        progress.update(1, 1)
        accelerator = ", ".join(f"{count} x {model}" for model, count in Counter(gpus).items())
        return Node(name=platform.node(), accelerator=accelerator or "cpu", selector={})

    def release(
        self, run: str, *, timeout_seconds: float, progress: Progress
    ) -> Sequence[ReleasedNode]:
        """Release nothing: the machine is not the run's."""
        return ()

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[KeptNode]:
        """Keep nothing: no node was made."""
        return ()

    def kept_nodes(self) -> Sequence[KeptNode]:
        """List nothing: no node was made."""
        return ()

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        """Collect nothing: no node was made."""
        return ()

    def gpus(self) -> Sequence[str]:
        """List the models of this machine's NVIDIA GPUs."""
        program = shutil.which("nvidia-smi")
        if program is not None:
            try:
                return _ask_nvidia_smi(program)
            except (subprocess.SubprocessError, OSError) as error:
                log.warn(_LOGGER, "nvidia-smi-failed", reason=error)
        return self._ask_driver()

    def _ask_driver(self) -> list[str]:
        files = sorted(self._driver_dir.glob("*/information"))
        lines = [line for file in files for line in file.read_text().splitlines()]
        return [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]


def provider(settings: object) -> LocalProvider:
    """Return the provider."""
    return LocalProvider()


def _ask_nvidia_smi(program: str) -> list[str]:
    done = subprocess.run(
        [program, "--query-gpu=name", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=True,
    )
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
