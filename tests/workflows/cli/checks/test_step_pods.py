from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from argotune.workflows.cli.checks import step_pods
from argotune.workflows.cli.checks.workspace import needs_of
from argotune.workflows.cli.installation.objects import objects
from argotune.workflows.cli.installation.settings import Settings
from argotune.workflows.workspace.planned import load
from tests.fakes.api_server import ApiServer, Object
from tests.workflows.cli.checks.cluster import EXECUTOR, REGISTRY, SPACE, healthy, look, messages
from tests.workflows.cli.checks.cluster import settings as controller_settings
from tests.workflows.workspace.helpers import changed

STEPS = [
    "plan", "dataset", "model", "provision", "tune", "answer", "evaluate", "watch", "push",
    "deploy", "reject", "release", "release-node", "notify", "notify-waiting", "scorer", "serve"
]  # fmt: skip
LIMITED = {"requests": {"cpu": "10m"}, "limits": {"cpu": "100m", "memory": "64Mi"}}


def containers(pod: Object) -> Iterator[Object]:
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def quota_on(*resources: str) -> Any:
    """What Kubernetes' ResourceQuota says of a pod without these limits."""

    def admit(pod: Object) -> str | None:
        missing = [
            f"must specify limits.{name} for: {','.join(names)}"
            for name in resources
            if (names := sorted(_without(pod, name)))
        ]
        generated = pod["metadata"]["generateName"]
        said = "; ".join(missing)
        return f'pods "{generated}x7" is forbidden: failed quota: q: {said}' if missing else None

    return admit


def _without(pod: Object, name: str) -> list[str]:
    return [
        each["name"]
        for each in containers(pod)
        if name not in (each.get("resources") or {}).get("limits", {})
    ]


def tried(server: ApiServer, **changes: Any) -> tuple[dict[str, Object], list[Any]]:
    """The pods that the server was asked about, by step, and what was found."""
    asked: dict[str, Object] = {}
    judge = server.admit

    def admit(pod: Object) -> str | None:
        name = pod["metadata"]["generateName"].removeprefix("argotune-doctor-")
        asked[name.removesuffix("-")] = pod
        return judge(pod)

    server.admit = admit
    found = look(server, step_pods.pods, **changes)
    assert server.of_kind("Pod") == []
    assert all("dryRun=All" in line for line in server.requests if line.startswith("POST"))
    return asked, found


def with_limits() -> ApiServer:
    """A whole cluster whose installation and controller set limits everywhere."""
    server = healthy()
    for item in objects(Settings(images_registry=REGISTRY, run_settings={"limits": "true"}), SPACE):
        server.put(item)
    executor = {**EXECUTOR, "resources": LIMITED}
    server.put(controller_settings(executor=json.dumps(executor)))
    return server


def test_each_steps_pod_is_as_argo_makes_it() -> None:
    pods, found = tried(healthy())
    assert messages(found) == [
        f"ok: the cluster takes the pods of {', '.join(STEPS)}, tried without making them"
    ]
    assert list(pods) == STEPS
    tune = pods["tune"]["spec"]
    assert [item["name"] for item in containers(pods["tune"])] == ["init", "wait", "main"]
    assert all(item["securityContext"] for item in containers(pods["tune"]))
    (main,) = [item for item in tune["containers"] if item["name"] == "main"]
    assert main["image"] == f"{REGISTRY}/argotune-tune:0.1.0"
    assert main["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": "1"}
    assert tune["terminationGracePeriodSeconds"] == 110
    assert tune["serviceAccountName"] == "argotune-step"
    mounted = {mount["name"] for item in tune["containers"] for mount in item["volumeMounts"]}
    assert mounted <= {volume["name"] for volume in tune["volumes"]}
    assert pods["release"]["spec"]["serviceAccountName"] == "argotune-release"
    assert "{{" not in json.dumps(pods)


def test_a_workspaces_own_requests_are_tried() -> None:
    text = changed(
        {
            "metadata/annotations": {
                "argotune.dev/tune-memory": "40Gi",
                "argotune.dev/service-memory": "3Gi",
            }
        }
    )
    planned = load([("one.yaml", text)], overrides={}, allow_loopback=False)
    pods, _ = tried(healthy(), needs=needs_of(planned, None))
    assert pods["tune"]["spec"]["containers"][1]["resources"]["requests"]["memory"] == "40Gi"
    assert pods["serve"]["spec"]["containers"][0]["resources"]["requests"]["memory"] == "3Gi"


def test_a_quota_on_limits_is_told_with_what_sets_them() -> None:
    server = healthy()
    server.admit = quota_on("cpu")
    _, (steps, service) = tried(server)
    assert steps.message == (
        f"the cluster refuses the pods of {', '.join(STEPS[:-1])}: failed quota: q: must specify "
        "limits.cpu for: init,main,wait"
    )
    first, second = steps.command.split("; ")
    assert first == "argotune install -n team-a --limits true"
    assert "workflow-controller-configmap" in second
    assert '\\"limits\\"' in second
    assert service.message.startswith("the cluster refuses the pods of serve: failed quota: q: ")
    assert service.command == first


def test_with_limits_everywhere_a_quota_takes_every_pod() -> None:
    server = with_limits()
    server.admit = quota_on("cpu", "memory")
    pods, found = tried(server)
    assert [finding.level for finding in found] == ["ok"]
    limits = {
        item["name"]: item["resources"]["limits"] for item in pods["tune"]["spec"]["containers"]
    }
    assert limits["main"] == {"cpu": "2", "memory": "16Gi", "nvidia.com/gpu": "1"}


def test_where_only_argos_containers_lack_limits_the_installation_is_not_blamed() -> None:
    server = with_limits()
    server.put(controller_settings(executor=json.dumps(EXECUTOR)))
    server.admit = quota_on("memory")
    _, (finding,) = tried(server)
    assert "must specify limits.memory for: init,wait" in finding.message
    assert "argotune install" not in finding.command


def test_a_limit_range_that_one_step_breaks_names_that_step() -> None:
    server = healthy()
    said = "maximum memory usage per Container is 8Gi, but limit is 16Gi"
    server.admit = lambda pod: (
        f'pods "x" is forbidden: {said}' if "-tune-" in pod["metadata"]["generateName"] else None
    )
    _, found = tried(server)
    assert messages(found) == [f"problem: the cluster refuses the pods of tune: {said}"]


def test_a_webhook_that_takes_no_trial_leaves_it_open() -> None:
    server = healthy()
    server.refusals["POST pods"] = (400, 'admission webhook "a.b" does not support dry run')
    (finding,) = look(server, step_pods.pods)
    assert finding.level == "unknown"
    assert "does not support dry run" in finding.message


@pytest.mark.parametrize("server", [ApiServer(kinds=()), ApiServer()], ids=["no argo", "bare"])
def test_without_an_installation_nothing_is_tried(server: ApiServer) -> None:
    assert look(server, step_pods.pods) == []
