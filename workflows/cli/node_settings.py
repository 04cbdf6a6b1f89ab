"""What a run needs to know of a cloud that its file may leave to the installation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workflows.cli import manifests
from workflows.cli.errors import InputError
from workflows.cli.install_settings import parameters_of
from workflows.workspace.model import PREFIX, Workspace
from workflows.workspace.nodes import FROM_THE_INSTALLATION

if TYPE_CHECKING:
    from workflows.cli.cluster import Cluster


def check_node_settings(workspace: Workspace, template: Mapping[str, Any]) -> None:
    """Raise InputError where neither the file nor the template says what the provider needs."""
    options = workspace.options
    name = FROM_THE_INSTALLATION.get(options.provider or "")
    if name is None or (options.provider, options.karpenter_mode) == ("karpenter", "nodepool"):
        return
    installed = parameters_of(dict(template)).get(name) or {}
    if getattr(options, name.replace("-", "_")) or installed.get("value"):
        return
    raise InputError(
        f"metadata.annotations.{PREFIX}{name}: missing; provider {options.provider} needs it, "
        f"here or for all runs by `argotune install --{name}`"
    )


def installed_parameter(cluster: Cluster, name: str) -> str:
    """What the installation in the cluster's namespace says for all runs; empty where it does not,
    and where there is none."""
    template = cluster.get("WorkflowTemplate", manifests.NAME)
    parameter = parameters_of(template).get(name) if template else None
    return str(parameter.get("value", "")) if parameter else ""
