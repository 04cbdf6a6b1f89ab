"""The YAML of every template and of the objects beside them, as workflows/rendered contains it."""

from __future__ import annotations

from pathlib import Path

import yaml

from argotune.workflows.templates import (
    accounts,
    admission,
    cluster_permissions,
    finetune,
    gc,
    model_cache,
    network,
    permissions,
    retrain,
)

RENDERED_DIR = Path(__file__).parent.parent / "rendered"
_HEADER = "# Written by `make golden` from workflows/templates/{}.py; edit that.\n"
_PLAIN = (accounts, permissions, cluster_permissions, admission, network, model_cache)


def golden() -> dict[str, str]:
    """Map each file's name to its YAML text."""
    argo = {module: module.build().to_yaml() for module in (finetune, retrain)}
    collection = f"{gc.build().to_yaml()}---\n{gc.build_schedule().to_yaml()}"
    plain = {module: yaml.safe_dump_all(module.build(), sort_keys=False) for module in _PLAIN}
    return {
        f"{module.NAME}.yaml": _HEADER.format(module.__name__.rpartition(".")[2]) + text
        for module, text in {**argo, gc: collection, **plain}.items()
    }
