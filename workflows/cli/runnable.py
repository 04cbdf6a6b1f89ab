"""What `argotune run` gives to the engine, made from a workspace or from Argo's own documents."""

from __future__ import annotations

import os
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steps.common import strict_yaml
from steps.common.model_cache import cache_path, is_complete
from workflows.cli import manifests, workspaces
from workflows.cli.errors import CliError, InputError
from workflows.cli.home import Home
from workflows.cli.url_secret import split_urls
from workflows.engine.load import parse_documents
from workflows.workspace.checks import is_dns_subdomain
from workflows.workspace.translate import to_parameters

Document = dict[str, Any]
Texts = Sequence[tuple[str, str]]

_RANDOM_CHARACTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True, kw_only=True)
class Runnable:
    """A run that can start."""

    name: str
    """Of the run: unique on this machine."""
    documents: list[Document]
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Directories that stand for Secrets."""


def holds_workspace(texts: Texts) -> bool:
    """Whether a Workspace is among the documents. Raises InputError when a text is no YAML."""
    problems, kinds = [], set()
    for source, text in texts:
        try:
            documents = [document.value for document in strict_yaml.load_all(text)]
        except strict_yaml.YamlProblem as problem:
            problems.append(f"{source}: {problem}")
            continue
        kinds |= {kind for document in documents for kind in _kinds(document)}
    if problems:
        raise InputError(problems)
    return "Workspace" in kinds


def from_workspace(
    texts: Texts, here: Home, *, overrides: Mapping[str, str], allow_loopback: bool
) -> Runnable:
    """Plan the workspace for this machine, and make its Workflow."""
    planned = workspaces.load(
        texts,
        overrides=overrides,
        allow_loopback=allow_loopback,
        must_be_final=True,
        on_this_machine=True,
    )
    _check_weights(planned, here)
    workspaces.print_warnings(planned)
    workspace = planned.workspace
    name = _random_name(workspace.name)
    arguments, url_secret = split_urls(
        workspace.name,
        workspace.urls,
        {
            "provider": "local",
            "deploy-to": "process",
            "services-dir": str(here.services_dir),
            **to_parameters(workspace, allow_loopback=allow_loopback),
        },
    )
    secrets = {}
    if workspace.push_secret:
        secrets[workspace.push_secret] = _docker_login(here, name, workspace.push_secret)
    if url_secret:
        secrets[url_secret["metadata"]["name"]] = _secret_files(here, name, url_secret)
    return Runnable(name=name, documents=[manifests.workflow(arguments)], secrets=secrets)


def from_documents(texts: Texts, name: str | None) -> Runnable:
    """Argo's documents as they are; without a name the run gets one like its Workflow's."""
    documents = _parse(texts)
    if name is not None:
        _check_name(name, "--name")
        return Runnable(name=name, documents=documents)
    prefix = _name_among(documents)
    _check_name(prefix, "metadata.name")
    return Runnable(
        name=_random_name(prefix),
        documents=[_with_generated_name(document) for document in documents],
    )


def name_in(texts: Texts) -> str:
    """The name of the workspace or workflow in the texts."""
    return _name_among(_parse(texts))


def _parse(texts: Texts) -> list[Document]:
    return [document for source, text in texts for document in parse_documents(text, source)]


def _kinds(document: object) -> list[object]:
    if not isinstance(document, dict):
        return []
    items = document.get("items")
    inner = [kind for item in items for kind in _kinds(item)] if isinstance(items, list) else []
    return [document.get("kind"), *inner]


def _name_among(documents: Sequence[Document]) -> str:
    for document in documents:
        if document["kind"] in ("Workspace", "Workflow", "WorkflowTemplate", "CronWorkflow"):
            metadata = document.get("metadata")
            given = metadata if isinstance(metadata, dict) else {}
            return str(given.get("name") or given.get("generateName") or "workflow").rstrip("-")
    return "workflow"


def _with_generated_name(document: Document) -> Document:
    """A Workflow under a name of its own can run once; here it may run again, so the name becomes
    the beginning of one, and `status` and `--resume` know the runs by it."""
    metadata = document.get("metadata")
    if document["kind"] != "Workflow" or not isinstance(metadata, dict):
        return document
    return {**document, "metadata": {"generateName": f"{metadata.get('name')}-", **metadata}}


def _random_name(prefix: str) -> str:
    """Kubernetes' way to make a name of a generateName."""
    return f"{prefix}-{''.join(random.choices(_RANDOM_CHARACTERS, k=5))}"


def _check_name(name: str, where: str) -> None:
    if not is_dns_subdomain(name):
        raise InputError(
            f"{where}: {name!r}; accepted are lower-case letters, digits, '-' and '.', a letter or"
            " digit first and last"
        )


def _check_weights(planned: workspaces.Planned, here: Home) -> None:
    model, claim = planned.plan.model, planned.workspace.options.model_cache_claim
    directory = cache_path(here.model_cache(claim), model.repository, model.revision)
    if model.source == "cache" and not is_complete(directory):
        raise CliError(
            f"the weights of preset {model.preset} are not in {directory}; `make tiny` makes them"
        )


def _docker_login(here: Home, run_name: str, secret: str) -> Path:
    """A directory like the cluster's Secret, whose one file is this user's docker login."""
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    directory = here.secret_dir(run_name, secret)
    directory.mkdir(parents=True)
    if own.exists():
        (directory / ".dockerconfigjson").symlink_to(own)
    return directory


def _secret_files(here: Home, run_name: str, secret: Document) -> Path:
    """The Secret as a directory that only this user reads: it stays out of the run's record."""
    directory = here.secret_dir(run_name, secret["metadata"]["name"])
    directory.mkdir(parents=True, mode=0o700)
    for key, text in secret["stringData"].items():
        (directory / key).write_text(text)
    return directory
