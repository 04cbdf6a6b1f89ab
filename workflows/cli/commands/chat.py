"""argotune chat: ask a served model."""

from __future__ import annotations

import signal
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from argotune.steps.contracts.client_keys import read_keys
from argotune.steps.contracts.services import KEYS, is_alive, read_service
from argotune.workflows.cli.chat_client import Served, models_of
from argotune.workflows.cli.completion import run_names
from argotune.workflows.cli.console import console
from argotune.workflows.cli.conversation import Conversation, show_answers
from argotune.workflows.cli.errors import INTERRUPTED, CliError, InputError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.runs import local_runs, not_running
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.service import served_on
from argotune.workflows.cli.texts import read_standard_input
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

_NEW = "/new"
_HELP = f"{_NEW} begins a new conversation, Ctrl-C ends an answer, Ctrl-D ends the program"

app = typer.Typer(add_completion=False)


@app.command()
def chat(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the workspace, which is its service's.", autocompletion=run_names
        ),
    ],
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The question. Without one, text from a pipe or file is one question; on a"
            " terminal a conversation begins."
        ),
    ] = None,
    base: Annotated[
        bool, typer.Option("--base", help="Ask the base model instead of the tuned one.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Ask the base model and the tuned one.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Another model of the service, such as an adapter that it has by name."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="System message, which the conversation begins with.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="0: always the likeliest token; higher: more varied.", min=0, max=2),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Longest answer, tokens.", min=1)
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Ask the model that a run deployed, on this machine or on a cluster."""
    if base and compare:
        raise InputError("--base, --compare: give one; --compare asks the base model too")
    if base and model is not None:
        raise InputError("--base, --model: give one; both name what is asked")
    cluster = chosen_cluster(namespace, context, on_cluster)
    served = service_of(cluster, name)
    options = _options(temperature=temperature, max_completion_tokens=max_new_tokens)
    conversations = [
        Conversation(served, title, {**options, "model": asked}, system)
        for title, asked in _models(served, model, base=base, compare=compare)
    ]
    if prompt is None and sys.stdin.isatty():
        _converse(conversations)
        return
    question = read_standard_input() if prompt is None else prompt
    if not question.strip():
        raise InputError("the question is empty")
    show_answers(console(), conversations, question)


def service_of(cluster: Cluster | None, name: str) -> Served:
    """Return the service of a workspace, of this machine without a cluster."""
    return served_here(name) if cluster is None else served_on(cluster, name)


def base_model(served: Served) -> str:
    """Return the name of the base model that a service serves. Raises CliError without one."""
    models = models_of(served)
    bases = [name for name, parent in models.items() if not parent and name != served.name]
    base = served.base or models.get(served.name) or next(iter(bases), "")
    if base not in bases:
        raise CliError(
            f"{served.endpoint}: does not serve the base model {base}; it serves"
            f" {', '.join(models)}"
        )
    return base


def _models(
    served: Served, model: str | None, *, base: bool, compare: bool
) -> list[tuple[str, str]]:
    """List the title and the name of each model that is asked."""
    if base:
        return [("base", base_model(served))]
    asked = (model or "tuned", model or served.name)
    return [("base", _base_beside(served, asked[1])), asked] if compare else [asked]


def _base_beside(served: Served, model: str) -> str:
    """Return the base model, to compare another one with. Raises InputError for the base itself."""
    models = models_of(served)
    tuned = [name for name, parent in models.items() if parent]
    if model in models and model not in tuned:
        raise InputError(
            f"--compare: {model} is the base model itself; "
            + (f"name an adapter by --model: {', '.join(tuned)}" if tuned else "it has no adapter")
        )
    return base_model(served)


def _options(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _converse(conversations: list[Conversation]) -> None:
    """Read questions from the terminal and print the answers, until Ctrl-D."""
    # Half a hundred modules, which no other command needs.
    from argotune.workflows.cli.chat_prompt import prompt_session

    served, shown = conversations[0].served, console()
    print(f"Talking to {served.name} at {served.endpoint}; {_HELP}.")
    session = prompt_session()
    signal.signal(signal.SIGTERM, _end)
    while True:
        try:
            question = session.prompt("> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if question == _NEW:
            for conversation in conversations:
                conversation.begin_anew()
        elif question.startswith("/") and " " not in question:
            print(f"{question}: no such command; {_HELP}")
        elif question:
            _answer(shown, conversations, question)


def _answer(shown: Any, conversations: list[Conversation], question: str) -> None:
    """Print the answers; Ctrl-C ends them, and a failed one does not end the conversation."""
    try:
        show_answers(shown, conversations, question)
    except KeyboardInterrupt:
        print("(ended)")
    except CliError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)


def _end(signum: int, frame: FrameType | None) -> None:
    # Ctrl-C ends an answer; SIGTERM, which is taken for it elsewhere, ends the program.
    raise SystemExit(INTERRUPTED)


def _key_here(file: Path) -> str | None:
    """A key of a service on this machine, which its own user can read."""
    return next(iter(read_keys(file).values())) if file.exists() else None


def served_here(name: str) -> Served:
    """Return the service of that name on this machine. Raises InputError when none runs."""
    services_dir = home().services_dir
    service = read_service(services_dir, name)
    if service is not None and is_alive(service):
        host = urlsplit(service.endpoint).netloc
        return Served(
            name=name,
            endpoint=service.endpoint,
            base=service.model.partition("@")[0],
            log=f"{name}'s server.log",
            key=_key_here(services_dir / (service.host or name) / KEYS),
            connect=lambda timeout_seconds: closing(HTTPConnection(host, timeout=timeout_seconds)),
        )
    of_run = [run.workspace for run in local_runs(home()) if run.name == name]
    if of_run:
        raise InputError(
            f"{name!r}: is a run; a service has its workspace's name: argotune chat {of_run[0]}"
        )
    raise InputError(f"{name!r}: {not_running(home(), name)}")
