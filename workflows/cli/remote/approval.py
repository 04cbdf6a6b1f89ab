"""The answer to a run of a cluster that waits for its approval.

It is what Argo's server writes when somebody resumes a suspended node: the node's phase and outputs
in the Workflow's status. The admission policy lets people change nothing else there.
"""

from __future__ import annotations

from argotune.steps.cluster.kube import Object
from argotune.steps.common.values import is_dns_label
from argotune.steps.contracts.approval import APPROVE as APPROVE_STEP
from argotune.steps.contracts.approval import DECISION, REASON
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.remote.api_errors import ClusterRefusal, explain_errors
from argotune.workflows.cli.remote.applied import annotate_applied, owner_of
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import cluster_runs, run_named, whole_run
from argotune.workflows.cli.show.approval import (
    Approval,
    answer_by,
    approval_of,
    no_question,
    the_waiting,
)
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.cli.show.workflow_json import Workflow, is_offloaded, name_of
from argotune.workflows.workspace.operator_annotations import APPROVE, REJECT

_CONFLICT = 409
_ATTEMPTS = 5
"""Argo writes the Workflow too, but seldom while it waits."""


def decide(cluster: Cluster, name: str, decision: str, reason: str) -> str:
    """Answer the run that the name means, and return what was said.

    The run of a Workspace that was applied is answered by the operator. Raises InputError where no
    run of this name waits for its approval, or several do.
    """
    meant = _run_meant(cluster, name)
    if said := _ask_operator(cluster, meant, decision, reason):
        return said
    return answer_run(cluster, name_of(meant), decision, reason)


def answer_run(cluster: Cluster, name: str, decision: str, reason: str) -> str:
    """Answer the run of this name, as `decide`."""
    with explain_errors("who you are"):
        said = answer_by(cluster.kube.user_name(), decision)
    for attempt in range(1, _ATTEMPTS + 1):
        run = _read(cluster, name)
        asked = _question_of(cluster, run)
        try:
            _answer(cluster, run, asked, said, {DECISION: decision, REASON: reason})
            break
        except ClusterRefusal as error:
            if error.status != _CONFLICT or attempt == _ATTEMPTS:
                raise
    return f"run {name}: {said}"


def _ask_operator(cluster: Cluster, run: Workflow, decision: str, reason: str) -> str:
    """Annotate the Workspace that owns the run, and return what was said; empty without one."""
    workspace = owner_of(run)
    if not workspace:
        return ""
    _question_of(cluster, run)
    with explain_errors("who you are"):
        person = cluster.kube.user_name()
    said = ": ".join(filter(None, (person, reason)))
    asked = {APPROVE: None, REJECT: None, decision: f"{name_of(run)} {said}".strip()}
    if not annotate_applied(cluster, workspace, asked):
        return ""
    return f"run {name_of(run)}: the operator is asked to {decision} it"


def _run_meant(cluster: Cluster, name: str) -> Workflow:
    """Find the run of a workspace that waits, behind newer runs too; else what the name means."""
    active = cluster_runs(cluster, name, only_active=True) if is_dns_label(name) else []
    runs = [run for each in active if (run := whole_run(cluster, name_of(each))) is not None]
    return the_waiting(name, runs) or run_named(cluster, name)


def _read(cluster: Cluster, name: str) -> Workflow:
    """Read the run as it is stored: Argo overlooks steps that stand beside packed ones."""
    found = cluster.get("Workflow", name)
    if found is None:
        raise CliError(f"run {name} is not in namespace {cluster.namespace} any more")
    return found


def _question_of(cluster: Cluster, run: Workflow) -> Approval:
    asked = approval_of(run)
    if is_offloaded(run) or "compressedNodes" in run.get("status", {}):
        raise CliError(
            f"run {name_of(run)}: Argo keeps its steps packed or in a database of its own, so only"
            " Argo resumes it: in its UI, or by `argo node set` with --output-parameter"
            f" {DECISION}=approve and `argo resume`, both with {name_of(run)} {cluster.flags}"
            f" --node-field-selector displayName={APPROVE_STEP}"
        )
    if asked is None or not asked.is_waiting:
        raise InputError(no_question(run))
    return asked


def _answer(
    cluster: Cluster, run: Workflow, asked: Approval, said: str, outputs: dict[str, str]
) -> None:
    """Write the answer, unless the Workflow has changed since it was read."""
    parameters: list[Object] = [{"name": name, "value": value} for name, value in outputs.items()]
    node = {
        "phase": "Succeeded",
        "finishedAt": f"{utc_now():%Y-%m-%dT%H:%M:%SZ}",
        "message": said,
        "outputs": {"parameters": parameters},
    }
    change = {
        "metadata": {"resourceVersion": run["metadata"]["resourceVersion"]},
        "status": {"nodes": {asked.node["id"]: node}},
    }
    cluster.patch("Workflow", name_of(run), change)
