"""Replacements of the Secrets of a run on this machine: directories, and the user's environment.

Values of the environment are never stored: a run's record has the names of the variables for each
Secret, and only steps whose template names that Secret get them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from argotune.workflows.cli.home import Home
from argotune.workflows.engine.errors import naming
from argotune.workflows.engine.record import has_record
from argotune.workflows.workspace.tags import parameter_of

_FROM_ENVIRONMENT = "from-environment.json"

Document = dict[str, Any]
Variables = dict[str, dict[str, str]]
"""Secret to key to the variable of the environment that replaces it."""


def docker_login(here: Home, run: str, secret: str) -> Path:
    """Return a directory like the cluster's Secret, whose one file is this user's docker login."""
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    directory = here.secret_dir(run, secret)
    directory.mkdir(parents=True)
    if own.exists():
        (directory / ".dockerconfigjson").symlink_to(own)
    return directory


def secret_files(here: Home, run: str, secret: Document) -> Path:
    """Write the Secret as a directory that only this user reads, outside of the run's record."""
    directory = here.secret_dir(run, secret["metadata"]["name"])
    directory.mkdir(parents=True, mode=0o700)
    for key, text in secret["stringData"].items():
        with naming(directory / key):
            (directory / key).write_text(text)
    return directory


def keep_variables(here: Home, run: str, workflow: Document) -> None:
    """Store for the run, and for `run --resume`, which variables replace its steps' Secrets."""
    path = here.secret_dir(run, _FROM_ENVIRONMENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        path.write_text(json.dumps(_variables_of(workflow)))


def forget_unrecorded(here: Home, run: str) -> None:
    """Delete the Secrets of a run that has not begun, and its directory where nothing else is."""
    if has_record(here.runs_dir / run):
        return
    shutil.rmtree(here.secret_dir(run, ""), ignore_errors=True)
    with contextlib.suppress(OSError):
        (here.runs_dir / run).rmdir()


def from_environment(here: Home, run: str, environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the values of the run's Secrets in the environment; none for a foreign workflow."""
    path = here.secret_dir(run, _FROM_ENVIRONMENT)
    kept: Variables = json.loads(path.read_text()) if path.exists() else {}
    found = {
        secret: {key: environ[name] for key, name in names.items() if name in environ}
        for secret, names in kept.items()
    }
    return {secret: values for secret, values in found.items() if values}


def _variables_of(workflow: Document) -> Variables:
    spec = workflow["spec"]
    parameters = {
        parameter["name"]: str(parameter["value"]) for parameter in spec["arguments"]["parameters"]
    }
    found: Variables = {}
    for variable in _variables(spec):
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference:
            name = parameters.get(parameter_of(reference["name"]) or "", reference["name"])
            found.setdefault(name, {})[reference["key"]] = variable["name"]
    return found


def _variables(spec: Document) -> Iterator[Document]:
    for template in spec["templates"]:
        yield from (template.get("container") or {}).get("env") or []
