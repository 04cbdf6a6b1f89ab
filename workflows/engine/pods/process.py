"""Pods as processes of this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from argotune.workflows.engine.errors import PodError, naming
from argotune.workflows.engine.pods.paths import PathMap
from argotune.workflows.engine.pods.pod import (
    PROGRESS_PATH,
    SCRIPT_MODE,
    SCRIPT_PATH,
    Launch,
    OutputFile,
    Pod,
)

_INHERITED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR",
        "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
        "http_proxy", "https_proxy", "no_proxy", "all_proxy", "OMP_NUM_THREADS",
        "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "CONTAINER_HOST",
    }
)  # fmt: skip
_INHERITED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "XDG_")


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a step's process may see; it holds no secrets.

    Search path, home, locale, time zone, proxies, certificates and accelerators.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }


def find_command(command: str, environ: Mapping[str, str]) -> str | None:
    """The program of this machine that a container's command stands for; None if there is none.

    Python is the interpreter of the engine; other commands are looked up in PATH.
    """
    if command.rsplit("/", 1)[-1] in ("python", "python3"):
        return sys.executable
    return shutil.which(command, path=environ.get("PATH", os.defpath))


class ProcessLauncher:
    """Starts a container's command as a process; declared paths become paths of this machine."""

    def __init__(self, *, working_dir: Path, environ: Mapping[str, str]) -> None:
        self._working_dir = working_dir
        self._environ = environ

    def prepare(self, pod: Pod) -> Launch:
        """Write script and raw files, and map paths in command, environment and script."""
        paths = self._paths(pod)
        if pod.script is not None:
            script = self._host(pod, SCRIPT_PATH)
            with naming(script):
                script.write_text(paths.to_host(pod.script), encoding="utf-8")
                script.chmod(SCRIPT_MODE)
        for path, text in pod.files.items():
            file = self._host(pod, path)
            pod.refuse_outside(file, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            with naming(file):
                file.write_text(text, encoding="utf-8")
        for output in pod.outputs:
            directory = self.output_file(pod, output).parent
            pod.refuse_outside(directory, output.path)
            directory.mkdir(parents=True, exist_ok=True)
        environment = {name: paths.to_host(value) for name, value in pod.environment.items()}
        command, *arguments = pod.command
        program = paths.to_host(command)
        found = find_command(program, {**self._environ, **environment})
        if found is None:
            raise PodError(
                f'failed to find name in PATH: exec: "{command}": executable file not found in '
                "$PATH"
            )
        return Launch(
            arguments=[found, *(paths.to_host(argument) for argument in arguments)],
            environment={
                **self._environ,
                **environment,
                "ARGO_PROGRESS_FILE": str(self.progress_file(pod)),
            },
            working_dir=paths.host_of(pod.working_dir) or self._working_dir,
        )

    def output_file(self, pod: Pod, output: OutputFile) -> Path:
        """The file under its mount, or in the pod's directory: two pods never share `/tmp/x`."""
        return self._host(pod, output.path)

    def progress_file(self, pod: Pod) -> Path:
        """The progress file in the pod's directory."""
        return pod.directory / "progress"

    def termination_file(self, pod: Pod) -> Path:
        """The termination message in the pod's directory."""
        return pod.directory / "termination-log"

    def text(self, pod: Pod, value: str) -> str:
        """`value` with the pod's own paths as container paths."""
        return self._paths(pod).to_container(value)

    def kill(self, pod: Pod) -> None:
        """Do nothing: the process group contains everything."""

    def clean_up(self, pod: Pod) -> None:
        """Do nothing: the pod's directory contains everything."""

    def _host(self, pod: Pod, path: str) -> Path:
        host = self._paths(pod).host_of(path)
        if host is None:
            raise AssertionError(f"the pod has no file {path}")
        return host

    def _paths(self, pod: Pod) -> PathMap:
        mounts = {mount.path: mount.host for mount in pod.mounts}
        under_mounts = PathMap(mounts)
        own = [output.path for output in pod.outputs] + list(pod.files)
        private = {
            path: pod.directory / "files" / path.lstrip("/")
            for path in own
            if path.startswith("/") and under_mounts.host_of(path) is None
        }
        return PathMap(
            {
                SCRIPT_PATH: pod.directory / "script",
                PROGRESS_PATH: self.progress_file(pod),
                pod.termination_path: self.termination_file(pod),
                **private,
                **mounts,
            }
        )
