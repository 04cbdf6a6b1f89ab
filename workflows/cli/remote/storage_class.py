"""The storage class of a run's volume: which one it gets, and what to do where there is none.

Not refused before a run, because a volume that somebody made beforehand needs no class.
"""

from __future__ import annotations

from collections.abc import Sequence

from argotune.steps.cluster.kube import Object, Objects
from argotune.workflows.cli.remote.api_errors import ClusterError
from argotune.workflows.cli.remote.cluster import Cluster

DEFAULT = "storageclass.kubernetes.io/is-default-class"
"""Annotation of the class of claims that name none."""
_SAID_OF_A_CLASS = ("no storage class is set", "storageclass.storage.k8s.io")
"""In the events about a claim whose class is missing, of Kubernetes' controller of volumes."""


def chosen_class(classes: Sequence[Object], name: str | None) -> Object | None:
    """Return the class of that name, or else the newest of the defaults, as Kubernetes does."""
    if name:
        return next((item for item in classes if item["metadata"]["name"] == name), None)
    defaults = [
        item
        for item in classes
        if (item["metadata"].get("annotations") or {}).get(DEFAULT) == "true"
    ]
    return max(defaults, key=lambda item: item["metadata"]["creationTimestamp"], default=None)


def class_of_runs(spec: Object) -> str | None:
    """Return the class that the volume of a run with this spec names; None for the default."""
    claims = spec.get("volumeClaimTemplates") or []
    found = claims[0]["spec"].get("storageClassName") if claims else None
    return None if found is None else str(found)


def missing_class(classes: Sequence[Object], name: str | None) -> str | None:
    """Say that the class of a run's volume is not there; None where it is."""
    if chosen_class(classes, name) is not None:
        return None
    names = ", ".join(sorted(item["metadata"]["name"] for item in classes)) or "none"
    if name:
        return f"storage class {name} of the run's volume is not there; there are: {names}"
    return f"the cluster has no default storage class; there are: {names}"


def class_warnings(cluster: Cluster, name: str | None) -> list[str]:
    """List what is wrong with the class of a run's volume, as far as the person may see classes."""
    try:
        classes: Objects = cluster.list("StorageClass", "")
    except ClusterError:
        return []
    problem = missing_class(classes, name)
    return [f"{problem}; the run waits for its volume: {advice(cluster)}"] if problem else []


def advice_on(cluster: Cluster, message: str) -> str:
    """Say what to do where an event about a claim says that its class is missing; else nothing."""
    return advice(cluster) if any(each in message for each in _SAID_OF_A_CLASS) else ""


def advice(cluster: Cluster) -> str:
    """Say how a run gets another class."""
    return (
        f"name one with `argotune install {cluster.flags} --storage-class NAME` for all runs, or"
        " --storage-class NAME for this one"
    )
