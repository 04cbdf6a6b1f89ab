"""The command `argotune`: finds the command's module, runs it, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from steps.common.errors import StepError
from workflows.cli.errors import INPUT_WRONG, INTERRUPTED, NOT_POSSIBLE, CliError
from workflows.engine.errors import EngineError
from workflows.workspace.errors import WorkspaceError

_COMMANDS = ("run", "submit", "render", "plan", "presets", "status", "logs", "stop", "chat")
_HELP = """Fine-tune open language models on your own Kubernetes, or try it all on this machine.

FILE is a Kaito Workspace; `run` takes any Argo Workflow too.
"""
_EPILOG = """Exit codes: 0 well, 1 the run failed, 2 the input is wrong, 3 it cannot be done here or
now, 130 interrupted.

Runs, services and models are kept in $ARGOTUNE_HOME, by default ~/.argotune.
"""


class _Commands(TyperGroup):
    """Loads a command's module when it is asked for, so that `--help` of one is quick."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(_COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str):  # type: ignore[no-untyped-def, override]
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"workflows.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader, such as head, has what it wants; typer would call it a failure.
            raise typer.Exit from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help=_HELP,
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        # It takes a tenth of the time that a quick command has.
        from importlib.metadata import version as version_of

        print(f"argotune {version_of('argotune')}")
        raise typer.Exit


@app.callback()
def _argotune(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, by default this process's, and exit."""
    exit_code = _run(arguments)
    sys.exit(_flush() or exit_code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        app(arguments, prog_name="argotune")
    except SystemExit as exit_:
        return int(exit_.code or 0)
    except (CliError, EngineError, WorkspaceError) as error:
        return _say(error.problems, getattr(error, "exit_code", INPUT_WRONG))
    except StepError as error:
        problems = getattr(error, "problems", [str(error)])
        return _say(problems, min(error.exit_code, NOT_POSSIBLE))
    except OSError as error:
        return _say([_os_message(error)], NOT_POSSIBLE)
    return 0


def _flush() -> int:
    """Write what is left of the output while a failure can still be told."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            return _say([_os_message(error)], NOT_POSSIBLE)
    return 0


def _os_message(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _say(problems: Sequence[str], exit_code: int) -> int:
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return exit_code
