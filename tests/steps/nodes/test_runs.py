from __future__ import annotations

import pytest

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.nodes.labels import NODE_RUN_LABEL
from argotune.steps.nodes.runs import run_is_alive
from tests.fakes.kube import Cluster, Fault, Object, serving


def workflow(uid: str = "uid", phase: str | None = "Running") -> Object:
    status = {} if phase is None else {"phase": phase}
    return {"metadata": {"uid": uid}, "status": status}


def alive(found: Object | None) -> bool:
    cluster = Cluster()
    if found is not None:
        cluster.objects["Workflow", "team", "tune-1"] = found
    with serving(cluster) as kube:
        return run_is_alive(kube)("uid", "team", "tune-1")


@pytest.mark.parametrize(
    "found",
    [workflow(), workflow(phase=None), workflow(phase="Pending"), {"metadata": {"uid": "uid"}}],
)
def test_a_run_goes_on_until_its_workflow_ends(found: Object) -> None:
    assert alive(found)


@pytest.mark.parametrize(
    "found",
    [
        None,
        workflow(phase="Succeeded"),
        workflow(phase="Failed"),
        workflow(phase="Error"),
        workflow(uid="of a later run of this name"),
    ],
)
def test_a_run_is_no_more_when_its_workflow_is_over_or_gone(found: Object | None) -> None:
    assert not alive(found)


def test_a_run_whose_workflow_is_not_known_counts_as_alive() -> None:
    cluster = Cluster()
    with serving(cluster) as kube:
        assert run_is_alive(kube)("uid", "", "")
    assert cluster.requests == []


def test_runs_of_other_namespaces_are_not_asked_about_where_one_is_named() -> None:
    cluster = Cluster()
    with serving(cluster) as kube:
        is_alive = run_is_alive(kube, namespace="team")
        assert is_alive("uid", "others", "tune-1")
        assert cluster.requests == []
        assert not is_alive("uid", "team", "tune-1")


@pytest.mark.parametrize("found", [None, workflow(phase="Succeeded"), workflow(uid="another")])
def test_a_node_goes_on_while_a_service_has_it(found: Object | None) -> None:
    cluster = Cluster()
    if found is not None:
        cluster.objects["Workflow", "team", "tune-1"] = found
    metadata = {"name": "phi", "namespace": "team", "labels": {NODE_RUN_LABEL: "uid"}}
    cluster.objects["Deployment", "team", "phi"] = {"kind": "Deployment", "metadata": metadata}
    with serving(cluster) as kube:
        is_alive = run_is_alive(kube, namespace="team")
        assert is_alive("uid", "team", "tune-1")
        assert not is_alive("uid-of-another-run", "team", "tune-2")
        del cluster.objects["Deployment", "team", "phi"]
        assert not is_alive("uid", "team", "tune-1")


def test_a_node_is_kept_where_the_services_cannot_be_seen() -> None:
    cluster = Cluster(faults=[Fault("GET", "deployments", 403, times=9)])
    with serving(cluster) as kube, pytest.raises(ApiRefusal, match="cannot list deployments"):
        run_is_alive(kube)("uid", "team", "tune-1")
