from __future__ import annotations

from decimal import Decimal

import pytest

from argotune.steps.nodes.resources import NOTHING, Resources, allocatable, requests_of, shortages

GIB = 2**30


@pytest.mark.parametrize(
    ("vcpus", "millicores"),
    [(1, 60), (2, 100), (4, 140), (8, 180), (16, 260), (32, 420), (64, 740), (96, 1060)],
)
def test_the_kubelets_cpus_are_those_of_akss_table(vcpus: int, millicores: int) -> None:
    has = allocatable(vcpus=vcpus, memory_gib=220).cpus
    assert (vcpus - has - Decimal("0.5")) * 1000 == millicores


def test_the_kubelets_memory_goes_by_pods_and_is_never_more_than_a_quarter() -> None:
    large = allocatable(vcpus=24, memory_gib=220).memory_bytes
    assert 220 * GIB - large - GIB - 100 * 2**20 == 110 * 20_000_000 + 50_000_000
    small = allocatable(vcpus=2, memory_gib=8).memory_bytes
    assert 8 * GIB - small - GIB - 100 * 2**20 == 2 * GIB


def test_what_is_short_is_said_with_the_parameter_to_lower() -> None:
    asked = Resources.of({"cpu": "24", "memory": "4000Gi"})
    assert list(shortages(asked, allocatable(vcpus=24, memory_gib=220))) == [
        "23.16 CPUs for the tune pod, 24 needed (parameter tune-cpu)",
        "216.8 GiB of memory for the tune pod, 4000 GiB needed (parameter tune-memory)",
    ]


def test_what_is_asked_for_to_the_byte_fits() -> None:
    has = Resources.of({"cpu": "1900m", "memory": "7Gi"})
    assert list(shortages(has, has)) == []
    more = Resources.of({"cpu": "1.901", "memory": str(7 * GIB + 1)})
    assert [text.partition(" (")[0] for text in shortages(more, has)] == [
        "1.9 CPUs for the tune pod, 1.901 needed",
        "7 GiB of memory for the tune pod, 7.1 GiB needed",
    ]


def test_a_pod_counts_as_the_scheduler_counts_it() -> None:
    def container(cpu: str, **more: str) -> dict[str, object]:
        return {"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}, **more}

    spec = {
        "containers": [container("1"), container("500m"), {}],
        "initContainers": [container("4"), container("250m", restartPolicy="Always")],
    }
    assert requests_of({"spec": spec}) == Resources(cpus=Decimal(4), memory_bytes=Decimal(3 * GIB))
    assert requests_of({"spec": {"containers": [{"resources": {}}]}}) == NOTHING
