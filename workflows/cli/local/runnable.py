"""The input of the engine for `argotune run`: Argo's own documents, and how they run here."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argotune.steps.common import strict_yaml
from argotune.steps.common.values import is_dns_subdomain
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.listener import ViewListener
from argotune.workflows.cli.local.secrets import from_environment
from argotune.workflows.cli.show.view import View
from argotune.workflows.engine.pods.process import inherited_environment
from argotune.workflows.engine.run import Options
from argotune.workflows.engine.state.load import parse_documents
from argotune.workflows.workspace.documents import Texts
from argotune.workflows.workspace.manifests import random_name

Document = dict[str, Any]

# Where the Hub is, no secret. Logins reach the steps whose template names their Secret.
_PASSED_ON = ("HF_ENDPOINT",)
_WORKING_DIR = Path("/")
"""The directory of a container whose image and template name none."""


@dataclass(frozen=True, kw_only=True)
class Runnable:
    """A run that can start."""

    name: str
    """Name of the run, unique on this machine."""
    documents: list[Document]
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Directories that replace Secrets."""
    is_of_others: bool = False
    """Whether it is no Workspace's, so that the user agrees to its steps first."""


def holds_workspace(texts: Texts) -> bool:
    """Whether a Workspace is among the documents. Raises InputError when a text is not YAML."""
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


def from_documents(texts: Texts, name: str | None) -> Runnable:
    """Build a run of Argo's documents; without a name it gets one from its Workflow's."""
    documents = _parse(texts)
    if not documents:
        files = ", ".join(source for source, _ in texts)
        raise InputError(f"{files}: empty; accepted is a Workspace or an Argo Workflow")
    if name is not None:
        _check_name(name, "--name")
        return Runnable(name=name, documents=documents, is_of_others=True)
    prefix = _name_among(documents)
    _check_name(prefix, "metadata.name")
    return Runnable(
        name=random_name(prefix),
        documents=[_with_generated_name(document) for document in documents],
        is_of_others=True,
    )


def name_in(texts: Texts) -> str:
    """Return the name of the workspace or workflow in the texts."""
    return _name_among(_parse(texts))


def engine_options(
    here: Home, name: str, secrets: Mapping[str, Path], view: View, **given: Any
) -> Options:
    """Return the engine's options for a run of this home; `given` are further ones."""
    here.make()
    if here.is_open_to_others:
        print(
            f"warning: {here.root} is open to other users of this machine, and runs hold logins"
            f" and data; close it: chmod 700 {shlex.quote(str(here.root))}",
            file=sys.stderr,
        )
    passed_on = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    return Options(
        name=name,
        run_dir=here.runs_dir / name,
        claims_dir=here.claims_dir,
        working_dir=_WORKING_DIR,
        secrets=secrets,
        secret_values=from_environment(here, name, os.environ),
        environ={**inherited_environment(os.environ), **passed_on},
        listener=ViewListener(view),
        **given,
    )


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
    """Turn the name of a Workflow into the beginning of a generated one.

    A Workflow with a fixed name could run only once. `status` and `--resume` know the runs by the
    original name.
    """
    metadata = document.get("metadata")
    if document["kind"] != "Workflow" or not isinstance(metadata, dict):
        return document
    return {**document, "metadata": {"generateName": f"{metadata.get('name')}-", **metadata}}


def _check_name(name: str, where: str) -> None:
    if not is_dns_subdomain(name):
        raise InputError(
            f"{where}: {name!r}; accepted are lower-case letters, digits, '-' and '.', a letter or"
            " digit first and last"
        )
