"""Provider karpenter, for the command line.

The checks concern its API, the node class of claims, and the NodePools that would bring a node.
"""

from __future__ import annotations

from collections.abc import Iterator

from argotune.presets.clouds import cloud_of_node_class, cloud_of_size
from argotune.steps.cluster.kinds import KINDS, Kind
from argotune.steps.cluster.kube import Kube, Object
from argotune.steps.cluster.quantities import quantity
from argotune.steps.nodes.karpenter.node_class import NodeClass
from argotune.steps.nodes.karpenter.node_pools import NoOffer, offer_of
from argotune.steps.nodes.karpenter.provider import KarpenterProvider
from argotune.steps.nodes.provider import Provider
from argotune.steps.nodes.providers import ProviderSettings
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem
from argotune.workflows.cli.checks.installation import setting_of
from argotune.workflows.cli.checks.subject import Check, Subject
from argotune.workflows.cli.outlook.nodes import outlook_by
from argotune.workflows.cli.providers.description import ProviderCommands

_PARAMETER = "karpenter-node-class"
_INSTALL = "install Karpenter 1.0 or later"
_DISK_FIELDS = {
    "AKSNodeClass": "spec.osDiskSizeGB",
    "EC2NodeClass": "spec.blockDeviceMappings",
    "GCENodeClass": "spec.disks",
}
"""Fields of the node classes with the size of their nodes' disks."""
_AKS_DISK_GB, _EC2_DISK_GIB = 128, 20.0
"""Sizes without these fields: of the AKSNodeClass by its definition, of the EC2NodeClass with the
AMIs of AL2023 and Bottlerocket (karpenter.sh, NodeClasses, spec.blockDeviceMappings)."""


def nodes(subject: Subject) -> Iterator[Finding]:
    """Check whether a run with provider karpenter gets a node, as far as the cluster shows.

    Without a workspace, it checks whether the installation's node class exists.
    """
    needs = subject.needs
    text = setting_of(subject, _PARAMETER)
    if needs.provider != "karpenter" and (needs.workspace is not None or not text):
        return
    if subject.kube.api(KINDS["NodeClaim"].group, KINDS["NodeClaim"].version) is None:
        yield problem("the cluster has no NodeClaims (karpenter.sh/v1)", _INSTALL)
    elif needs.provider_settings.get("karpenter-mode") == "nodepool":
        yield from _node_pools(subject)
    elif text:
        yield from _node_class(subject, NodeClass.parse(text))
    else:
        yield problem(
            "no node class is named, by which Karpenter would make machines",
            f"name one for all runs, or in the annotation {PREFIX}{_PARAMETER}",
            subject.install_command("--karpenter-node-class KIND/NAME"),
        )


def _node_class(subject: Subject, wanted: NodeClass) -> Iterator[Finding]:
    """Check whether the node class exists, makes the run's machine and disk, and is Ready."""
    made = cloud_of_node_class(wanted.kind)
    foreign = {
        name: cloud
        for name in subject.needs.node.instance_types
        if (cloud := cloud_of_size(name)) and made not in ("", cloud)
    }
    for name, cloud in foreign.items():
        yield problem(
            f"{name} is a machine of {cloud}, and {wanted} makes machines of {made}",
            "name a machine of that cloud as resource.instanceType, or another node class",
        )
    kind = _kind_of(subject, wanted)
    if kind is None:
        yield problem(
            f"the cluster knows no {wanted.kind} of {wanted.group}",
            "install Karpenter for your cloud, which brings its kind of node class, or name "
            "another class",
        )
        return
    found = subject.kube.get(kind, None, wanted.name)
    if found is None:
        others = [str(item["metadata"]["name"]) for item in subject.kube.list(kind)]
        there = f"there are {', '.join(sorted(others))}" if others else "there is none"
        yield problem(
            f"{wanted} is not there; of {wanted.kind} {there}",
            "make it, or name another one",
            subject.install_command(f"--karpenter-node-class {wanted.kind}/NAME"),
        )
        return
    reason = _not_ready(found)
    if reason is not None:
        yield problem(
            f"{wanted} is not Ready: {reason}",
            "correct the cause; Karpenter deletes every claim until then",
            f"kubectl get {wanted.kind.lower()} {wanted.name} -o yaml",
        )
        return
    size_gib, needed_gib = _largest_disk_gib(found), subject.needs.node.disk_gib
    if size_gib is not None and size_gib < needed_gib:
        yield problem(
            f"{wanted} makes disks of {size_gib:g} GiB, and the run asks for {needed_gib} GiB, so "
            "Karpenter finds no machine for it",
            f"give it as much in {_DISK_FIELDS[wanted.kind]}",
            f"kubectl edit {wanted.kind.lower()} {wanted.name}",
        )
        return
    yield ok(f"{wanted} is there, by which Karpenter makes a node for each run")


def _node_pools(subject: Subject) -> Iterator[Finding]:
    """Check which NodePools bring a node for the run, and what the others lack."""
    pools = subject.kube.node_pools()
    fits = 0
    lacks = []
    for pool in pools:
        offer = offer_of([pool], subject.needs.node)
        if isinstance(offer, NoOffer):
            lacks.append(offer.reason)
            continue
        fits += 1
        machine = offer.instance_type or "a machine that fits"
        yield ok(f"NodePool {offer.pool} brings {machine} for the pod that waits")
    for reason in lacks:
        if fits:
            yield info(f"{reason}; it brings none for this run")
        else:
            yield problem(f"{reason}; it brings none for this run", "change it, or make another")
    if not pools:
        yield problem("the cluster has no NodePool", "make one with GPU machines")


def _kind_of(subject: Subject, wanted: NodeClass) -> Kind | None:
    """Find the class's kind in the server's list of kinds; None where it is missing."""
    group = subject.kube.api(wanted.group)
    for each in (group or {"versions": []})["versions"]:
        version = str(each["version"])
        kinds = subject.kube.api(wanted.group, version) or {"resources": []}
        for resource in kinds["resources"]:
            if resource["kind"] == wanted.kind and "/" not in resource["name"]:
                name = str(resource["name"])
                return Kind(wanted.kind, name, wanted.group, version, is_namespaced=False)
    return None


def _not_ready(node_class: Object) -> str | None:
    """Say why the class is not Ready; None where it is, or has no such condition."""
    conditions = (node_class.get("status") or {}).get("conditions") or []
    ready = next((item for item in conditions if item["type"] == "Ready"), None)
    if ready is None or ready["status"] == "True":
        return None
    return str(ready.get("message") or ready.get("reason") or ready["status"])


def _largest_disk_gib(node_class: Object) -> float | None:
    """Return the size of the largest disk of the class's nodes; None where it is not known."""
    kind, spec = node_class["kind"], node_class.get("spec") or {}
    if kind == "AKSNodeClass":
        return float(spec.get("osDiskSizeGB", _AKS_DISK_GB))
    if kind == "EC2NodeClass" and spec.get("instanceStorePolicy") is None:
        disks = [each.get("ebs") or {} for each in spec.get("blockDeviceMappings") or []]
        sizes = [quantity(each["volumeSize"]) for each in disks if "volumeSize" in each]
        return float(max(sizes)) / 2**30 if sizes else _EC2_DISK_GIB
    if kind == "GCENodeClass":
        return max(
            (float(each.get("sizeGiB", 0)) for each in spec.get("disks") or []), default=None
        )
    return None


def _connect(kube: Kube, settings: ProviderSettings) -> Provider:
    return KarpenterProvider(settings, connect=lambda: kube)


_NODES = Check("gpu", "Karpenter", nodes)
COMMANDS = ProviderCommands(checks=(_NODES,), print_outlook=outlook_by(_NODES), connect=_connect)
