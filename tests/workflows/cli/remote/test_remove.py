"""argotune rm of a cluster's runs."""

from __future__ import annotations

from argotune.workflows.cli.show.rows import utc_now
from tests.fakes.kube import Cluster
from tests.workflows.cli.cluster_workflows import NAME, failed_run, run_of, step
from tests.workflows.cli.command import Argotune

RM = ("rm", "-n", "team-a")
KEY = ("Workflow", "team-a", NAME)


def test_a_run_that_failed_is_deleted_with_its_volume(argotune: Argotune, cluster: Cluster) -> None:
    cluster.put(failed_run())
    answer = argotune(*RM, NAME, "--dry-run")
    assert answer.out == f"run {NAME}: would be deleted with its volume {NAME}-work, 22Gi\n"
    assert KEY in cluster.objects
    answer = argotune(*RM, NAME)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"run {NAME}: deleted with its volume {NAME}-work, 22Gi\n"
    assert KEY not in cluster.objects


def test_all_that_cannot_be_deleted_is_told_and_nothing_is(
    argotune: Argotune, cluster: Cluster
) -> None:
    cluster.put(failed_run())
    cluster.put(run_of(*step("tune", "Running"), name="other-abcde"))
    answer = argotune(*RM, NAME, "other-abcde", "my-model", "nope")
    assert (answer.code, answer.out) == (2, "")
    assert answer.errors == [
        "other-abcde: goes on; stop it first: argotune stop other-abcde -n team-a",
        f"'my-model': is a workspace; name its runs: {NAME}",
        "'nope': no run of this name with the label argotune.dev/workspace in namespace team-a;"
        f" there are {NAME}, other-abcde",
    ]
    assert KEY in cluster.objects


def test_a_run_that_no_controller_took_is_deleted(argotune: Argotune, cluster: Cluster) -> None:
    run = run_of()
    del run["status"]
    cluster.put(run)
    answer = argotune(*RM, NAME)
    assert (answer.code, answer.err, answer.out) == (0, "", f"run {NAME}: deleted\n")
    assert KEY not in cluster.objects


def test_a_new_run_is_left_to_the_controller(argotune: Argotune, cluster: Cluster) -> None:
    run = run_of()
    del run["status"]
    run["metadata"]["creationTimestamp"] = f"{utc_now():%Y-%m-%dT%H:%M:%SZ}"
    cluster.put(run)
    answer = argotune(*RM, NAME)
    assert answer.errors == [f"{NAME}: goes on; stop it first: argotune stop {NAME} -n team-a"]
    assert KEY in cluster.objects


def test_what_is_of_this_machine_is_refused(argotune: Argotune, cluster: Cluster) -> None:
    answer = argotune(*RM, "--older-than", "7d")
    assert (answer.code, answer.errors) == (
        2,
        [
            "--older-than: for this machine; on a cluster name the runs, and argotune stop NAME"
            " --service -n team-a deletes a service"
        ],
    )
