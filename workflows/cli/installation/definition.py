"""The definition of Workspaces in a cluster, and the Workspaces that an operator holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from argotune.workflows.cli.installation.applied import Applied, is_ours, shown
from argotune.workflows.cli.installation.operator import DEFINITION, OPERATOR, is_held, without_hold
from argotune.workflows.cli.installation.settings import Object
from argotune.workflows.cli.remote.api_errors import ClusterRefusal, explain_errors

KIND = "CustomResourceDefinition"
OF_OPERATORS = f"app.kubernetes.io/name={OPERATOR}"
"""Selects the Deployments and pods of operators."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The definition as it is in the cluster."""

    found: Object | None

    @classmethod
    def of_cluster(cls, applied: Applied) -> Definition:
        """Read it. Raises ClusterRefusal."""
        return cls(found=applied.find(KIND, DEFINITION))

    @property
    def is_there(self) -> bool:
        """Whether the cluster knows Workspaces."""
        return self.found is not None

    @property
    def is_of_others(self) -> bool:
        """Whether somebody else brought it, such as Kaito."""
        return self.found is not None and not is_ours(self.found)

    @property
    def shown(self) -> str:
        """Its kind and name, as kubectl has them."""
        return shown({"kind": KIND, "metadata": {"name": DEFINITION}})

    def reason_to_stay(self, applied: Applied) -> str | None:
        """Say why `argotune uninstall` leaves it; None where it may go.

        Raises ClusterRefusal.
        """
        if _list(applied, "Workspace", everywhere=True):
            return "its deletion would delete all Workspaces"
        others = [
            item["metadata"]["namespace"]
            for item in _list(applied, "Deployment", everywhere=True, labels=OF_OPERATORS)
            if is_ours(item) and item["metadata"]["namespace"] != applied.cluster.namespace
        ]
        return f"the operator of namespace {', '.join(others)} uses it" if others else None


def let_go(
    applied: Applied, *, everywhere: bool, but: str | None = None, dry_run: bool = False
) -> Iterator[str]:
    """Take the operator's finalizer from the Workspaces, which would wait for it for ever.

    They are those of the namespace, or everywhere but in one namespace. Yields their names. Raises
    ClusterRefusal.
    """
    try:
        workspaces = _list(applied, "Workspace", everywhere=everywhere)
    except ClusterRefusal as error:
        if error.status == 404:
            return
        raise
    for workspace in workspaces:
        metadata = workspace["metadata"]
        if not is_held(workspace) or metadata["namespace"] == but:
            continue
        name = f"workspace.kaito.sh/{metadata['name']} of namespace {metadata['namespace']}"
        if not dry_run:
            with explain_errors(name):
                applied.cluster.kube.patch(
                    "Workspace", metadata["namespace"], metadata["name"], without_hold(workspace)
                )
        yield name


def _list(applied: Applied, kind: str, *, everywhere: bool, labels: str = "") -> list[Object]:
    namespace = None if everywhere else applied.cluster.namespace
    with explain_errors(f"{kind}s"):
        return applied.cluster.kube.list(kind, namespace, labels=labels)
