"""The manifests against the files in golden/; GOLDEN=write rewrites those."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from argotune.steps.deploy.manifests.deployment import AdapterImage, AdapterInCache, deployment
from argotune.steps.deploy.manifests.labels import Manifest
from argotune.steps.deploy.manifests.objects import serving_objects, surrounding_objects
from argotune.steps.deploy.params import Params

GOLDEN = Path(__file__).parent / "golden"
REFERENCE = "acr.io/team/phi@sha256:" + "a" * 64


def params(**changes: Any) -> Params:
    values: dict[str, Any] = {
        "name": "phi",
        "reference": REFERENCE,
        "plan_file": Path("plan.yaml"),
        "model_dir": "microsoft--Phi-3/abc",
        "cache_dir": Path("/models"),
        "namespace": "team",
        "image": "acr.io/argotune-serve:1",
        "vllm_image": "acr.io/argotune-vllm:1",
        "model_cache_claim": "argotune-models",
        "dataset_digest": "sha256:" + "d" * 64,
    }
    return Params(**values | changes)


def gpu_params() -> Params:
    return params(
        gpus=1,
        node_selector='{"gpu": "a100"}',
        adapter_pull_secret="acr-push",
        memory="16Gi",
        timeout_seconds=1200.0,
    )


def on_gpu() -> list[Manifest]:
    wanted = gpu_params()
    adapter = AdapterImage(reference=REFERENCE)
    return serving_objects(wanted, adapter, replicas=1) + surrounding_objects(wanted)


def exposed() -> list[Manifest]:
    wanted = params(
        replicas=2,
        max_replicas=5,
        host="phi.models.example.com",
        domain="models.example.com",
        ingress_class="nginx",
        tls_secret="models-tls",
        monitor_labels="release=prometheus",
    )
    return surrounding_objects(wanted, has_monitors=True)


def routed() -> list[Manifest]:
    at_gateway = {"host": "phi.example.com", "domain": "example.com", "gateway": "edge/public"}
    return surrounding_objects(params(**at_gateway))[1:]


def on_cpu() -> list[Manifest]:
    return [deployment(params(), AdapterInCache(directory="adapters/phi/aaaa"))]


@pytest.mark.parametrize(
    ("name", "build"),
    [("gpu", on_gpu), ("cpu", on_cpu), ("exposed", exposed), ("routed", routed)],
)
def test_manifests_are_as_they_were(name: str, build: Any) -> None:
    path = GOLDEN / f"{name}.yaml"
    text = yaml.safe_dump_all(build(), sort_keys=False)
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_server_has_limits_where_the_installation_sets_them(gpus: int) -> None:
    wanted = params(limits=True, gpus=gpus, memory="6Gi")
    server = deployment(wanted, AdapterInCache(directory="adapters/phi/aaaa"))
    (container,) = server["spec"]["template"]["spec"]["containers"]
    gpu = {"nvidia.com/gpu": "1"} if gpus else {}
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "6Gi"},
        "limits": {"cpu": "4", "memory": "6Gi", **gpu},
    }


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"gpus": 0}, []),
        ({"gpus": 2}, ["--gpus=1"]),
        ({"gpus": 2, "service_gpus": 2}, ["--gpus=2"]),
        ({"gpus": 2, "service_gpus": 0}, []),
        ({"gpus": 2, "service_gpus": 1, "allow_cpu": True}, ["--gpus=1", "--allow-cpu=true"]),
    ],
)
def test_the_server_knows_how_many_gpus_it_was_given(
    options: dict[str, Any], flags: list[str]
) -> None:
    server = deployment(params(**options), AdapterInCache(directory="adapters/a"))
    (container,) = server["spec"]["template"]["spec"]["containers"]
    assert [flag for flag in container["args"] if "gpu" in flag or "cpu" in flag] == flags


@pytest.mark.parametrize("manifest", [on_gpu()[2], *on_cpu()])
def test_pods_keep_the_restricted_pod_security_standard(manifest: Manifest) -> None:
    pod = manifest["spec"]["template"]["spec"]
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] != 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    allowed = {"persistentVolumeClaim", "emptyDir", "image"}
    assert all(set(volume) - {"name"} <= allowed for volume in pod["volumes"])
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert not any("hostPort" in port for port in container["ports"])


@pytest.mark.parametrize("manifest", [on_gpu()[2], *on_cpu()])
def test_every_mount_has_its_volume_and_every_volume_its_mount(manifest: Manifest) -> None:
    pod = manifest["spec"]["template"]["spec"]
    mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize(
    ("changes", "tolerates"),
    [
        ({"gpus": 1, "node_selector": "{}"}, True),
        ({"gpus": 0, "node_selector": '{"pool": "tuning"}'}, True),
        ({"gpus": 1, "service_gpus": 0, "node_selector": '{"pool": "tuning"}'}, False),
        ({"gpus": 0, "node_selector": "{}"}, False),
    ],
)
def test_taints_of_gpu_nodes_are_tolerated_by_what_may_go_there(
    changes: dict[str, Any], tolerates: bool
) -> None:
    server = deployment(params(**changes), AdapterImage(reference=REFERENCE))
    pod = server["spec"]["template"]["spec"]
    assert ("tolerations" in pod) is tolerates


def test_server_and_adapter_are_pulled_with_the_logins_of_their_registries() -> None:
    adapter = AdapterImage(reference=REFERENCE)
    for secrets, names in [
        ({"image_pull_secret": "images", "adapter_pull_secret": "push"}, ["images", "push"]),
        ({"image_pull_secret": "both", "adapter_pull_secret": "both"}, ["both"]),
        ({"image_pull_secret": "images"}, ["images"]),
    ]:
        pod = deployment(params(**secrets), adapter)["spec"]["template"]["spec"]
        assert pod["imagePullSecrets"] == [{"name": name} for name in names]


def test_the_service_keeps_off_nodes_that_are_made_for_runs() -> None:
    """They are there while it starts, have a free GPU, and go when the run ends."""
    pod = deployment(gpu_params(), AdapterImage(reference=REFERENCE))["spec"]["template"]
    required = pod["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert required["nodeSelectorTerms"] == [
        {"matchExpressions": [{"key": "argotune.dev/run", "operator": "DoesNotExist"}]}
    ]


@pytest.mark.parametrize(
    ("changes", "selector"),
    [
        ({"node_selector": '{"pool": "gpu"}'}, {"pool": "gpu"}),
        ({"node_selector": '{"argotune.dev/node": "gpu1f"}'}, None),
        ({"node_selector": '{"argotune.dev/node": "gpu1f"}', "label_selector": "a=b"}, {"a": "b"}),
        ({"node_selector": '{"pool": "gpu"}', "label_selector": "a=b,c=d"}, {"a": "b", "c": "d"}),
        ({"service_gpus": 0, "node_selector": '{"pool": "gpu"}'}, None),
        # A plan of no GPU; the service is told to need none, so any node will do.
        ({"gpus": 0, "service_gpus": 0, "node_selector": '{"pool": "gpu"}'}, None),
        ({"service_gpus": 0, "label_selector": "a=b"}, {"a": "b"}),
        (
            {"node_selector": '{"pool": "gpu"}', "instance_type": "NC24", "label_selector": "a=b"},
            {"a": "b", "node.kubernetes.io/instance-type": "NC24"},
        ),
    ],
)
def test_the_service_goes_where_it_is_told_else_to_nodes_like_the_one_that_tuned(
    changes: dict[str, Any], selector: dict[str, str] | None
) -> None:
    wanted = params(**{"gpus": 1, **changes})
    server = deployment(wanted, AdapterImage(reference=REFERENCE))
    assert server["spec"]["template"]["spec"].get("nodeSelector") == selector


def test_the_service_and_the_policy_select_the_servers_pods() -> None:
    policy, service, server, budget = on_gpu()
    labels = server["spec"]["template"]["metadata"]["labels"]
    selectors = [
        policy["spec"]["podSelector"]["matchLabels"],
        service["spec"]["selector"],
        server["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_kubernetes_expands_nothing_in_the_servers_arguments() -> None:
    wanted = params(model_dir="$(HOME)/a$$b")
    (container,) = deployment(wanted, AdapterInCache(directory="$(PATH)"))["spec"]["template"][
        "spec"
    ]["containers"]
    assert "--model-dir=/argotune/models/$$(HOME)/a$$$$b" in container["args"]
    assert "--adapter-dir=/argotune/models/$$(PATH)" in container["args"]
