"""The GPU of the cluster's own nodes, for a workspace that selects them by labels alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from argotune.presets.loader import skus
from argotune.steps.cluster.kube import Object
from argotune.steps.common import strict_yaml
from argotune.steps.common.driver import driver_problem
from argotune.steps.nodes.fit import GPU_PRODUCT, driver_of, gpu_count, gpu_memory_gib
from argotune.steps.nodes.labels import INSTANCE_TYPE
from argotune.steps.nodes.providers import PROVIDERS
from argotune.steps.plan.planning import OWN_SECTION, ROOT, Card, choose, read_request
from argotune.workflows.cli.remote.api_errors import ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.workspace.model import Workspace, provider_of
from argotune.workflows.workspace.read import plan_params

_COMPUTE_MAJOR = "nvidia.com/gpu.compute.major"
"""Label of NVIDIA's GPU feature discovery."""
_FIRST_WITH_BFLOAT16 = 8


@dataclass(frozen=True, kw_only=True)
class _Found:
    node: str
    card: Card
    memory_gib: float


def with_gpu_of_nodes(cluster: Cluster, workspace: Workspace) -> Workspace:
    """Set the GPU of the selected nodes in the workspace's training config.

    It is that of the smallest node that the run fits on, else of the largest, so that the plan says
    what would fit. The workspace stays unchanged where the file names a GPU, where the run needs
    none or makes its own node, and where the nodes' GPUs are unknown or may not be read: the plan
    then says what it assumes.
    """
    provider = PROVIDERS[provider_of(workspace.options)]
    is_open = provider.is_on_cluster and not provider.makes_nodes
    request = read_request(plan_params(workspace))
    if not is_open or not request.is_assumed:
        return workspace
    found = sorted(_gpus(cluster, workspace.label_selector), key=lambda each: each.memory_gib)
    if not found:
        return workspace
    fitting = (each for each in found if choose(request.job, each.card) is not None)
    chosen = next(fitting, found[-1])
    named = {
        "gpus": chosen.card.gpus,
        "gpu_memory_gib": chosen.memory_gib,
        "gpu_model": chosen.card.gpu_model,
    }
    warning = (
        f"resource.instanceType: missing, so the plan is for one GPU of node {chosen.node}: "
        f"{chosen.card.gpu_model}, {chosen.memory_gib:g} GiB"
    )
    return dataclasses.replace(
        workspace,
        config=_with_own_keys(workspace.config, named),
        warnings=(*workspace.warnings, warning),
    )


def _gpus(cluster: Cluster, labels: Mapping[str, str]) -> list[_Found]:
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    try:
        nodes = cluster.list("Node", selector)
    except ClusterRefusal:
        # An account that may submit need not see the cluster's nodes.
        return []
    return [found for found in map(_gpu_of, nodes) if found is not None]


def _gpu_of(node: Object) -> _Found | None:
    """Return the GPU by the node's labels of it, else by the cloud's label of the machine.

    Returns None for a GPU that does not compute in bfloat16, whose driver is too old for the
    images, or whose memory is unknown.
    """
    labels = node["metadata"].get("labels") or {}
    if not gpu_count(node, "capacity"):
        return None
    machine = str(labels.get(INSTANCE_TYPE, "")).casefold()
    sku = next((each for each in skus() if each.name.casefold() == machine), None)
    memory_gib = gpu_memory_gib(node) or (sku.gpu_memory_gib if sku else None)
    if memory_gib is None or driver_problem(driver_of(node)):
        return None
    major = str(labels.get(_COMPUTE_MAJOR, ""))
    is_too_old = major.isdigit() and int(major) < _FIRST_WITH_BFLOAT16
    if is_too_old or (sku is not None and not sku.bfloat16):
        return None
    model = str(labels.get(GPU_PRODUCT) or (sku.gpu_model if sku else "GPU"))
    card = Card(instance_type=None, gpus=1, gpu_model=model, gpu_memory_gib=memory_gib)
    return _Found(node=node["metadata"]["name"], card=card, memory_gib=memory_gib)


def _with_own_keys(text: str, named: Mapping[str, object]) -> str:
    """Add keys of our own section to the training config, which was read before and is valid."""
    document: Any = strict_yaml.load(text) or {}
    sections = dict(document.get(ROOT) or {})
    sections[OWN_SECTION] = {**(sections.get(OWN_SECTION) or {}), **named}
    return yaml.safe_dump({ROOT: sections}, sort_keys=False)
