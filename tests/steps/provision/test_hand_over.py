"""A run that finds no GPU but that of its workspace's own service."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import CapacityError, ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.service_note import NOTE, read_note
from argotune.steps.nodes.existing import ExistingProvider
from argotune.steps.provision.hand_over import on_cpu
from argotune.steps.provision.params import Params, Result
from argotune.steps.provision.run import run
from tests.fakes.gpu_service import (
    GPU,
    IMAGE,
    KEY,
    bind,
    manifest,
    one_gpu_cluster,
)
from tests.fakes.kube import Cluster, Fault, Object, serving

GIVEN = "service phi gives its GPU to the run, and is down meanwhile"


def params(**changes: Any) -> Params:
    values: dict[str, Any] = {
        "run": "uid",
        "workflow": "phi-1",
        "namespace": "team",
        "workspace": "phi",
        "gpus": 1,
        "label_selector": "pool=gpu",
        "service_during_tuning": "hand-over",
        "serve_image": IMAGE,
        "cpu_memory": "62Gi",
        "timeout_seconds": 60.0,
    }
    return Params(**values | changes)


def provision(cluster: Cluster, **changes: Any) -> tuple[Result | str, list[str]]:
    """The result, or the error; and why it waited. The service's pods follow its Deployment."""
    reasons: list[str] = []
    passed = 0.0

    def sleep(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        bind(cluster)

    with serving(cluster) as kube:
        clock = Clock(now=lambda: passed, sleep=sleep)
        provider = ExistingProvider(lambda: kube, clock)
        try:
            result: Result | str = run(
                params(**changes),
                progress=Progress(),
                provider=provider,
                on_wait=reasons.append,
                kube=kube,
            )
        except CapacityError as error:
            result = str(error)
    return result, reasons


def served(cluster: Cluster) -> Object:
    return cluster.objects[KEY]


def test_the_service_hands_its_gpu_over_and_notes_what_it_was() -> None:
    cluster = one_gpu_cluster(manifest(replicas=2))
    cluster.pods = cluster.pods[:1]
    before = copy.deepcopy(served(cluster)["spec"]["template"])
    result, reasons = provision(cluster)
    assert isinstance(result, Result)
    assert result.node == "gpu-1"
    assert reasons == [f"gpu-1: 0 of 1 GPU(s) free, taken by team/phi-0; {GIVEN}"]
    assert served(cluster)["spec"]["replicas"] == 0
    note = read_note(served(cluster))
    assert note is not None
    assert (note.template, note.replicas, note.run) == (before, 2, "uid")


def test_a_try_after_one_that_was_killed_finds_its_note() -> None:
    cluster = one_gpu_cluster()
    provision(cluster)
    first = copy.deepcopy(served(cluster))
    # The old pod still ends.
    cluster.pods = one_gpu_cluster().pods
    _, reasons = provision(cluster)
    assert reasons[0].endswith(GIVEN)
    assert served(cluster) == first


def test_the_service_answers_on_a_cpu_as_deploy_would_let_it() -> None:
    cluster = one_gpu_cluster()
    result, reasons = provision(cluster, service_during_tuning="cpu")
    assert isinstance(result, Result)
    assert reasons[0].endswith("gives its GPU to the run, and answers on a CPU meanwhile")
    spec = served(cluster)["spec"]
    assert spec["replicas"] == 1
    assert GPU not in str(spec["template"]["spec"]["containers"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"engine": "transformers", "load_in_4bit": True, "allow_cpu": True},
        {"limits": True, "api_keys_secret": "clients", "max_length": 4096},
    ],
)
def test_a_server_on_a_cpu_is_what_deploy_makes_of_one(changes: dict[str, Any]) -> None:
    on_gpu = manifest(**changes)["spec"]["template"]
    wanted = manifest(
        **{key: value for key, value in changes.items() if key not in ("engine", "allow_cpu")},
        service_gpus=0,
        memory="62Gi",
    )["spec"]["template"]
    found = on_cpu(on_gpu, image=IMAGE, memory="62Gi")
    assert found["metadata"] == wanted["metadata"]
    assert _without_vllm(found) == _without_vllm(wanted)


def _without_vllm(template: Object) -> Object:
    """What a server on transformers does not look at, and tolerations, which bind it to nothing."""
    spec = copy.deepcopy(template["spec"])
    spec.pop("tolerations", None)
    (container,) = spec["containers"]
    names = {"VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "USER"}
    names.add("VLLM_ENGINE_READY_TIMEOUT_S")
    container["env"] = [each for each in container["env"] if each["name"] not in names]
    for holder, key in ((container, "volumeMounts"), (spec, "volumes")):
        holder[key] = [each for each in holder[key] if each["name"] != "shared-memory"]
    return spec


def test_a_service_keeps_its_gpu_where_it_is_to_and_the_wait_says_what_would_help() -> None:
    cluster = one_gpu_cluster()
    before = copy.deepcopy(served(cluster))
    result, reasons = provision(cluster, service_during_tuning="wait")
    assert isinstance(result, str)
    assert result.startswith("no node fits after 60 s: gpu-1: 0 of 1 GPU(s) free")
    assert reasons[0].endswith(
        "the workspace's own service has the GPU; service-during-tuning hand-over or cpu gives it"
        " to the run"
    )
    assert served(cluster) == before


def test_a_service_stays_where_its_gpu_would_not_help() -> None:
    small = {"gpus": 2}
    foreign = manifest()
    del foreign["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    on_cpu_already = manifest(service_gpus=0)
    for found, changes in ((None, small), (foreign, {}), (on_cpu_already, {})):
        cluster = one_gpu_cluster(found)
        if found is on_cpu_already:
            cluster.pods = one_gpu_cluster().pods
            cluster.pods[0]["metadata"]["labels"] = {}
        before = copy.deepcopy(served(cluster))
        _, reasons = provision(cluster, **changes)
        assert served(cluster) == before
        assert "service-during-tuning" not in str(reasons)


def test_a_free_gpu_is_taken_and_the_service_left_alone() -> None:
    cluster = one_gpu_cluster()
    other = copy.deepcopy(cluster.nodes[0])
    other["metadata"]["name"] = "gpu-2"
    cluster.nodes.append(other)
    before = copy.deepcopy(served(cluster))
    result, reasons = provision(cluster)
    assert isinstance(result, Result)
    assert (result.node, reasons) == ("gpu-2", [])
    assert served(cluster) == before


def test_a_refusal_or_a_note_that_somebody_edited_leaves_the_run_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = one_gpu_cluster()
    cluster.faults = [Fault("PATCH", "deployments", 403, times=9)]
    result, _ = provision(cluster)
    assert isinstance(result, str)
    assert caplog.text.count("service-not-handed-over") == 1
    edited = manifest()
    edited["metadata"]["annotations"] = {NOTE: "[]"}
    result, _ = provision(one_gpu_cluster(edited))
    assert isinstance(result, str)


def test_a_deployment_that_changed_meanwhile_is_looked_at_again() -> None:
    cluster = one_gpu_cluster()
    cluster.faults = [Fault("PATCH", "deployments", 409)]
    result, reasons = provision(cluster)
    assert isinstance(result, Result)
    assert [each.endswith(GIVEN) for each in reasons] == [False, True]


def test_a_cpu_needs_an_image_and_memory() -> None:
    with pytest.raises(ParamsError, match="--serve-image, --cpu-memory: missing"):
        params(service_during_tuning="cpu", cpu_memory="")
