from __future__ import annotations

from argotune.workflows.cli.checks import argo_kinds
from argotune.workflows.cli.installation.objects import RUNS_POLICY
from tests.fakes.api_server import ApiServer
from tests.workflows.cli.checks.cluster import healthy, look, messages


def test_kinds_that_are_there() -> None:
    assert messages(look(healthy(), argo_kinds.kinds)) == [
        "ok: Argo's kinds are there: workflows, workflowtemplates, cronworkflows, "
        "workflowtaskresults"
    ]


def test_argo_is_not_installed() -> None:
    (found,) = look(ApiServer(kinds=()), argo_kinds.kinds)
    assert (found.level, found.message) == (
        "problem",
        "Argo Workflows is not installed: the API server knows no argoproj.io/v1alpha1",
    )
    assert "kubectl apply --server-side" in found.command
    assert look(ApiServer(kinds=()), argo_kinds.schema) == []


def test_a_kind_is_missing() -> None:
    found = look(ApiServer(kinds=("workflows", "workflowtemplates")), argo_kinds.kinds)
    assert messages(found) == [
        "problem: Argo's kinds cronworkflows, workflowtaskresults are missing"
    ]


def test_full_and_minimal_definitions() -> None:
    cluster = healthy()
    assert messages(look(cluster, argo_kinds.schema)) == [
        "ok: Argo's definitions are the full ones: a mistyped field is refused at submission"
    ]
    cluster.full_definitions = False
    assert messages(look(cluster, argo_kinds.schema)) == [
        "info: Argo's definitions are the minimal ones: a mistyped field of a Workflow is kept, "
        "and found late or never"
    ]
    assert cluster.of_kind("Workflow") == []


def test_a_refusal_by_the_admission_policy_means_minimal_definitions() -> None:
    cluster = healthy()
    cluster.refusals["POST workflows"] = (422, f"'{RUNS_POLICY}-team-a' denied request: spec")
    (found,) = look(cluster, argo_kinds.schema)
    assert found.message.startswith("Argo's definitions are the minimal ones")
