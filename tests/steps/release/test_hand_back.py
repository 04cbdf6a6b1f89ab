"""The service whose GPU a run had, when the run is over."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from argotune.steps.cluster.errors import ApiError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.service_note import NOTE, Note, replicas_of
from argotune.steps.nodes.existing import ExistingProvider
from argotune.steps.provision.hand_over import on_cpu
from argotune.steps.release.params import Params
from argotune.steps.release.run import run
from tests.fakes.gpu_service import IMAGE, KEY, manifest
from tests.fakes.kube import Cluster, Fault, Object, serving


def handed_over(*, to_cpu: bool = False, run: str = "uid", **spec: Any) -> tuple[Cluster, Object]:
    """A cluster with a service that gave its GPU away, and its pod template before."""
    found = manifest(replicas=2)
    before = copy.deepcopy(found["spec"]["template"])
    note = Note(template=before, replicas=2, run=run)
    found["metadata"]["annotations"] = {NOTE: note.text(), "other": "stays"}
    if to_cpu:
        found["spec"]["template"] = on_cpu(before, image=IMAGE, memory="62Gi")
    found["spec"] |= {"replicas": 2 if to_cpu else 0} | spec
    cluster = Cluster()
    cluster.put(found)
    return cluster, before


def release(cluster: Cluster, **changes: Any) -> str:
    values = {"namespace": "team", "workspace": "phi", "service_during_tuning": "hand-over"}
    params = Params(run="uid", status="Failed", **values | changes)
    with serving(cluster) as kube:
        provider = ExistingProvider(lambda: kube)
        return run(params, progress=Progress(), provider=provider, kube=kube).released


@pytest.mark.parametrize("to_cpu", [False, True])
def test_a_run_that_did_not_deploy_brings_the_old_servers_back(to_cpu: bool) -> None:
    cluster, before = handed_over(to_cpu=to_cpu)
    assert release(cluster) == "service phi has its GPU again"
    found = cluster.objects[KEY]
    assert found["spec"]["template"] == before
    assert found["spec"]["replicas"] == 2
    assert found["metadata"]["annotations"] == {"other": "stays"}
    # Another try has nothing left to do.
    assert release(cluster) == "nothing"


def test_servers_that_somebody_added_on_cpus_stay() -> None:
    cluster, _ = handed_over(to_cpu=True, replicas=3)
    release(cluster)
    assert replicas_of(cluster.objects[KEY]) == 3


@pytest.mark.parametrize(
    ("run", "changes"),
    [
        ("another", {}),
        ("", {}),
        ("uid", {"service_during_tuning": "wait"}),
        ("uid", {"provider": "local"}),
        ("uid", {"workspace": "other"}),
    ],
)
def test_what_is_not_this_runs_stays(run: str, changes: dict[str, Any]) -> None:
    cluster, _ = handed_over(run=run)
    before = copy.deepcopy(cluster.objects[KEY])
    assert release(cluster, **changes) == "nothing"
    assert cluster.objects[KEY] == before


def test_an_edited_note_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    cluster, _ = handed_over()
    cluster.objects[KEY]["metadata"]["annotations"][NOTE] = "{}"
    assert release(cluster) == "nothing"
    assert "note-unreadable" in caplog.text


def test_a_refusal_fails_the_step_so_that_it_is_tried_again() -> None:
    cluster, _ = handed_over()
    cluster.faults = [Fault("PATCH", "deployments", 409)]
    with pytest.raises(ApiError):
        release(cluster)
    assert release(cluster) == "service phi has its GPU again"
