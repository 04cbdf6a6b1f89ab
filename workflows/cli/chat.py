"""argotune chat: ask a served model."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from steps.common.services import Service, is_alive, list_services, read_service
from workflows.cli.errors import CliError, InputError
from workflows.cli.home import home

app = typer.Typer(add_completion=False)

_TIMEOUT_SECONDS = 300


@app.command()
def chat(
    name: Annotated[str, typer.Argument(help="Name of the workspace.")],
    prompt: Annotated[
        str | None, typer.Argument(help="The question; without one, lines are read until the end.")
    ] = None,
    base: Annotated[
        bool, typer.Option("--base", help="Ask the base model instead of the tuned one.")
    ] = False,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Longest answer, tokens.", min=1)
    ] = None,
) -> None:
    """Ask the model that a run on this machine deployed."""
    service = _running(name)
    options: dict[str, Any] = {"model": _base_model(service)} if base else {}
    if max_new_tokens:
        options["max_new_tokens"] = max_new_tokens
    if prompt is not None:
        print(ask(service, prompt, **options))
        return
    interactive = sys.stdin.isatty()
    if interactive:
        print(f"Talking to {service.name} at {service.endpoint}; Ctrl-D ends.")
    for line in _lines(interactive):
        print(ask(service, line, **options))


def ask(service: Service, prompt: str, **options: Any) -> str:
    """The answer to one prompt. Raises CliError with the server's own words."""
    answer = _request(service, "POST", "/chat", {"prompt": prompt, **options})
    return str(answer["response"])


def _base_model(service: Service) -> str:
    served = [str(model["id"]) for model in _request(service, "GET", "/v1/models")["data"]]
    base = service.model.partition("@")[0]
    if base not in served:
        raise CliError(
            f"{service.endpoint}: does not serve the base model {base}; it serves"
            f" {', '.join(served)}"
        )
    return base


def _running(name: str) -> Service:
    services_dir = home().services_dir
    service = read_service(services_dir, name)
    if service is not None and is_alive(service):
        return service
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


def _request(
    service: Service, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    host = urlsplit(service.endpoint).netloc
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT_SECONDS)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CliError(f"{service.endpoint}: {error}; see {service.name}'s server.log") from error
    finally:
        connection.close()
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        raise CliError(f"{service.endpoint}{path}: HTTP {response.status}, no JSON") from None
    if response.status != 200 or not isinstance(answer, dict):
        raise CliError(f"{service.endpoint}{path}: HTTP {response.status}: {_reason(answer)}")
    return answer


def _reason(answer: Any) -> str:
    """The server's words, in OpenAI's form of an error."""
    try:
        return str(answer["error"]["message"])
    except (KeyError, TypeError):
        return json.dumps(answer)
