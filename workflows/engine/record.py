"""The run directory: the Workflow object, the lock of its engine, and requests to that engine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec

from argotune.workflows.engine.controller.suspend import Resumption
from argotune.workflows.engine.errors import EngineError, naming
from argotune.workflows.engine.model import JsonObject, Runtime

PODS = "pods"
"""Directory of the pods' own directories, by node ID."""
LOGS = "logs"
"""Directory of the pods' logs."""
CLAIMS = "claims"
"""Directory of the volumes that end with the run."""
RECORD = "workflow.json"
"""File with the Workflow object, written at most every tenth of a second."""
_OWN_DIRECTORIES = (PODS, LOGS, CLAIMS, "control")
_START = "documents.json"
_LOCK = "lock"
_STOP = "control/stop"
_RESUME = "control/resume"
_LOCK_ATTEMPTS = 5  # is_running holds the lock for a moment
_LOCK_PAUSE_SECONDS = 0.05
_LEAST_SAVE_SECONDS = 0.1
_CHEAP_SAVE_SECONDS = 0.05
_SHARE_OF_TIME = 10  # a record is written for at most a tenth of the time


def load_record(run_dir: Path) -> JsonObject:
    """The Workflow object of a run, as last saved. Raises EngineError if there is none."""
    return _read(run_dir / RECORD)


def load_outline(run_dir: Path) -> JsonObject:
    """The Workflow object without its specs and its nodes' inputs, which are nearly all of it.

    Several times as fast, and many of them fit into memory. Raises EngineError if there is none.
    """
    try:
        outline = _OUTLINE.decode((run_dir / RECORD).read_bytes())
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        # It says what is wrong, or reads what is JSON for Python alone.
        return load_record(run_dir)
    found: JsonObject = msgspec.to_builtins(outline)
    return found


def has_record(run_dir: Path) -> bool:
    """Whether the directory holds a run that has begun."""
    return (run_dir / RECORD).exists()


# The fields of Argo's that an outline has; what is not named here is skipped.
class _OutlineNode(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str = ""
    displayName: str = ""
    phase: str = ""
    outputs: dict[str, Any] = {}


class _OutlineSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    suspend: bool | None = None


class _OutlineStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    phase: str = ""
    message: str = ""
    finishedAt: str | None = None
    nodes: dict[str, _OutlineNode] = {}
    storedWorkflowTemplateSpec: _OutlineSpec = _OutlineSpec()


class _Outline(msgspec.Struct, frozen=True):
    metadata: dict[str, Any]
    status: _OutlineStatus = _OutlineStatus()


_OUTLINE = msgspec.json.Decoder(_Outline)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The documents and runtime that a run started with, for resuming it."""

    documents: list[JsonObject]
    runtime: Runtime


def load_start(run_dir: Path) -> Start:
    """What the run started with. Raises EngineError if it is not recorded."""
    found = _read(run_dir / _START)
    return Start(documents=found["documents"], runtime=found.get("runtime", "process"))


def save_start(run_dir: Path, start: Start) -> None:
    """Record what the run starts with."""
    found = {"documents": start.documents, "runtime": start.runtime}
    _write_atomically(run_dir / _START, _json(found))


def began_at(run_dir: Path) -> int:
    """When the run began, nanoseconds since the epoch; 0 if that is not recorded."""
    try:
        return (run_dir / _START).stat().st_mtime_ns
    except OSError:
        return 0


def is_running(run_dir: Path) -> bool:
    """Whether an engine is running this directory now."""
    with no_engine(run_dir) as is_so:
        return not is_so


@contextmanager
def no_engine(run_dir: Path) -> Iterator[bool]:
    """Keep engines from beginning during the block; yields False if one is running already."""
    with ExitStack() as stack:
        is_so = True
        try:
            file = stack.enter_context((run_dir / _LOCK).open("r"))
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # an engine makes the lock before anything else
        except BlockingIOError:
            is_so = False
        yield is_so


def request_stop(run_dir: Path) -> None:
    """Ask the engine of this run to stop, as Ctrl-C does; its onExit handlers still run."""
    _write_atomically(run_dir / _STOP, "", durable=False)


def request_resume(run_dir: Path, how: Resumption | None = None) -> None:
    """Ask the engine of this run to end its suspensions, or the one that is meant."""
    text = json.dumps(asdict(how or Resumption()))
    _write_atomically(run_dir / _RESUME, text, durable=False)


class Controls:
    """The requests of other processes; each is reported once."""

    def __init__(self, run_dir: Path) -> None:
        self._stop = run_dir / _STOP
        self._resume = run_dir / _RESUME
        # Requests to an earlier engine do not count.
        self._stop.unlink(missing_ok=True)
        self._resume.unlink(missing_ok=True)

    def stop_requested(self) -> bool:
        """Whether another process asked for a stop since the last call."""
        return _take_request(self._stop) is not None

    def resume_requested(self) -> Resumption | None:
        """How another process asked to resume since the last call; None: none did."""
        text = _take_request(self._resume)
        return None if text is None else Resumption(**json.loads(text))


def _take_request(file: Path) -> str | None:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    file.unlink(missing_ok=True)
    return text


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold the lock of the run directory. Raises EngineError if another engine holds it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with _lock_file(run_dir) as file:
        for attempt in range(_LOCK_ATTEMPTS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt + 1 == _LOCK_ATTEMPTS:
                    problem = f"{run_dir} is in use: another process is running it"
                    raise EngineError([problem]) from None
                time.sleep(_LOCK_PAUSE_SECONDS)
        yield


def _lock_file(run_dir: Path) -> TextIO:
    try:
        return (run_dir / _LOCK).open("a")
    except OSError:
        with contextlib.suppress(OSError):
            run_dir.rmdir()  # made just now, where it is empty
        raise


def discard_unrecorded(run_dir: Path) -> None:
    """Remove what an engine wrote into a locked run directory, unless the run has a record.

    A directory with files of others stays, with those.
    """
    if has_record(run_dir):
        return
    for name in _OWN_DIRECTORIES:
        shutil.rmtree(run_dir / name, ignore_errors=True)
    for name in (_START, RECORD):
        (run_dir / name).unlink(missing_ok=True)
        _part_of(run_dir / name).unlink(missing_ok=True)
    (run_dir / _LOCK).unlink()
    with contextlib.suppress(OSError):  # something of others is in it
        run_dir.rmdir()


class Record:
    """Saves the Workflow object, less often the longer a save takes."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / RECORD
        self._next_save = 0.0
        self._last_save_seconds = 0.0

    @property
    def is_cheap(self) -> bool:
        """Whether a save is short enough to be done after every step."""
        return self._last_save_seconds < _CHEAP_SAVE_SECONDS

    def is_named_in(self, command: Sequence[str]) -> bool:
        """Whether a command has the record's path in it."""
        return any(str(self._path) in word for word in command)

    def due_at(self) -> float:
        """The monotonic time in seconds from which a change may be saved."""
        return self._next_save

    def save(self, workflow: JsonObject, *, durable: bool = False) -> None:
        """Write the object; if `durable`, wait until it would survive a power failure."""
        started = time.monotonic()
        _write_atomically(self._path, _json(workflow), durable=durable)
        ended = time.monotonic()
        self._last_save_seconds = ended - started
        pause = max(_LEAST_SAVE_SECONDS, self._last_save_seconds * _SHARE_OF_TIME)
        self._next_save = ended + pause


def _json(value: JsonObject) -> str:
    """Write an object in lines; json alone takes ten times as long for them (Python's encoder)."""
    return msgspec.json.format(json.dumps(value), indent=1)


def _write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The engine's lock keeps others from it; a killed engine's is written over.
    temporary = _part_of(path)
    with naming(path):
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _read(path: Path) -> JsonObject:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError([f"{path.parent} holds no run: {path.name} is missing"]) from None
    except (OSError, ValueError) as error:
        raise EngineError([f"{path} cannot be read: {error}"]) from None
    if not isinstance(found, dict):
        raise EngineError([f"{path} cannot be read: expected a JSON object"])
    return found
