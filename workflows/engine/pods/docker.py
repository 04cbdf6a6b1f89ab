"""Pods as containers of docker or podman."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from argotune.workflows.engine.errors import naming
from argotune.workflows.engine.pods.paths import Mount, PathMap
from argotune.workflows.engine.pods.pod import (
    PROGRESS_PATH,
    SCRIPT_MODE,
    SCRIPT_PATH,
    Launch,
    OutputFile,
    Pod,
)

_COMMAND_TIMEOUT_SECONDS = 60


def run_arguments(
    program: str, pod: Pod, *, own_mounts: Sequence[Mount], user: str | None
) -> list[str]:
    """The command line that runs a pod; it names environment variables and holds no values.

    It has no `--rm`, because the container is removed after its outputs were copied. The container
    uses the machine's network, as a process would: it can reach a server on loopback.
    """
    arguments = [program, "run", "--name", _container_name(pod), "--init", "--network", "host"]
    if user is not None:
        arguments += ["--user", user]
    if pod.working_dir:
        arguments += ["--workdir", pod.working_dir]
    if pod.gpus:
        arguments += _gpu_arguments(program, pod.gpus)
    for mount in (*pod.mounts, *own_mounts):
        arguments += ["--mount", _mount_option(mount)]
    for name in sorted({*pod.environment, "ARGO_PROGRESS_FILE"}):
        arguments += ["--env", name]
    command, *rest = pod.command or ("",)
    if command:
        arguments += ["--entrypoint", command]
    return [*arguments, pod.image, *rest]


def _mount_option(mount: Mount) -> str:
    """The fields as a line of CSV, so that a comma in a path begins no further field."""
    fields = ["type=bind", f"source={mount.host}", f"target={mount.path}"]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([*fields, *(["readonly"] * mount.read_only)])
    return line.getvalue()


def _container_name(pod: Pod) -> str:
    """The container's name; it contains the node's id, which is unique among all runs."""
    return f"argotune-{pod.identity.node_id}"


def _gpu_arguments(program: str, count: int) -> list[str]:
    if program == "podman":
        return [part for index in range(count) for part in ("--device", f"nvidia.com/gpu={index}")]
    return ["--gpus", str(count)]


class ContainerLauncher:
    """Starts a pod with `docker run` or `podman run`; volumes are bind mounts."""

    def __init__(self, program: str, *, environ: Mapping[str, str]) -> None:
        self._program = program
        # A pod may set its own PATH, so the program is looked for now.
        self._path = shutil.which(program, path=environ.get("PATH")) or program
        self._environ = environ

    def prepare(self, pod: Pod) -> Launch:
        """Write script, raw files, progress and termination files, which are all bind mounted."""
        self.clean_up(pod)  # a container of the same node that an interrupted run left
        self.progress_file(pod).parent.mkdir(parents=True, exist_ok=True)
        self.termination_file(pod).touch()
        own = [
            Mount(self.progress_file(pod).parent, PROGRESS_PATH.rsplit("/", 1)[0]),
            Mount(self.termination_file(pod), pod.termination_path),
        ]
        texts = dict(pod.files)
        if pod.script is not None:
            texts[SCRIPT_PATH] = pod.script
        for index, (path, text) in enumerate(texts.items()):
            file = pod.directory / "inputs" / str(index)
            file.parent.mkdir(parents=True, exist_ok=True)
            with naming(file):
                file.write_text(text, encoding="utf-8")
                if path == SCRIPT_PATH:
                    file.chmod(SCRIPT_MODE)
            own.append(Mount(file, path, read_only=True))
        user = None if self._program == "podman" else f"{os.getuid()}:{os.getgid()}"
        _, *arguments = run_arguments(self._program, pod, own_mounts=own, user=user)
        return Launch(
            arguments=[self._path, *arguments],
            environment={
                **self._environ,
                **pod.environment,
                "ARGO_PROGRESS_FILE": PROGRESS_PATH,
            },
            working_dir=pod.directory,
        )

    def output_file(self, pod: Pod, output: OutputFile) -> Path:
        """The file under its mount, or else a copy from the container that has ended."""
        mounted = PathMap({mount.path: mount.host for mount in pod.mounts}).host_of(output.path)
        if mounted is not None:
            return mounted
        file = pod.directory / "outputs" / output.name
        file.parent.mkdir(parents=True, exist_ok=True)
        self._call("cp", f"{_container_name(pod)}:{output.path}", str(file))
        return file

    def progress_file(self, pod: Pod) -> Path:
        """The progress file in the pod's directory."""
        return pod.directory / "argo" / "progress"

    def termination_file(self, pod: Pod) -> Path:
        """The termination message in the pod's directory."""
        return pod.directory / "termination-log"

    def text(self, pod: Pod, value: str) -> str:
        """`value` unchanged, because the container has no paths of this machine."""
        return value

    def kill(self, pod: Pod) -> None:
        """Kill the container, which would outlive the command."""
        self._call("kill", _container_name(pod))

    def clean_up(self, pod: Pod) -> None:
        """Remove the container."""
        self._call("rm", "--force", "--volumes", _container_name(pod))

    def _call(self, *arguments: str) -> None:
        """Run a command; its failure means that there was nothing to do."""
        try:
            subprocess.run(
                [self._path, *arguments],
                env=dict(self._environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_COMMAND_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return
