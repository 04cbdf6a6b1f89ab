"""Kill a step at each of its writes, and compare what comes of the next try with a quiet run.

A kill comes before a call that changes files: at the n-th such call the process kills itself. Where
the call opens a file to write, there is a second kill, in the middle of the write that follows: the
kernel kills a process that makes a file larger than it may (RLIMIT_FSIZE). That reaches libraries
which write without Python, such as pyarrow and safetensors.

Where a try takes seconds and all points are asked for, one run is copied before each such call
instead of being killed there: a kill leaves what another process finds on the disk at that moment.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from argotune.steps.common.fields import text_of
from argotune.steps.common.main import main

_POINTS = os.environ.get("KILL_POINTS")
"""At how many writes each step is killed, or `all`; None: at as many as its case says."""
_TORN = b"\0"
"""What a torn write has written."""
_CHANGES = {
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_KILLED = {signal.SIGKILL, signal.SIGXFSZ}


def _nothing(root: Path) -> None:
    """Leave everything as it is."""


def _as_it_is(name: str, content: bytes) -> object:
    return content


@dataclass(frozen=True, kw_only=True)
class Case:
    """A step and its inputs. All functions are of a module, because another process calls them."""

    prepare: Callable[[Path], None]
    """Writes the inputs into a directory, always the same one."""
    run: Callable[[Path], None]
    """Runs the step on them, as `run_step` does."""
    compared: Callable[[str, bytes], object] = _as_it_is
    """What of a file is compared, by its path in the directory; None: not even whether it is
    there."""
    stop: Callable[[Path], None] = _nothing
    """Ends what the step has started and checks that nothing else runs."""
    points: int = 6
    """At how many writes it is killed, unless KILL_POINTS says so."""
    kills: int = 2
    """How often in a row: the further times while it cleans up after the first."""
    signal: signal.Signals = signal.SIGKILL
    """SIGTERM: the step may go on for as long as it takes to end well, so no write is torn."""
    is_slow: bool = False
    """Whether all points are those of one run that is copied."""


@dataclass(frozen=True)
class _Point:
    """A call that changes files."""

    number: int
    call: str
    is_torn: bool
    """Whether the kill comes in the middle of the write that follows."""

    def __str__(self) -> str:
        return (
            f"{'in the write after' if self.is_torn else 'before'} call {self.number}, {self.call}"
        )


def run_step(params: Any, result_type: type, run: Any, root: Path) -> None:
    """Run a step's entry point as its container does, with outputs and log below the directory."""
    flags = {field.name: getattr(params, field.name) for field in fields(params)}
    arguments = [
        f"--{name.replace('_', '-')}={text_of(value)}"
        for name, value in flags.items()
        if value is not None
    ]
    arguments += [f"--outputs-dir={root / 'outputs'}", f"--logs-dir={root / 'logs'}"]
    main(type(params), result_type, run, arguments=arguments)


def kill_everywhere(case: Case, directory: Path) -> str:
    """Kill the step of a case at its writes; returns at how many.

    Call this in a process with one thread, because it forks. Raises AssertionError.
    """
    tries = _Tries(case, directory)
    points = tries.quiet()
    expected = _tree(case, tries.root)
    left = [name for name in expected if name.endswith(".part")]
    assert not left, f"a quiet run leaves {left}"
    if case.is_slow and _POINTS == "all":
        states = tries.copies()
        for state in states:
            tries.begin(state)
            tries.finish(f"killed {state.name}")
            _compare(f"killed {state.name}", _tree(case, tries.root), expected)
        return f"{len(states)} states of {len(points)} points"
    chosen = _spread(points, case.points)
    for point in chosen:
        tries.begin()
        ended = tries.killed(point)
        # A write of fewer bytes cannot be torn.
        assert ended in _KILLED or point.is_torn or case.signal is signal.SIGTERM, (
            f"it was not killed {point}"
        )
        for _ in range(case.kills - 1):
            tries.killed(point)
        tries.finish(f"killed {point}")
        _compare(f"killed {point}", _tree(case, tries.root), expected)
    return f"killed at {len(chosen)} of {len(points)} points"


def _compare(after: str, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    assert found.keys() == expected.keys(), (
        f"{after}, it leaves {found.keys() - expected.keys()} "
        f"and lacks {expected.keys() - found.keys()}"
    )
    differing = [name for name in expected if found[name] != expected[name]]
    assert not differing, f"{after}, it makes another {differing}"


class _Tries:
    """Runs of the step, each in a fork of this process and always in the same directory."""

    def __init__(self, case: Case, directory: Path) -> None:
        self.root = directory / "root"
        self._case = case
        self._inputs = directory / "inputs"
        self._calls = directory / "calls"
        self._states = directory / "states"
        self._output = directory / "output"
        self.root.mkdir()
        assert self._fork(lambda: case.prepare(self.root)) == 0, self._output.read_text()
        shutil.copytree(self.root, self._inputs, symlinks=True)

    def quiet(self) -> list[_Point]:
        """Run the step without a kill; returns where it can be killed."""
        calls: list[str] = []

        def run() -> None:
            _watch(self.root, lambda call: calls.append(str(call)))
            try:
                self._case.run(self.root)
            finally:
                self._calls.write_text("\n".join(calls))

        assert self._fork(run) == 0, self._output.read_text()
        self._case.stop(self.root)
        calls = self._calls.read_text().splitlines()
        return list(_points(calls, is_torn=self._case.signal is signal.SIGKILL))

    def copies(self) -> list[Path]:
        """Run the step once; returns what was in the directory before each call, each state once.

        Where a call opens a file anew there is a second state, with a byte of what was written.
        """
        self._states.mkdir()
        seen: set[bytes] = set()

        def keep(name: str, torn: Path | None = None) -> None:
            state = self._states / name
            shutil.copytree(self.root, state, symlinks=True)
            if torn is not None:
                (state / torn.relative_to(self.root)).write_bytes(_TORN)
            digest = _digest(state)
            if digest in seen:
                shutil.rmtree(state)
            seen.add(digest)

        def run() -> None:
            calls = 0

            def copy(call: _Call) -> None:
                nonlocal calls
                calls += 1
                keep(f"{calls:05}")
                if call.opens_anew is not None:
                    keep(f"{calls:05}-torn", call.opens_anew)

            _watch(self.root, copy)
            self._case.run(self.root)

        self.begin()
        assert self._fork(run) == 0, self._output.read_text()
        return sorted(self._states.iterdir())

    def begin(self, state: Path | None = None) -> None:
        """Put only the inputs into the directory, or a state of it."""
        shutil.rmtree(self.root)
        shutil.copytree(state or self._inputs, self.root, symlinks=True)

    def killed(self, point: _Point) -> int:
        """Run the step until this point; returns the signal that ended it, 0 if none did."""

        def run() -> None:
            _die_at(self.root, point, self._case.signal)
            self._case.run(self.root)

        return max(0, -self._fork(run))

    def finish(self, after: str) -> None:
        """Run the step to its end."""
        exit_code = self._fork(lambda: self._case.run(self.root))
        assert exit_code == 0, f"{after}, the next try fails:\n{self._output.read_text()}"
        self._case.stop(self.root)

    def _fork(self, work: Callable[[], None]) -> int:
        """Do the work in a fork of this process; returns its exit code, negative for a signal."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        exit_code = 1
        try:
            output = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            work()
            exit_code = 0
        except SystemExit as end:
            exit_code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(exit_code)


@dataclass(frozen=True)
class _Call:
    """A call that is about to change files."""

    event: str
    path: int | str | bytes | os.PathLike[str]
    """An integer is a file's descriptor."""
    flags: int = 0
    """Those of an `open`."""

    def __str__(self) -> str:
        return f"{self.event} {self.path!s}"

    @property
    def opens_anew(self) -> Path | None:
        """The file, if it is opened without its earlier content."""
        if self.event != "open" or isinstance(self.path, int):
            return None
        path = Path(os.fsdecode(self.path))
        # Logs are torn with the process, as in _points, and locks stay empty.
        if path.suffix in (".log", ".lock") or not (self.flags & os.O_TRUNC or not path.exists()):
            return None
        return path


def _watch(root: Path, on_call: Callable[[_Call], None]) -> None:
    """Call back before each call that changes files below the directory."""
    below = os.fsencode(root)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        flags = 0
        if event == "open":
            flags = args[2] if isinstance(args[2], int) else 0
            if not flags & _WRITES:
                return
        elif event not in _CHANGES:
            return
        path = args[0]
        # Descriptors are those of files that were opened below it.
        if isinstance(path, int) or os.fsencode(path).startswith(below):
            on_call(_Call(event, path, flags))

    sys.addaudithook(hook)


def _die_at(root: Path, point: _Point, by: signal.Signals) -> None:
    passed = 0

    def die(call: _Call) -> None:
        nonlocal passed
        passed += 1
        if passed != point.number:
            return
        if not point.is_torn:
            os.kill(os.getpid(), by)
            return
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(_TORN), resource.RLIM_INFINITY))

    _watch(root, die)


def _points(calls: list[str], *, is_torn: bool) -> Iterator[_Point]:
    for number, call in enumerate(calls, start=1):
        yield _Point(number, call, is_torn=False)
        # Logs are lost or torn with the process; what a server writes to is another process's.
        if is_torn and call.startswith("open ") and not call.endswith(".log"):
            yield _Point(number, call, is_torn=True)


def _spread(points: list[_Point], count: int) -> list[_Point]:
    """So many points at equal distances, or as KILL_POINTS says."""
    if _POINTS is not None:
        count = len(points) if _POINTS == "all" else int(_POINTS)
    count = min(count, len(points))
    return [points[(2 * index + 1) * len(points) // (2 * count)] for index in range(count)]


def _digest(root: Path) -> bytes:
    """Of all files below the directory but for logs, with their names."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] != "logs":
            digest.update(f"{name} {path.is_dir()} ".encode())
            digest.update(b"" if path.is_dir() else path.read_bytes())
    return digest.digest()


def _tree(case: Case, root: Path) -> Mapping[str, object]:
    """What is compared of each file below the directory, by path; a directory is its name.

    Of sockets, whose names end with the id of the process, it is how many there are.
    """
    found: dict[str, object] = {}
    sockets = Counter[str]()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] == "logs":
            continue
        if path.is_socket():
            sockets[name.rstrip("0123456789")] += 1
            continue
        compared = case.compared(name, b"" if path.is_dir() else path.read_bytes())
        if compared is not None:
            found[name] = compared
    return found | sockets
