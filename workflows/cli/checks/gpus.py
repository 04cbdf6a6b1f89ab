"""GPU nodes: present, with a device plugin, and of the kind that runs request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from argotune.presets.loader import skus
from argotune.steps.cluster.kube import Object
from argotune.steps.cluster.scheduling import GPU_RESOURCE, GPU_TOLERATIONS
from argotune.steps.common.driver import NEEDED_DRIVER
from argotune.steps.nodes.fit import driver_of, gpu_count, gpu_name, problems_of
from argotune.steps.nodes.labels import INSTANCE_TYPE
from argotune.steps.nodes.provider import NodeRequest
from argotune.steps.nodes.providers import MAKING_NODES
from argotune.steps.nodes.resources import Resources
from argotune.steps.settings.run_settings import PREFIX, SETTINGS
from argotune.workflows.cli.checks.finding import Finding, info, ok, unknown, warning
from argotune.workflows.cli.checks.subject import Subject

_LABELS = {
    "accelerator": "nvidia",
    "kubernetes.azure.com/accelerator": "nvidia",
    "nvidia.com/gpu.present": "true",
    "feature.node.kubernetes.io/pci-10de.present": "true",
}
_LABELS_OF_ANY_VALUE = ("cloud.google.com/gke-accelerator", "k8s.amazonaws.com/accelerator")
"""Labels by which clouds and tools mark nodes with a GPU, with or without a device plugin."""
_PLUGIN = "nvidia-device-plugin"
"""Part of the names in NVIDIA's chart, of the GPU operator, of GKE and in AKS's documentation."""
_INSTALL = (
    "helm upgrade -i nvidia-device-plugin nvidia-device-plugin "
    "--repo https://nvidia.github.io/k8s-device-plugin -n nvidia-device-plugin --create-namespace"
)
_MOST_NODES = 10


def nodes(subject: Subject) -> Iterator[Finding]:
    """Check which nodes offer GPUs, and whether one fits."""
    request = subject.needs.node
    if not request.gpus:
        yield info(
            f"workspace {subject.needs.workspace} is planned for no GPU",
            "name a machine with one as resource.instanceType, unless it is a trial of preset tiny",
        )
        yield from _without_gpu(subject)
        return
    offering = [node for node in subject.nodes if gpu_count(node, "capacity")]
    silent = [node for node in subject.nodes if node not in offering and _looks_like_gpu(node)]
    for node in silent[:_MOST_NODES]:
        yield warning(
            f"node {_name(node)} looks like one with a GPU, and offers no {GPU_RESOURCE}",
            "install NVIDIA's k8s-device-plugin, with tolerations of the node's taints, or the "
            "GPU operator, which brings the driver too",
            _INSTALL,
        )
    if not offering:
        yield _no_node(subject)
        return
    chosen = [node for node in offering if _has(node, request.labels)]
    if not chosen:
        labels = ",".join(f"{key}={value}" for key, value in request.labels.items())
        yield _nothing_fits(
            subject,
            f"no GPU node has the labels {labels} of workspace {subject.needs.workspace}; GPU "
            f"nodes are {', '.join(map(_name, offering[:_MOST_NODES]))}",
            f"kubectl label node {_name(offering[0])} {labels.replace(',', ' ')}",
        )
        return
    yield from _fits(subject, chosen)


def device_plugin(subject: Subject) -> Iterator[Finding]:
    """Check whether a device plugin runs, also on nodes with the taint of GPU nodes."""
    if not subject.needs.node.gpus:
        return
    plugins = [item for item in subject.daemon_sets if _PLUGIN in item["metadata"]["name"]]
    if not plugins and not any(gpu_count(node, "capacity") for node in subject.nodes):
        yield unknown(
            "no DaemonSet named like NVIDIA's device plugin is seen; some clouds hide theirs",
            f"where nodes do not offer {GPU_RESOURCE}, install it",
            _INSTALL,
        )
    for plugin in plugins:
        metadata, status = plugin["metadata"], plugin.get("status") or {}
        name = f"{metadata['namespace']}/{metadata['name']}"
        ready, wanted = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
        taint = GPU_TOLERATIONS[0]
        if ready < wanted:
            yield warning(
                f"device plugin {name} is ready on {ready} of {wanted} nodes",
                "its pods' logs say what it lacks, such as the driver",
                f"kubectl -n {metadata['namespace']} get pods -o wide",
            )
        elif not _tolerates(plugin["spec"]["template"]["spec"].get("tolerations") or [], taint):
            yield warning(
                f"device plugin {name} does not tolerate {taint['key']}={taint['value']}:"
                f"{taint['effect']}, the taint of nodes that are made for runs",
                "add the toleration to its DaemonSet or its chart's values",
            )
        else:
            yield ok(f"device plugin {name} is ready on {ready} of {wanted} nodes")


def _fits(subject: Subject, chosen: Sequence[Object]) -> Iterator[Finding]:
    """Report what each node lacks; GPUs of other pods are no lack, because runs wait for them."""
    lacks = _lacks(subject, chosen)
    fitting = [node for node in chosen if not lacks[_name(node)]]
    if fitting:
        yield ok(f"GPU nodes that fit: {', '.join(map(_describe, fitting[:_MOST_NODES]))}")
    else:
        texts = [f"{name}: {', '.join(found)}" for name, found in lacks.items()]
        yield _nothing_fits(subject, f"no GPU node fits: {'; '.join(texts[:_MOST_NODES])}")
    silent = [_name(node) for node in fitting if driver_of(node) is None]
    if silent:
        yield info(
            f"the NVIDIA driver of {', '.join(silent[:_MOST_NODES])} is not known, for want of the "
            f"labels of GPU feature discovery; the images need {NEEDED_DRIVER} or later",
            "look it up by nvidia-smi there; with an older one tune and the server fail at once",
        )
    for name, found in list(lacks.items())[:_MOST_NODES]:
        if found and fitting:
            yield info(f"node {name} does not fit: {', '.join(found)}")


def _without_gpu(subject: Subject) -> Iterator[Finding]:
    """Warn where no node is large enough for a run without a GPU."""
    request = subject.needs.node
    lacks = _lacks(subject, [node for node in subject.nodes if _has(node, request.labels)])
    if all(lacks.values()) and subject.needs.provider not in MAKING_NODES:
        texts = [f"{name}: {', '.join(found)}" for name, found in lacks.items()]
        found = "; ".join(texts[:_MOST_NODES]) or "none has the labels of the workspace"
        yield warning(
            f"no node fits: {found}; provider {subject.needs.provider} makes none, so runs wait for"
            " one and then fail",
            f"ask for less by the annotations {PREFIX}tune-cpu and {PREFIX}tune-memory, or add a"
            " node",
        )


def _lacks(subject: Subject, nodes: Sequence[Object]) -> dict[str, list[str]]:
    """Map the nodes to what they lack, beside the pods that never leave them."""
    return {
        _name(node): problems_of(node, subject.lasting_pods, _request(subject)) for node in nodes
    }


def _request(subject: Subject) -> NodeRequest:
    """What a run asks for; without a file the CPUs and memory of one that names none."""
    request = subject.needs.node
    if subject.needs.workspace is not None:
        return request
    cpu, memory = (SETTINGS[name].default for name in ("tune-cpu", "tune-memory"))
    return replace(request, resources=Resources.of({"cpu": cpu, "memory": memory}))


def _no_node(subject: Subject) -> Finding:
    return _nothing_fits(subject, f"no node offers {GPU_RESOURCE}")


def _nothing_fits(subject: Subject, message: str, command: str = "") -> Finding:
    provider = subject.needs.provider
    if provider in MAKING_NODES:
        return info(f"{message}; provider {provider} brings one for each run")
    return warning(
        f"{message}; provider {provider} makes none, so runs wait for one and then fail",
        "add a GPU node to the cluster; or let one be made for each run: annotation "
        f"{PREFIX}provider: {' or '.join(MAKING_NODES)}",
        command,
    )


def _looks_like_gpu(node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) == value for key, value in _LABELS.items()):
        return True
    if any(key in labels for key in _LABELS_OF_ANY_VALUE):
        return True
    found = str(labels.get(INSTANCE_TYPE, "")).casefold()
    return found in {sku.name.casefold() for sku in skus()}


def _has(node: Object, labels: Mapping[str, str]) -> bool:
    return labels.items() <= (node["metadata"].get("labels") or {}).items()


def _tolerates(tolerations: Sequence[Mapping[str, Any]], taint: Mapping[str, str]) -> bool:
    return any(
        toleration.get("key", taint["key"]) == taint["key"]
        and toleration.get("effect", taint["effect"]) == taint["effect"]
        and (toleration.get("operator") == "Exists" or toleration.get("value") == taint["value"])
        for toleration in tolerations
    )


def _describe(node: Object) -> str:
    return f"{_name(node)} ({gpu_count(node, 'allocatable')} x {gpu_name(node)})"


def _name(node: Object) -> str:
    return str(node["metadata"]["name"])
