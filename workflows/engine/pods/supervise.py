"""The supervision of one pod in a thread: its output, its progress, its end."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import IO, Protocol

from argotune.workflows.engine.errors import PodError, naming
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.pods.pod import Launch, Launcher, OutputFile, Pod
from argotune.workflows.engine.pods.process_groups import signal_group, write_pid
from argotune.workflows.engine.state.run_state import parse_progress

_POLL_SECONDS = 0.2
_POLL_WITHOUT_PIDFD_SECONDS = 0.05
_READ_BYTES = 64 * 1024
# Kubernetes keeps this much of a termination message, and this many lines of a log for it.
_MESSAGE_BYTES = 2048
_MESSAGE_LINES = 80
_RESULT_BYTES = 256 * 1024  # Argo's limit of outputs.result
_COMMAND_NOT_FOUND = 64  # exit code of Argo's wrapper, the emissary


@dataclass(frozen=True, slots=True)
class PodStarted:
    """The pod's process has started."""

    node_id: str


@dataclass(frozen=True, slots=True)
class PodProgress:
    """The pod wrote new progress, as `N/M`."""

    node_id: str
    progress: str


@dataclass(frozen=True, slots=True)
class PodLine:
    """The pod wrote a line."""

    node_id: str
    text: str


@dataclass(frozen=True, slots=True)
class PodEnded:
    """The pod has ended; `error` is a fault outside its command (Argo's Error)."""

    node_id: str
    exit_code: int
    message: str
    outputs: JsonObject
    error: str = ""


PodEvent = PodStarted | PodProgress | PodLine | PodEnded
Sink = Callable[[PodEvent], None]


class _Read(Enum):
    """The result of reading from a stream."""

    DATA = auto()
    NOTHING_NOW = auto()
    END = auto()


class SupervisedPod(Protocol):
    """A pod that ends by itself or is ended; it tells the sink what happens, its end last."""

    def start(self) -> None:
        """Start it, and return at once."""

    def stop(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it now."""

    def join(self) -> None:
        """Wait until it has ended and its last event was sent."""


class NewPod(Protocol):
    """Makes what supervises a pod; RunningPod is one."""

    def __call__(
        self, pod: Pod, launcher: Launcher, sink: Sink, *, wants_lines: bool
    ) -> SupervisedPod:
        """Make it; it is started later."""


class RunningPod:
    """The thread of a pod's process; other threads may call `stop` and `kill`."""

    def __init__(self, pod: Pod, launcher: Launcher, sink: Sink, *, wants_lines: bool) -> None:
        self.pod = pod
        self._launcher = launcher
        self._sink = sink
        self._wants_lines = wants_lines
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_at: float | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._stdout = bytearray()
        self._tail = bytearray()
        self._lines: dict[int, bytes] = {}
        self._thread = threading.Thread(
            target=self._run, name=f"pod-{pod.identity.node_id}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the pod to end: SIGTERM now, SIGKILL after its grace period."""
        with self._lock:
            if self._stopped.is_set():
                return
            self._stopped.set()
            self._kill_at = time.monotonic() + self.pod.grace_seconds
            if self._process is not None:
                signal_group(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the pod now."""
        with self._lock:
            self._stopped.set()
            self._kill_at = time.monotonic()
            if self._process is not None:
                signal_group(self._process.pid, signal.SIGKILL)

    def join(self) -> None:
        """Wait until the pod has ended and its last event was sent."""
        self._thread.join()

    def _run(self) -> None:
        node_id = self.pod.identity.node_id
        try:
            ended = self._supervise()
        except PodError as error:
            ended = PodEnded(
                node_id,
                _COMMAND_NOT_FOUND,
                f"main: Error (exit code {_COMMAND_NOT_FOUND}): {error}",
                {"exitCode": str(_COMMAND_NOT_FOUND)},
            )
        except OSError as error:
            self._kill_unsupervised()
            where = f" of {error.filename}" if error.filename else ""
            ended = PodEnded(
                node_id, -1, "", {}, error=f"system error{where}: {error.strerror or error}"
            )
        finally:
            self._launcher.clean_up(self.pod)
            shutil.rmtree(self.pod.directory, ignore_errors=True)
        self._sink(ended)

    def _kill_unsupervised(self) -> None:
        """Kill the process whose output or progress cannot be followed any more."""
        with self._lock:
            if self._process is not None:
                signal_group(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._launcher.kill(self.pod)

    def _supervise(self) -> PodEnded:
        launch = self._launcher.prepare(self.pod)
        self.pod.log.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.pod.log), self.pod.log.open("ab") as log:
            process = self._start(launch)
            self._sink(PodStarted(self.pod.identity.node_id))
            self._follow(process, log)
        exit_code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        outputs, error = self._outputs(exit_code)
        return PodEnded(
            self.pod.identity.node_id, exit_code, self._message(exit_code), outputs, error
        )

    def _start(self, launch: Launch) -> subprocess.Popen[bytes]:
        with self._lock:
            try:
                process = subprocess.Popen(
                    list(launch.arguments),
                    cwd=launch.working_dir,
                    env=dict(launch.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except (FileNotFoundError, PermissionError) as error:
                raise PodError(f'exec: "{launch.arguments[0]}": {error.strerror}') from error
            self._process = process
            write_pid(self.pod.directory / "pid", process.pid)
            if self._stopped.is_set():
                signal_group(process.pid, signal.SIGTERM)
        return process

    def _follow(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        """Copy output and progress until the process ends."""
        if process.stdout is None or process.stderr is None:
            raise AssertionError("both streams are pipes")
        progress = _ProgressFile(self._launcher.progress_file(self.pod))
        exit_fd = _exit_descriptor(process.pid)
        poll = _POLL_WITHOUT_PIDFD_SECONDS if exit_fd is None else _POLL_SECONDS
        with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
            for stream in (process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, stream is process.stdout)
            if exit_fd is not None:
                selector.register(exit_fd, selectors.EVENT_READ, None)
            while process.poll() is None:
                for key, _ in selector.select(poll):
                    if key.data is None:
                        continue
                    if self._copy(key.fd, log, is_stdout=key.data) is _Read.END:
                        selector.unregister(key.fileobj)
                self._report_progress(progress)
                self._kill_if_due(process)
            if exit_fd is not None:
                os.close(exit_fd)
            # As in a container, what the command started ends with it. What is in the pipes is
            # still read; a process that left the group may keep them open and is not waited for.
            signal_group(process.pid, signal.SIGKILL)
            for stream in (process.stdout, process.stderr):
                is_stdout = stream is process.stdout
                while self._copy(stream.fileno(), log, is_stdout=is_stdout) is _Read.DATA:
                    pass
        self._flush_lines()
        self._report_progress(progress)

    def _copy(self, descriptor: int, log: IO[bytes], *, is_stdout: bool) -> _Read:
        """Copy what can be read now."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return _Read.NOTHING_NOW
        if not data:
            return _Read.END
        log.write(data)
        log.flush()
        self._tail = (self._tail + data)[-_MESSAGE_BYTES:]
        if is_stdout and self.pod.keeps_result:
            self._stdout = (self._stdout + data)[-_RESULT_BYTES - 1 :]
        if self._wants_lines:
            self._send_lines(descriptor, data)
        return _Read.DATA

    def _send_lines(self, descriptor: int, data: bytes) -> None:
        *lines, rest = (self._lines.get(descriptor, b"") + data).split(b"\n")
        self._lines[descriptor] = rest
        for line in lines:
            self._sink(PodLine(self.pod.identity.node_id, line.decode(errors="replace")))

    def _flush_lines(self) -> None:
        for rest in self._lines.values():
            if rest:
                self._sink(PodLine(self.pod.identity.node_id, rest.decode(errors="replace")))

    def _report_progress(self, progress: _ProgressFile) -> None:
        changed = progress.new_value()
        if changed is not None:
            self._sink(PodProgress(self.pod.identity.node_id, changed))

    def _kill_if_due(self, process: subprocess.Popen[bytes]) -> None:
        if self._kill_at is None or time.monotonic() < self._kill_at:
            return
        signal_group(process.pid, signal.SIGKILL)
        self._launcher.kill(self.pod)
        self._kill_at = None

    def _message(self, exit_code: int) -> str:
        """Argo's message of a failed container: its reason, exit code and termination message.

        A person reads it here, so its paths stay those of this machine, unlike those of outputs.
        """
        if exit_code == 0:
            return ""
        text = _read_tail(self._launcher.termination_file(self.pod))
        if not text and self.pod.falls_back_to_logs:
            text = bytes(self._tail).decode(errors="replace")
        lines = text.strip().splitlines()[-_MESSAGE_LINES:]
        message = f"main: Error (exit code {exit_code})"
        return message + ": " + "\n".join(lines) if lines else message

    def _outputs(self, exit_code: int) -> tuple[JsonObject, str]:
        """The node's outputs, and the error if the command succeeded without writing them."""
        parameters: list[JsonObject] = []
        problems: list[str] = []
        for output in self.pod.outputs:
            try:
                value = self._written(output)
            except PodError as error:
                problems.append(str(error))
                value = None
            if value is None:
                parameters.append(dict(output.parameter))
            else:
                parameters.append({**output.parameter, "value": value.removesuffix("\n")})
        outputs: JsonObject = {"exitCode": str(exit_code)}
        if parameters:
            outputs["parameters"] = parameters
        if self.pod.keeps_result:
            text = bytes(self._stdout).decode(errors="replace")
            text = self._launcher.text(self.pod, text).removesuffix("\n")
            outputs["result"] = text[-_RESULT_BYTES:]
        return outputs, "; ".join(problems) if exit_code == 0 else ""

    def _written(self, output: OutputFile) -> str:
        """What the container wrote to the output's file, or else the default.

        Raises PodError if there is neither, or if the file is a link to somewhere else.
        """
        file = self._launcher.output_file(self.pod, output)
        name = f"(outputs.parameters.{output.name})"
        self.pod.refuse_outside(file, f"{output.path} {name}")
        value = _read_value(file)
        if value is not None:
            return self._launcher.text(self.pod, value)
        if output.default is None:
            raise PodError(f"the container did not write {output.path} {name}")
        return output.default


class _ProgressFile:
    """The last valid `N/M` line of a file, which is read again only after a change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._progress = ""

    def new_value(self) -> str | None:
        """The progress if it differs from that of the last call, or else None."""
        try:
            status = self._path.stat()
            signature = (status.st_mtime_ns, status.st_size)
            if signature == self._seen:
                return None
            self._seen = signature
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None  # not written yet, or being replaced
        last = lines[-1].strip() if lines else ""
        if parse_progress(last) is None or last == self._progress:
            return None
        self._progress = last
        return last


def _exit_descriptor(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None if the system has none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _read_value(file: Path) -> str | None:
    # A pipe that a step made would be waited for without end.
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None


def _read_tail(file: Path) -> str:
    try:
        return file.read_bytes()[-_MESSAGE_BYTES:].decode(errors="replace")
    except FileNotFoundError:
        return ""
