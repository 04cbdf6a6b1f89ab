"""The subject of the checks: a cluster, a namespace, and the needs of a workspace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from argotune.steps.cluster.kinds import KINDS
from argotune.steps.cluster.kube import Kube, Object, Objects
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.nodes.ready import pods_or_none
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.finding import Finding
from argotune.workflows.workspace.images import LARGE, SMALL
from argotune.workflows.workspace.model import SERVICE_TEMPLATE, TEMPLATE

_LASTING = ("DaemonSet", "Node")
"""Owners of pods that stay as long as their node."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The needs of runs: a workspace's where one is named, else the defaults."""

    workspace: str | None = None
    """Name of the workspace; None without a file."""
    template: str = TEMPLATE
    """Name of the WorkflowTemplate of its runs."""
    images: tuple[str, ...] = (*SMALL, *LARGE)
    """Steps and servers whose images it takes."""
    registries: tuple[str, ...] = ()
    """Registries of the output image, or of the adapters of a service without training; empty where
    they are unknown or there are none."""
    push_secret: str = "argotune-push"
    """Secret with the login for them."""
    push_secret_is_named: bool = False
    """Whether the file or a flag names it; the default may be missing."""
    model_secret: str | None = None
    """Secret with the Hub's token for gated models."""
    models_claim: str = "argotune-models"
    """Claim that stores the weights between runs."""
    storage_class: str | None = None
    """Class of the run's volume; None: the installed template's, else the default class."""
    provider: str = "existing"
    """Where the GPU node comes from."""
    makes_node: bool = False
    """Whether the provider makes a node for the run alone."""
    provider_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of providers that the file gives, by name."""
    node: NodeRequest = field(
        default_factory=lambda: NodeRequest(run="", gpus=1, timeout_seconds=0.0)
    )
    """The needs of the node."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """The arguments of the workspace's run; empty without a file."""
    problems: tuple[str, ...] = ()
    """Remaining problems of the file, such as placeholders to fill in."""

    @property
    def is_service(self) -> bool:
        """Whether it is a service without training."""
        return self.template == SERVICE_TEMPLATE

    @property
    def has_service(self) -> bool:
        """Whether the run makes a service of its own."""
        return not self.arguments.get("serve-with") and self.is_deployed

    @property
    def is_deployed(self) -> bool:
        """Whether the run deploys its adapter."""
        return self.arguments.get("deploy-to") != NOT_DEPLOYED


@dataclass(kw_only=True)
class Subject:
    """A cluster and a namespace; what several checks read is read once."""

    kube: Kube
    namespace: str
    expected: tuple[Mapping[str, Any], ...]
    """The objects that `argotune install` of this version creates."""
    needs: Needs = Needs()
    argo_namespace: str = "argo"
    """Where Argo's controller is looked for when the person may not list the whole cluster."""
    images_registry: str | None = None
    """Registry that replaces the installed template's."""
    images_tag: str | None = None
    pull: Pull = Pull.SMALL
    environment: Mapping[str, str] = field(default_factory=dict)
    """ARGO_SERVER and the related variables."""
    clock: Clock = REAL_CLOCK

    def get(self, kind: str, name: str) -> Object | None:
        """Read an object of the namespace, or of the cluster; None where it is missing."""
        return self.kube.get(kind, self.namespace, name)

    def create_trial(self, manifest: Object) -> Object:
        """Create a short-lived object in the namespace.

        An older server drops fields that it does not know, as it does with those of a run.
        """
        return self.kube.create(manifest, self.namespace, strict=False)

    def delete_trial(self, kind: str, name: str) -> None:
        """Delete a short-lived object at once."""
        self.kube.delete(kind, self.namespace, name, grace_seconds=0)

    @functools.cached_property
    def argo(self) -> Object | None:
        """Read the server's list of Argo's kinds; None where it has none."""
        workflow = KINDS["Workflow"]
        return self.kube.api(workflow.group, workflow.version)

    @property
    def has_argo(self) -> bool:
        """Whether the API server has Argo's kinds."""
        return self.argo is not None

    @functools.cached_property
    def template(self) -> Object | None:
        """WorkflowTemplate `finetune` of the namespace, which says how all are installed."""
        return self.get("WorkflowTemplate", TEMPLATE)

    @functools.cached_property
    def run_template(self) -> Object | None:
        """The WorkflowTemplate of the workspace's runs."""
        name = self.needs.template
        return self.template if name == TEMPLATE else self.get("WorkflowTemplate", name)

    @functools.cached_property
    def nodes(self) -> Objects:
        """List all nodes of the cluster."""
        return self.kube.list("Node")

    @functools.cached_property
    def lasting_pods(self) -> Sequence[Mapping[str, Any]]:
        """List the pods that no run outwaits, DaemonSets' and the nodes' own.

        There are none without the right to list pods.
        """
        return [
            pod
            for pod in pods_or_none(self.kube) or ()
            if any(
                owner["kind"] in _LASTING for owner in pod["metadata"].get("ownerReferences") or []
            )
        ]

    @functools.cached_property
    def daemon_sets(self) -> Objects:
        """List the DaemonSets of all namespaces: device plugins, networks."""
        return self.kube.list("DaemonSet")

    def install_command(self, *flags: str) -> str:
        """Return `argotune install` for the namespace; a first one must name the registry."""
        is_first = self.has_argo and self.template is None
        registry = ("--images-registry REGISTRY",) if is_first else ()
        return " ".join(("argotune install -n", self.namespace, *registry, *flags))

    def expected_of(self, kind: str) -> list[Mapping[str, Any]]:
        """List the expected objects of one kind."""
        return [item for item in self.expected if item["kind"] == kind]


@dataclass(frozen=True)
class Check:
    """One check of the subject."""

    area: str
    """Heading of its findings."""
    what: str
    """What stays unknown without it."""
    look: Callable[[Subject], Iterable[Finding]]
    in_namespace: bool = False
    """Whether it is skipped while the namespace is missing."""
