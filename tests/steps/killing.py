"""Kill a step at each of its writes, and compare what comes of the next try with a quiet run.

A kill comes before a call that changes files: at the n-th such call the process kills itself. Where
the call opens a file to write, there is a second kill, in the middle of the write that follows: the
kernel kills a process that makes a file larger than it may (RLIMIT_FSIZE). That reaches libraries
which write without Python, such as pyarrow and safetensors.
"""

from __future__ import annotations

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
_TORN_BYTES = 1
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
    chosen = _spread(points, case.points)
    for point in chosen:
        tries.begin()
        is_killed = tries.killed(point) in _KILLED
        # A write of fewer bytes cannot be torn.
        assert is_killed or point.is_torn, f"it was not killed {point}"
        for _ in range(case.kills - 1):
            tries.killed(point)
        tries.finish(f"killed {point}")
        found = _tree(case, tries.root)
        assert found.keys() == expected.keys(), (
            f"killed {point}, it leaves {found.keys() - expected.keys()} "
            f"and lacks {expected.keys() - found.keys()}"
        )
        differing = [name for name in expected if found[name] != expected[name]]
        assert not differing, f"killed {point}, it makes another {differing}"
    return f"killed at {len(chosen)} of {len(points)} points"


class _Tries:
    """Runs of the step, each in a fork of this process and always in the same directory."""

    def __init__(self, case: Case, directory: Path) -> None:
        self.root = directory / "root"
        self._case = case
        self._inputs = directory / "inputs"
        self._calls = directory / "calls"
        self._output = directory / "output"
        self.root.mkdir()
        assert self._fork(lambda: case.prepare(self.root)) == 0, self._output.read_text()
        shutil.copytree(self.root, self._inputs, symlinks=True)

    def quiet(self) -> list[_Point]:
        """Run the step without a kill; returns where it can be killed."""
        calls: list[str] = []

        def run() -> None:
            _watch(self.root, calls.append)
            try:
                self._case.run(self.root)
            finally:
                self._calls.write_text("\n".join(calls))

        assert self._fork(run) == 0, self._output.read_text()
        self._case.stop(self.root)
        return list(_points(self._calls.read_text().splitlines()))

    def begin(self) -> None:
        """Put only the inputs into the directory."""
        shutil.rmtree(self.root)
        shutil.copytree(self._inputs, self.root, symlinks=True)

    def killed(self, point: _Point) -> int:
        """Run the step until this point; returns the signal that ended it, 0 if none did."""

        def run() -> None:
            _die_at(self.root, point)
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


def _watch(root: Path, on_call: Callable[[str], None]) -> None:
    """Call back before each call that changes files below the directory."""
    below = os.fsencode(root)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(args[2], int) or not args[2] & _WRITES:
                return
        elif event not in _CHANGES:
            return
        path = args[0]
        # Descriptors are those of files that were opened below it.
        if isinstance(path, int) or os.fsencode(path).startswith(below):
            on_call(f"{event} {path}")

    sys.addaudithook(hook)


def _die_at(root: Path, point: _Point) -> None:
    passed = 0

    def die(call: str) -> None:
        nonlocal passed
        passed += 1
        if passed != point.number:
            return
        if not point.is_torn:
            os.kill(os.getpid(), signal.SIGKILL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (_TORN_BYTES, resource.RLIM_INFINITY))

    _watch(root, die)


def _points(calls: list[str]) -> Iterator[_Point]:
    for number, call in enumerate(calls, start=1):
        yield _Point(number, call, is_torn=False)
        # Logs are lost or torn with the process; what a server writes to is another process's.
        if call.startswith("open ") and not call.endswith(".log"):
            yield _Point(number, call, is_torn=True)


def _spread(points: list[_Point], count: int) -> list[_Point]:
    """So many points at equal distances, or as KILL_POINTS says."""
    if _POINTS is not None:
        count = len(points) if _POINTS == "all" else int(_POINTS)
    count = min(count, len(points))
    return [points[(2 * index + 1) * len(points) // (2 * count)] for index in range(count)]


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
