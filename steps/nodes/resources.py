"""CPUs and memory: the tune pod's requests, and what a machine has for pods. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from argotune.steps.cluster.quantities import quantity

_GIB_BYTES = 2**30
_MAX_PODS = 110
"""Assumed for every node; an agent pool that is made for a run has the cluster's default, 30 to
250."""
_KUBELET_BYTES_PER_POD = 20_000_000
_KUBELET_BYTES = 50_000_000
_MOST_KUBELET_SHARE = Decimal("0.25")
_EVICTION_BYTES = 100 * 2**20
_DAEMON_CPUS = Decimal("0.5")
_DAEMON_BYTES = 2**30
"""The pods that every AKS node has (kube-proxy, CNI, two CSI drivers, cloud node manager, device
plugin, monitoring) together request about this much. It is an estimate, because add-ons differ."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """CPUs and memory of a pod, of several pods, or of a machine."""

    cpus: Decimal = Decimal(0)
    memory_bytes: Decimal = Decimal(0)

    @classmethod
    def of(cls, quantities: Mapping[str, Any]) -> Resources:
        """Read `cpu` and `memory` of requests or of a node; a missing one counts as 0.

        Raises ValueError unless they are quantities.
        """
        return cls(
            cpus=quantity(quantities.get("cpu", 0)),
            memory_bytes=quantity(quantities.get("memory", 0)),
        )

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            cpus=self.cpus + other.cpus, memory_bytes=self.memory_bytes + other.memory_bytes
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            cpus=self.cpus - other.cpus, memory_bytes=self.memory_bytes - other.memory_bytes
        )

    def larger(self, other: Resources) -> Resources:
        """Return the larger of both, for CPUs and memory separately."""
        return Resources(
            cpus=max(self.cpus, other.cpus),
            memory_bytes=max(self.memory_bytes, other.memory_bytes),
        )


NOTHING = Resources()


def requests_of(pod: Mapping[str, Any]) -> Resources:
    """Return what the scheduler counts for a pod.

    That is the sum of its containers and sidecars, or its largest init container.
    """
    spec = pod["spec"]
    init = spec.get("initContainers") or []
    sidecars = [each for each in init if each.get("restartPolicy") == "Always"]
    total = NOTHING
    for container in [*(spec.get("containers") or []), *sidecars]:
        total += _requests(container)
    for container in init:
        total = total.larger(_requests(container))
    return total


def allocatable(*, vcpus: int, memory_gib: float) -> Resources:
    """Return what a machine has for one pod beside those that AKS puts on every node.

    AKS 1.29 and later reserve for the kubelet 60 to 740 millicores, by a table of 1 to 64 cores. Of
    the memory they reserve the lesser of a quarter and 20 MB for each possible pod plus 50 MB, and
    evict below 100 MiB (https://learn.microsoft.com/azure/aks/node-resource-reservations). Other
    clouds reserve about as much.
    """
    memory_bytes = Decimal(str(memory_gib)) * _GIB_BYTES
    kubelet_bytes = min(
        Decimal(_KUBELET_BYTES_PER_POD * _MAX_PODS + _KUBELET_BYTES),
        _MOST_KUBELET_SHARE * memory_bytes,
    )
    return Resources(
        cpus=vcpus - _kubelet_cpus(vcpus) - _DAEMON_CPUS,
        memory_bytes=memory_bytes - kubelet_bytes - _EVICTION_BYTES - _DAEMON_BYTES,
    )


def shortages(asked: Resources, has: Resources) -> Iterator[str]:
    """Say what is requested and missing, one text each, with the parameter to lower."""
    if asked.cpus > has.cpus:
        yield (
            f"{_cpus(has.cpus)} CPUs for the tune pod, {asked.cpus.normalize():f} needed "
            "(parameter tune-cpu)"
        )
    if asked.memory_bytes > has.memory_bytes:
        yield (
            f"{_gib(has.memory_bytes, math.floor)} GiB of memory for the tune pod, "
            f"{_gib(asked.memory_bytes, math.ceil)} GiB needed (parameter tune-memory)"
        )


def _kubelet_cpus(vcpus: int) -> Decimal:
    """Return the CPUs that AKS reserves for the kubelet.

    Its table is 1: 60, 2: 100, 4: 140, 8: 180, 16: 260, 32: 420, 64: 740 millicores. From 4 cores
    on that is a line, which continues beyond 64.
    """
    few = {1: 60, 2: 100, 3: 120}
    return Decimal(few.get(vcpus, 100 + 10 * vcpus)) / 1000


def _requests(container: Mapping[str, Any]) -> Resources:
    return Resources.of((container.get("resources") or {}).get("requests") or {})


def _cpus(cpus: Decimal) -> str:
    return f"{math.floor(max(cpus, Decimal(0)) * 100) / 100:g}"


def _gib(memory_bytes: Decimal, rounded: Any) -> str:
    """Format in GiB to a tenth, rounded so that a difference shows."""
    return f"{rounded(max(memory_bytes, Decimal(0)) / _GIB_BYTES * 10) / 10:g}"
