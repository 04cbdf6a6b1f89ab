"""Why a pod waits, in a person's words."""

from __future__ import annotations

import pytest

from argotune.workflows.cli.show.pending import PullTimer, pull_problem, waiting_message
from tests.workflows.cli.cluster_workflows import IMAGE, NO_IMAGE, exit_handler, run_of, step


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (NO_IMAGE, f"image {IMAGE} cannot be pulled: not found"),
        (
            "ErrImagePull: rpc error: code = Unknown desc = failed to pull and unpack image"
            f' "{IMAGE}": failed to resolve reference "{IMAGE}": failed to do request: Head'
            ' "https://registry.example.com/v2/argotune-plan/manifests/1": dial tcp: lookup'
            " registry.example.com: no such host",
            f"image {IMAGE} cannot be pulled: failed to do request: Head"
            ' "https://registry.example.com/v2/argotune-plan/manifests/1": dial tcp: lookup'
            " registry.example.com: no such host",
        ),
        (
            f'ErrImagePull: failed to pull and unpack image "{IMAGE}": failed to resolve reference'
            f' "{IMAGE}": failed to authorize: 401 Unauthorized',
            f"image {IMAGE} cannot be pulled: failed to authorize: 401 Unauthorized",
        ),
        (f'ImagePullBackOff: Back-off pulling image "{IMAGE}"', f"image {IMAGE} cannot be pulled"),
        (
            'InvalidImageName: Failed to apply default image tag "a:b:c": couldn\'t parse image'
            ' name "a:b:c": invalid reference format',
            "image a:b:c cannot be pulled: invalid reference format",
        ),
        ("ErrImageNeverPull: no", "the image cannot be pulled"),
        (
            "Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu. no new claims"
            " to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found.",
            "waits for a GPU: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu",
        ),
        (
            "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.",
            "waits for a node: 0/1 nodes are available: 1 Insufficient cpu",
        ),
        ("PodInitializing", "starting"),
        ("ContainerCreating", "starting"),
        ("Waiting for argo/Mutex/one lock", "Waiting for argo/Mutex/one lock"),
        ("", ""),
    ],
)
def test_what_the_cluster_says_is_told_shortly(message: str, said: str) -> None:
    assert waiting_message(message) == said


def test_other_messages_are_no_pull_problem() -> None:
    assert pull_problem("Unschedulable: the image of the node") is None


def test_a_pull_is_overdue_after_its_time() -> None:
    timer = PullTimer(60)
    waiting = run_of(*step("plan", "Pending", message=NO_IMAGE))
    assert timer.overdue(waiting, 100) == []
    assert timer.overdue(waiting, 159) == []
    ((node, problem),) = timer.overdue(waiting, 160)
    assert (node["id"], problem.image, problem.reason) == ("plan(0)", IMAGE, "not found")


def test_the_time_goes_on_while_the_kubelet_tries_again() -> None:
    timer = PullTimer(60)
    assert timer.overdue(run_of(*step("plan", "Pending", message=NO_IMAGE)), 0) == []
    assert timer.overdue(run_of(*step("plan", "Pending", message="ContainerCreating")), 30) == []
    assert timer.overdue(run_of(*step("plan", "Pending", message=NO_IMAGE)), 60) != []


def test_a_pod_that_started_is_forgotten() -> None:
    timer = PullTimer(60)
    assert timer.overdue(run_of(*step("plan", "Pending", message=NO_IMAGE)), 0) == []
    assert timer.overdue(run_of(*step("plan", "Running")), 30) == []
    assert timer.overdue(run_of(*step("plan", "Pending", message=NO_IMAGE)), 70) == []


def test_each_pod_has_its_own_time() -> None:
    timer = PullTimer(60)
    timer.overdue(run_of(*step("model", "Pending", message=NO_IMAGE)), 0)
    both = run_of(
        *step("model", "Pending", message=NO_IMAGE),
        *exit_handler("Pending", message=NO_IMAGE),
    )
    assert [node["id"] for node, _ in timer.overdue(both, 60)] == ["model(0)"]
