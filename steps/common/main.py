"""The entry point of every step: parse flags, write output files, map errors to exit codes.

Each Result field is written to a file with its kebab-case name in `--outputs-dir`, for Argo's
`outputs.parameters[].valueFrom.path`; the file `log` there has the last lines of a step that
failed. `--logs-dir` has the whole log. The error is also written to `--termination-log`, because
Argo would otherwise show the end of the container's log, which has lines of Argo's executor.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol, TypeVar

from argotune.steps.common import log
from argotune.steps.common.errors import (
    Interrupted,
    ParamsError,
    StepError,
)
from argotune.steps.common.exhausted import step_error_of
from argotune.steps.common.fields import fields_of, parse_fields, text_of
from argotune.steps.common.fs import atomic_write
from argotune.steps.common.host_memory import MemoryWatch
from argotune.steps.common.log_files import TAIL, TAIL_LINES, LogFiles
from argotune.steps.common.progress import Progress
from argotune.steps.common.termination_log import TerminationLog

NAMESPACE_VARIABLE = "ARGOTUNE_NAMESPACE"
"""Environment variable with the namespace of a pod, for the commands that its messages propose."""

_OWN_FLAGS = {
    "outputs-dir": "directory for the output files",
    "logs-dir": "directory for STEP.log, the log of all attempts",
    "retries": "number of earlier attempts (default: 0)",
    "termination-log": "file for the error message that Kubernetes and Argo show",
    "memory-parameter": "workflow parameter that sets the container's memory limit; named in the"
    " message of a step that is killed for its memory use",
}

P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
P = TypeVar("P")
R = TypeVar("R")


class Run(Protocol[P_contra, R_co]):
    """A step's `run`; it may have clients as further keyword-only arguments with defaults."""

    def __call__(self, params: P_contra, /, *, progress: Progress) -> R_co:
        """Run the step and return its Result. Raises StepError."""
        ...


def main(
    params_type: type[P],
    result_type: type[R],
    run: Run[P, R],
    *,
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Parse the flags, run the step, write its outputs, and exit with the error's code."""
    log.set_up()
    # In a container this process is PID 1, which ignores SIGTERM unless it has a handler.
    signal.signal(signal.SIGTERM, _interrupt)
    flags = vars(_parser(params_type, result_type).parse_args(arguments))
    own = {name: flags.pop(name) for name in _OWN_FLAGS}
    outputs_dir = own["outputs-dir"]
    files = LogFiles(_name(params_type), outputs_dir=outputs_dir, logs_dir=own["logs-dir"])
    logging.getLogger().addHandler(files)
    files.begin(attempt=own["retries"] + 1)
    last_message = TerminationLog(own["termination-log"])
    watch = MemoryWatch(own["memory-parameter"], last_message.write)
    values = {name: text for name, text in flags.items() if text is not None}
    progress = Progress(_path(os.environ.get("ARGO_PROGRESS_FILE")))

    def step() -> None:
        with watch:
            _step(params_type, run, values, progress, outputs_dir, files)

    def note(text: str) -> None:
        files.note(text)
        last_message.write(f"error: {text}")

    _exit(step, note, memory_parameter=own["memory-parameter"])


def service_main(
    params_type: type[P],
    serve: Callable[[P], None],
    *,
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Parse the flags and run a server: it has no outputs, and SIGTERM ends it with exit code 0."""
    log.set_up()
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    flags = _parser(params_type, None).parse_args(arguments)
    values = {name: text for name, text in vars(flags).items() if text is not None}
    _exit(lambda: serve(parse_fields(params_type, values)))


def _step(
    params_type: type[P],
    run: Run[P, R],
    values: dict[str, str],
    progress: Progress,
    outputs_dir: Path | None,
    files: LogFiles,
) -> None:
    result = run(parse_fields(params_type, values), progress=progress)
    for field in dataclasses.fields(result):  # type: ignore[arg-type]
        text = text_of(getattr(result, field.name))
        log.event(logging.getLogger("argotune"), "result", **{field.name: _short(text)})
        if outputs_dir is not None:
            atomic_write(outputs_dir / field.name.replace("_", "-"), text)
    files.succeed()


def _exit(
    step: Callable[[], None],
    note: Callable[[str], None] = lambda text: None,
    *,
    memory_parameter: str | None = None,
) -> NoReturn:
    """Run the step and exit; the last line on stderr is the error.

    Each error line is also passed to `note`.
    """
    try:
        step()
    except Exception as error:
        messages, exit_code = _messages(error, memory_parameter)
    except Interrupted as error:
        messages, exit_code = [str(error)], error.exit_code
    except KeyboardInterrupt:
        messages, exit_code = ["interrupted"], 130
    else:
        sys.exit(0)
    sys.stdout.flush()
    for message in messages:
        text = _with_namespace(log.redact_urls(" ".join(message.split())))
        note(text)
        print(f"error: {text}", file=sys.stderr, flush=True)
    sys.exit(exit_code)


def _with_namespace(text: str) -> str:
    """Name the pod's namespace in what the text proposes of `argotune install`."""
    namespace = os.environ.get(NAMESPACE_VARIABLE)
    if not namespace:
        return text
    return text.replace("`argotune install --", f"`argotune install -n {namespace} --")


def _messages(error: Exception, memory_parameter: str | None) -> tuple[list[str], int]:
    """The lines to print for an error, its full message last, and the exit code."""
    if isinstance(error, StepError):
        problems = error.problems if isinstance(error, ParamsError) else []
        return [*(problems if len(problems) > 1 else []), str(error)], error.exit_code
    known = step_error_of(error, memory_parameter)
    if known is not None:
        return [str(known)], known.exit_code
    logging.getLogger("argotune").error("bug", exc_info=error)
    return [f"bug in this step: {type(error).__name__}: {error}"], 1


def _parser(params_type: type, result_type: type | None) -> argparse.ArgumentParser:
    package = params_type.__module__.rpartition(".")[0]
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}",
        description=params_type.__doc__,
        epilog=_outputs_help(result_type) if result_type else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if result_type:
        _add_own_flags(parser)
    for field in fields_of(params_type):
        default = "" if field.default in (None, "") else f" (default: {field.default})"
        choices = f" One of {', '.join(field.choices)}." if field.choices else ""
        text = f"{field.doc}{choices}{default}".replace("%", "%%")
        parser.add_argument(f"--{field.kebab}", dest=field.kebab, metavar="VALUE", help=text)
    return parser


def _add_own_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every step has in addition to its Params."""
    types = {"retries": int, "memory-parameter": str}
    for name, text in _OWN_FLAGS.items():
        parser.add_argument(
            f"--{name}",
            dest=name,
            metavar="VALUE",
            type=types.get(name, _path),
            default=0 if name == "retries" else None,
            help=text,
        )


def _outputs_help(result_type: type) -> str:
    lines = [
        *(f"  {field.kebab}: {field.doc}" for field in fields_of(result_type)),
        f"  {TAIL}: The last {TAIL_LINES} lines of the log if the step failed, else empty.",
    ]
    return "\n".join(["files in the outputs directory:", *lines])


def _interrupt(signum: int, frame: FrameType | None) -> Any:
    raise Interrupted(f"stopped by {signal.Signals(signum).name}; a retry resumes from here")


def _name(params_type: type) -> str:
    """The step's name: tune for module argotune.steps.tune.params, and for those below it."""
    return params_type.__module__.split(".")[2]


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
