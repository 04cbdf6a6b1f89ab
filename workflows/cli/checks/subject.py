"""What is examined: a cluster, a namespace of it, and what a workspace would need of both."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.registry.oci import ImageReference
from argotune.workflows.cli.checks.api import Api, Object
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.finding import Finding

ARGO = "/apis/argoproj.io/v1alpha1"


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What runs need; of a workspace where one was named, else the defaults."""

    workspace: str | None = None
    """Its name; None where no file was given."""
    image: ImageReference | None = None
    """The output image; None where it is not known or no registry's."""
    push_secret: str = "argotune-push"
    """Secret for the output image."""
    push_secret_is_named: bool = False
    """Whether somebody named it; the default may be missing."""
    model_secret: str | None = None
    """Secret with the Hub's token for gated models."""
    models_claim: str = "argotune-models"
    """Claim that keeps the weights between runs."""
    storage_class: str | None = None
    """Of the run's volume; None: what the installed template says, else the default class."""
    provider: str = "existing"
    """Where the GPU node comes from."""
    provider_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of providers that the file gives, by name."""
    node: NodeRequest = field(
        default_factory=lambda: NodeRequest(run="", gpus=1, timeout_seconds=0.0)
    )
    """What the node must have."""
    problems: tuple[str, ...] = ()
    """What the file still lacks, such as placeholders to fill in."""


@dataclass(kw_only=True)
class Subject:
    """A cluster and a namespace, with what several checks want to know read once."""

    api: Api
    namespace: str
    expected: tuple[Mapping[str, Any], ...]
    """The objects that `argotune install` of this version makes."""
    needs: Needs = Needs()
    argo_namespace: str = "argo"
    """Where Argo's controller is looked for when the whole cluster cannot be."""
    images_registry: str | None = None
    """In place of the installed template's."""
    images_tag: str | None = None
    pull: Pull = Pull.SMALL
    environment: Mapping[str, str] = field(default_factory=dict)
    """ARGO_SERVER and its kin."""
    clock: Clock = REAL_CLOCK

    def path(self, plural: str, name: str = "", *, api: str = "/api/v1") -> str:
        """Path of the kind's list in the namespace, or of one object."""
        return f"{api}/namespaces/{self.namespace}/{plural}{f'/{name}' if name else ''}"

    @functools.cached_property
    def has_argo(self) -> bool:
        """Whether the API server knows Argo's kinds."""
        return self.api.get(ARGO) is not None

    @functools.cached_property
    def template(self) -> Object | None:
        """WorkflowTemplate `finetune` of the namespace."""
        return self.api.get(self.path("workflowtemplates", "finetune", api=ARGO))

    @functools.cached_property
    def nodes(self) -> list[Object]:
        """All nodes of the cluster."""
        return self.api.list("/api/v1/nodes")

    @functools.cached_property
    def daemon_sets(self) -> list[Object]:
        """The daemon sets of all namespaces: device plugins, networks."""
        return self.api.list("/apis/apps/v1/daemonsets")

    def install_command(self, *flags: str) -> str:
        """`argotune install` for the namespace; a first one has to name the registry."""
        is_first = self.has_argo and self.template is None
        registry = ("--images-registry REGISTRY",) if is_first else ()
        return " ".join(("argotune install -n", self.namespace, *registry, *flags))

    def expected_of(self, kind: str) -> list[Mapping[str, Any]]:
        """The expected objects of one kind."""
        return [item for item in self.expected if item["kind"] == kind]


@dataclass(frozen=True)
class Check:
    """One look at the subject."""

    area: str
    """Heading of its findings."""
    what: str
    """What stays unknown without it."""
    look: Callable[[Subject], Iterable[Finding]]
    in_namespace: bool = False
    """It makes no sense while the namespace is missing."""
