"""argotune chat: ask a served model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from argotune.steps.contracts.services import is_alive, list_services, read_service
from argotune.workflows.cli.chat_client import Served, ask, models_of
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.runs import local_runs
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.service import served_on
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)


@app.command()
def chat(
    name: Annotated[str, typer.Argument(help="Name of the workspace, which is its service's.")],
    prompt: Annotated[
        str | None, typer.Argument(help="The question; without one, lines are read until the end.")
    ] = None,
    base: Annotated[
        bool, typer.Option("--base", help="Ask the base model instead of the tuned one.")
    ] = False,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Longest answer, tokens.", min=1)
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Ask the model that a run deployed, on this machine or on a cluster."""
    cluster = chosen_cluster(namespace, context, on_cluster)
    served = service_of(cluster, name)
    options = ask_options(served, base=base, max_new_tokens=max_new_tokens)
    if prompt is not None:
        print(ask(served, prompt, **options))
        return
    interactive = sys.stdin.isatty()
    if interactive:
        print(f"Talking to {served.name} at {served.endpoint}; Ctrl-D ends.")
    for line in _lines(interactive):
        print(ask(served, line, **options))


def service_of(cluster: Cluster | None, name: str) -> Served:
    """Return the service of a workspace, of this machine without a cluster."""
    return served_here(name) if cluster is None else served_on(cluster, name)


def ask_options(served: Served, *, base: bool, max_new_tokens: int | None) -> dict[str, Any]:
    """Return what a request has beside its prompt. Raises CliError without a base model."""
    options: dict[str, Any] = {"model": _base_model(served)} if base else {}
    if max_new_tokens:
        options["max_new_tokens"] = max_new_tokens
    return options


def _base_model(served: Served) -> str:
    models = models_of(served)
    others = [model for model in models if model != served.name]
    base = served.base or next(iter(others), "")
    if base not in others:
        raise CliError(
            f"{served.endpoint}: does not serve the base model {base}; it serves"
            f" {', '.join(models)}"
        )
    return base


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
            connect=lambda timeout_seconds: closing(HTTPConnection(host, timeout=timeout_seconds)),
        )
    of_run = [run.workspace for run in local_runs(home()) if run.name == name]
    if of_run:
        raise InputError(
            f"{name!r}: is a run; a service has its workspace's name: argotune chat {of_run[0]}"
        )
    running = [known.name for known in list_services(services_dir) if is_alive(known)]
    there = f"running are {', '.join(running)}" if running else "none is running"
    raise InputError(f"{name!r}: no running service of this name on this machine; {there}")


def _lines(interactive: bool) -> Iterator[str]:
    while True:
        try:
            line = input("> " if interactive else "").strip()
        except EOFError:
            return
        if line:
            yield line
