"""The command `argotune`: finds the command's module, runs it, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from argotune.steps.common.printable import printable, wants_plain_text
from argotune.workflows.cli.errors import INTERRUPTED, NOT_POSSIBLE, as_cli_error, os_message
from argotune.workflows.cli.streams import (
    named_stdout,
    open_closed_streams,
    printable_streams,
    write_any_character,
)

COMMANDS = {
    "run": "Run a workspace, or any Argo Workflow, on this machine, and show its steps.",
    "submit": "Check and plan a workspace here, then create its Workflow on the cluster.",
    "render": "Print a workspace as an Argo Workflow.",
    "plan": "Show what a run would do: hyperparameters, GPU memory, and the SKUs that fit.",
    "data": "Look at the data of a workspace: tokens, steps, cost, duplicates, secrets.",
    "presets": "The models that can be tuned: a table, one preset whole, or one made of any model.",
    "status": "Show the workspaces of this machine or of a cluster, or the steps of one run.",
    "runs": "List all runs of this machine, the newest first, with their size on disk.",
    "rm": "Delete runs of this machine or of a cluster: records, logs, checkpoints and data.",
    "logs": "Print the logs of a run's steps, each line with its step.",
    "evaluate": "Measure models on the same rows: losses, your checks, answers side by side.",
    "report": "Show what a run left: data, losses, plan, answers; the files with --to.",
    "verify": "Check an adapter: its files, where it comes from, and who signed that.",
    "stop": "Stop the run of a workspace; on this machine its service too.",
    "approve": "Let a run that waits for its approval deploy its adapter.",
    "reject": "End a run that waits for its approval; what is in service stays.",
    "start": "Start a service again that was stopped or lost, without training.",
    "versions": "List an adapter's versions: losses, data, cost, who deployed them, which is live.",
    "compare": "Show two adapters side by side: settings, data, losses, checks, answers.",
    "rollback": "Answer with an earlier version of an adapter again, without training.",
    "schedule": "Tune a workspace again at given times, when data, plan or weights have changed.",
    "schedules": "Show a namespace's schedules: times, last and next run, and obstacles.",
    "pause": "Pause a schedule: it begins no runs until it is resumed.",
    "resume": "Resume a paused schedule.",
    "trigger": "Begin a run of a schedule now, even if it is paused.",
    "unschedule": "Delete a schedule, and with it the records of its ended runs.",
    "tiny": "Make the weights of preset tiny on this machine, to try a run with.",
    "chat": "Ask the model that a run deployed, on this machine or on a cluster.",
    "doctor": "Check this machine or a cluster before a run depends on it, and say what to do.",
    "install": "Install argotune in a namespace: accounts, permissions, policies, templates.",
    "gc": "Delete agent pools and NodeClaims of runs that have ended, or whose time is over.",
    "uninstall": "Delete what `argotune install` made in a namespace.",
}
"""The text of `--help` for each."""

NAME = "argotune"
KUBECTL_NAME = "kubectl argotune"
"""As whom the command speaks where kubectl calls it as its plugin."""
_COMPLETE_VARIABLE = f"_{NAME.upper()}_COMPLETE"
"""Variable by which typer is asked for completions."""
_HELP = """Fine-tune open language models on your own Kubernetes, or try it all on this machine.

FILE is a Kaito Workspace; `run` takes any Argo Workflow too.
"""
# One line for each paragraph, because typer keeps line breaks.
_EPILOG = (
    "Exit codes: 0 well, 1 the run failed, 2 the input is wrong, 3 it cannot be done here or now,"
    " 130 interrupted.\n\n"
    "Runs, services and models are kept in $ARGOTUNE_HOME, by default ~/.argotune."
)


class _Commands(TyperGroup):
    """Loads the module of a command only when it is called.

    All of them together take half a second to import.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and _load(str(name)), rest

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader, such as head, has closed stdout, which typer would report as a failure.
            raise typer.Exit from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


_SCHEDULES = ("schedule", "schedules", "pause", "resume", "trigger", "unschedule")
_TOGETHER = {
    **dict.fromkeys(_SCHEDULES, "schedules"),
    **dict.fromkeys(("approve", "reject"), "approval"),
}
"""Commands of one module, and that module."""


def _load(name: str) -> Any:
    module = _TOGETHER.get(name, name)
    command: Any = typer.main.get_command(
        importlib.import_module(f"argotune.workflows.cli.commands.{module}").app
    )
    if name in _TOGETHER:
        command = command.commands[name]
    command.name = name
    # Not around the parsing: typer colours its help and complaints by itself.
    command.callback = printable_streams()(command.callback)
    return command


app = typer.Typer(
    cls=_Commands,
    help=_HELP,
    epilog=_EPILOG,
    no_args_is_help=True,
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
    open_closed_streams()
    write_any_character()
    if wants_plain_text():
        # For the consoles that typer makes for help and complaints; rich documents the variable.
        os.environ["TTY_COMPATIBLE"] = "0"
    if threading.current_thread() is threading.main_thread():
        # Like Ctrl-C, so that a command deletes what it made on the cluster.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with named_stdout():
        exit_code = _run(arguments)
        exit_code = _flush() or exit_code
    sys.exit(exit_code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        app(arguments, prog_name=_own_name(arguments), complete_var=_COMPLETE_VARIABLE)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    except Exception as error:
        known = as_cli_error(error)
        if known is None:
            raise
        return _say(known.problems, known.exit_code)
    return 0


def complete_for_kubectl() -> NoReturn:
    """Print what completes the arguments, as kubectl asks the program kubectl_complete-PLUGIN.

    The last argument is what is incomplete. kubectl takes the lines, or else names of files.
    """
    words = [NAME, *sys.argv[1:]]
    os.environ |= {
        _COMPLETE_VARIABLE: "complete_bash",
        "COMP_WORDS": shlex.join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    main([])


def _own_name(arguments: Sequence[str] | None) -> str:
    """Return the name in the usage text; a script for completion is always that of `argotune`."""
    given = sys.argv[1:] if arguments is None else arguments
    is_of_kubectl = Path(sys.argv[0]).name.startswith("kubectl")
    is_about_completion = any(each.endswith("-completion") for each in given)
    return KUBECTL_NAME if is_of_kubectl and not is_about_completion else NAME


def _flush() -> int:
    """Write the rest of the output while a failure can still be reported."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at exit, and print a warning.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            return _say([os_message(error)], NOT_POSSIBLE)
    return 0


def _say(problems: Sequence[str], exit_code: int) -> int:
    for problem in problems:
        print(f"error: {printable(problem)}", file=sys.stderr)
    return exit_code
