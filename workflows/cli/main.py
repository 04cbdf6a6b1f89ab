"""The command `argotune`: finds the command's module, runs it, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version as version_of
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from steps.common.errors import StepError
from workflows.cli.errors import INTERRUPTED, CliError
from workflows.engine.errors import EngineError
from workflows.workspace.errors import WorkspaceError

_COMMANDS = ("run", "submit", "render", "plan", "presets", "status", "logs", "stop", "chat")
_HELP = """Fine-tune open language models on your own Kubernetes, or try it all on this machine.

FILE is a Kaito Workspace; `run` takes any Argo Workflow too.

Exit codes: 0 well; 1 the run failed; 2 the input is wrong; 3 it cannot be done here or now;
130 interrupted.
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


app = typer.Typer(
    cls=_Commands,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
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


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        app(standalone_mode=True)
    except (CliError, EngineError, WorkspaceError) as error:
        sys.exit(_say(error.problems, getattr(error, "exit_code", 2)))
    except StepError as error:
        sys.exit(_say(getattr(error, "problems", [str(error)]), min(error.exit_code, 3)))
    except KeyboardInterrupt:
        sys.exit(_say(["interrupted"], INTERRUPTED))
    except BrokenPipeError:
        # The reader, such as head, has what it wants; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_say([f"{where}{error.strerror or error}"], 3))
    sys.exit(0)


def _say(problems: list[str], exit_code: int) -> int:
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return exit_code
