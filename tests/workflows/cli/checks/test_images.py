from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.nodes.provider import NodeRequest
from argotune.workflows.cli.checks import images
from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.subject import Needs
from argotune.workflows.workspace.images import LARGE
from argotune.workflows.workspace.model import SERVICE_TEMPLATE
from tests.fakes.api_server import ApiServer, Object
from tests.workflows.cli.checks.cluster import REGISTRY, SPACE, healthy, look, messages
from tests.workflows.installed import decide

ENDED = {"terminated": {"exitCode": 0, "reason": "Completed"}}
NOT_FOUND = {"waiting": {"reason": "ErrImagePull", "message": "IMAGE:\n not found"}}
TEMPLATE = f"/apis/argoproj.io/v1alpha1/namespaces/{SPACE}/workflowtemplates/finetune"


def becomes(
    state_of: Callable[[str], Object | None], **status: Any
) -> Callable[[ApiServer, str, Object], None]:
    """Pods with the container's state that is given for their image."""

    def on_create(server: ApiServer, path: str, pod: Object) -> None:
        image = pod["spec"]["containers"][0]["image"]
        state = state_of(image)
        text = {**state, "waiting": {**state["waiting"]}} if state and "waiting" in state else state
        if text and "waiting" in text:
            text["waiting"]["message"] = text["waiting"]["message"].replace("IMAGE", image)
        pod["status"] = {"containerStatuses": [{"state": text}] if text else [], **status}

    return on_create


NOT_PULLED = (
    "info: the images of tune, serve and vllm, several GiB each, were not pulled, as --pull-test"
    " small says"
)


def pulled(server: ApiServer, **changes: Any) -> list[str]:
    """What is said of the images, without what says that the large ones were not tried."""
    found = messages(look(server, images.pulls, **changes))
    assert server.of_kind("Pod") == []
    return [message for message in found if message != NOT_PULLED]


def test_what_was_not_pulled_is_told() -> None:
    server = healthy()
    server.on_create = becomes(lambda image: ENDED)
    assert messages(look(server, images.pulls))[-1] == NOT_PULLED
    assert NOT_PULLED not in messages(look(server, images.pulls, pull=Pull.ALL))


def test_images_that_start() -> None:
    server, pods = healthy(), []

    def on_create(server: ApiServer, path: str, pod: Object) -> None:
        becomes(lambda image: ENDED)(server, path, pod)
        pods.append(pod)

    server.on_create = on_create
    assert pulled(server) == [
        f"ok: images of {REGISTRY} start: argotune-plan:0.1.0, argotune-dataset:0.1.0, "
        "argotune-model:0.1.0, argotune-provision:0.1.0, argotune-push:0.1.0, "
        "argotune-deploy:0.1.0, argotune-release:0.1.0"
    ]
    accounts = {pod["spec"]["serviceAccountName"] for pod in pods}
    assert accounts == {
        "argotune-dataset",
        "argotune-step",
        "argotune-provision",
        "argotune-deploy",
        "argotune-release",
    }
    (context,) = {str(pod["spec"]["containers"][0]["securityContext"]) for pod in pods}
    assert "'readOnlyRootFilesystem': True" in context
    assert all(pod["spec"]["securityContext"]["runAsNonRoot"] for pod in pods)


def test_images_that_cannot_be_pulled_are_told_together() -> None:
    server = healthy()
    bad = (f"{REGISTRY}/argotune-plan:0.1.0", f"{REGISTRY}/argotune-deploy:0.1.0")
    server.on_create = becomes(lambda image: NOT_FOUND if image in bad else ENDED)
    found = look(server, images.pulls)
    assert messages(found)[0] == (
        f"problem: image {bad[0]} cannot be pulled: {bad[0]}: not found; and so it is with "
        "argotune-deploy:0.1.0"
    )
    assert found[0].command == "argotune install -n team-a --image-pull-secret SECRET"
    assert found[1].message.startswith(f"images of {REGISTRY} start: ")
    assert server.of_kind("Pod") == []


def test_an_image_without_python() -> None:
    server = healthy()
    ended = {"terminated": {"exitCode": 128, "reason": "StartError"}}
    server.on_create = becomes(lambda image: ended)
    (found,) = pulled(server)
    assert found.startswith(
        f"problem: image {REGISTRY}/argotune-plan:0.1.0 was pulled, and its python ends with exit "
        "code 128 (StartError); and so it is with "
    )


def test_a_pull_that_takes_too_long() -> None:
    server = healthy()
    server.on_create = becomes(lambda image: None if "plan" in image else ENDED)
    assert pulled(server)[0] == (
        f"warning: image {REGISTRY}/argotune-plan:0.1.0 was not pulled in 240 s"
    )


def test_the_kubelets_own_limit_is_waited_for() -> None:
    server = healthy()
    busy = {"waiting": {"reason": "ErrImagePull", "message": "pull QPS exceeded"}}
    server.on_create = becomes(lambda image: busy)
    (found,) = pulled(server)
    assert "was not pulled in 240 s" in found


def test_a_pod_that_finds_no_node() -> None:
    server = healthy()
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    server.on_create = becomes(lambda image: None, conditions=[condition])
    (found,) = pulled(server)
    assert found.startswith(
        f"warning: image {REGISTRY}/argotune-plan:0.1.0 was not tried, its pod found no node in "
        "240 s: 0/3 nodes are available; and so it is with "
    )


def test_a_pod_that_the_namespace_refuses() -> None:
    server = healthy()
    server.refusals["POST pods"] = (403, "exceeded quota: pods=0")
    (found,) = pulled(server)
    assert found.startswith(
        f"problem: image {REGISTRY}/argotune-plan:0.1.0 gets no pod: exceeded quota: pods=0; and so"
    )


def test_large_images_are_pulled_where_they_will_run() -> None:
    server, pods = healthy(), {}

    def on_create(server: ApiServer, path: str, pod: Object) -> None:
        becomes(lambda image: ENDED)(server, path, pod)
        pods[pod["spec"]["containers"][0]["image"]] = pod["spec"]

    server.on_create = on_create
    decide(server.objects[TEMPLATE], image_pull_secret="pull")
    node = NodeRequest(run="", gpus=1, labels={"app": "gpu"}, timeout_seconds=0.0)
    needs = Needs(push_secret="mine", node=node)
    look(server, images.pulls, pull=Pull.ALL, needs=needs)
    tune, *servers = (pods[f"{REGISTRY}/argotune-{step}:0.1.0"] for step in LARGE)
    assert len(servers) == 2
    for server_pod in servers:
        assert tune["nodeSelector"] == server_pod["nodeSelector"] == {"app": "gpu"}
        assert server_pod["imagePullSecrets"] == [{"name": "pull"}, {"name": "mine"}]
    assert "nodeSelector" not in pods[f"{REGISTRY}/argotune-plan:0.1.0"]


def test_of_a_service_its_steps_and_its_server_are_pulled() -> None:
    server, pods = healthy(), []

    def on_create(server: ApiServer, path: str, pod: Object) -> None:
        becomes(lambda image: ENDED)(server, path, pod)
        pods.append(pod["spec"]["containers"][0]["image"])

    server.on_create = on_create
    needs = Needs(template=SERVICE_TEMPLATE, images=("plan", "vllm"))
    look(server, images.pulls, pull=Pull.ALL, needs=needs)
    assert pods == [f"{REGISTRY}/argotune-{name}:0.1.0" for name in ("plan", "vllm")]
    _, told = look(server, images.pulls, needs=needs)
    assert told.message == (
        "the image of vllm, several GiB, was not pulled, as --pull-test small says"
    )


def test_other_images_than_the_installed_ones_and_the_default_account() -> None:
    server, pods = healthy(), []
    server.objects = {
        path: item for path, item in server.objects.items() if "/serviceaccounts/" not in path
    }

    def on_create(server: ApiServer, path: str, pod: Object) -> None:
        becomes(lambda image: ENDED)(server, path, pod)
        pods.append(pod["spec"])

    server.on_create = on_create
    look(server, images.pulls, images_registry="mirror.test:5000/a", images_tag="2")
    assert pods[0]["containers"][0]["image"] == "mirror.test:5000/a/argotune-plan:2"
    assert {spec["serviceAccountName"] for spec in pods} == {"default"}


def test_images_of_nowhere() -> None:
    server = healthy()
    del server.objects[TEMPLATE]
    assert pulled(server) == [
        "unknown: whether the nodes can pull the images: it is not known where the images are"
    ]


def test_no_pull_test() -> None:
    assert pulled(healthy(), pull=Pull.NONE) == [
        "info: whether the nodes can pull the images was not tried, as --pull-test none says"
    ]


def test_pods_go_when_the_wait_is_interrupted() -> None:
    server = healthy()
    made: list[str] = []

    def on_create(server: ApiServer, path: str, pod: Object) -> None:
        made.append(path)

    server.on_create = on_create

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    clock = Clock(now=lambda: 0.0, sleep=interrupt)
    with pytest.raises(KeyboardInterrupt):
        look(server, images.pulls, clock=clock)
    assert len(made) == len(images.SMALL)
    assert server.of_kind("Pod") == []
