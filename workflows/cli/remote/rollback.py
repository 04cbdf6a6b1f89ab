"""Rolling back a service of a cluster: a Workflow of the installed template `rollback`.

Who submits runs may not change Deployments, and the cluster has the registry's login.
"""

from __future__ import annotations

import sys

from argotune.steps.cluster.kube import Object
from argotune.steps.common.errors import StepError
from argotune.steps.common.values import is_dns_label
from argotune.steps.contracts.in_service import InService
from argotune.steps.registry.oci import ImageReference, LayoutReference
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.login import Login
from argotune.workflows.cli.remote.applied import annotate_applied
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import cluster_runs, deployments, host_of
from argotune.workflows.cli.remote.submission import begun_by_person
from argotune.workflows.cli.show.in_service import (
    described,
    find_version,
    only_pushed_note,
    reference_of,
    repository,
    version_problems,
)
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.operator_annotations import PREVIOUS, ROLLBACK
from argotune.workflows.workspace.rollback import NAME, rollback_workflow


def begin_rollback(cluster: Cluster, name: str, version: str | None, login: Login) -> str | None:
    """Create the Workflow, and return its name.

    None where that version is in service already, and where the operator creates it, for a
    Workspace that was applied. `login` looks a version up. Raises InputError where there is no such
    service or version, CliError where nothing is known to go back to.
    """
    known = _in_service(cluster, name, version)
    reference = reference_of(name, known, version)
    if reference is None:
        print(f"service {name}: {version} is in service already")
        return None
    if version is not None:
        _check_is_there(cluster, name, version, repository(known), login)
    # With the time another rollback to the same version is another request.
    asked = f"{version or PREVIOUS} {utc_now().isoformat(timespec='seconds')}"
    if annotate_applied(cluster, name, {ROLLBACK: asked}):
        print(
            f"service {name}: the operator is asked to bring {version or 'the one before'} back;"
            f" `argotune status {name} {cluster.flags}` shows it"
        )
        return None
    return _begin(cluster, name, reference, known, what="rollback")


def rollback_document(cluster: Cluster, name: str, version: str | None) -> Object | None:
    """Build the Workflow, without a look at the registry; None where it would change nothing.

    Raises as `begin_rollback`.
    """
    known = _in_service(cluster, name, version)
    reference = reference_of(name, known, version)
    if reference is None:
        return None
    return _document(cluster, name, reference, known, what="rollback")


def _in_service(cluster: Cluster, name: str, version: str | None) -> InService:
    services = deployments(cluster)
    problems = version_problems(version)
    if name not in services:
        there = ", ".join(sorted(services)) or "none"
        problems.append(
            f"{name!r}: no service of this name in namespace {cluster.namespace}; there are"
            f" {there}{_note(cluster, name)}"
        )
    if problems:
        raise InputError(problems)
    return described(name, services[name]["metadata"].get("annotations") or {})


def begin_start(cluster: Cluster, name: str) -> str | None:
    """Create the Workflow that starts a service which was scaled to none, and return its name.

    None where it has servers. Raises as `begin_rollback`.
    """
    deployed = deployments(cluster).get(name)
    if deployed is None:
        raise InputError(
            f"{name!r}: no service of this name in namespace {cluster.namespace}; one that was"
            f" removed comes back with the next run of its workspace{_note(cluster, name)}"
        )
    if (host := host_of(deployed)) != name:
        raise InputError(
            f"{name!r}: joined service {host}, which has the servers; `argotune start {host}"
            f" {cluster.flags}` starts them"
        )
    if deployed["spec"].get("replicas", 1) > 0:
        print(f"service {name}: is not stopped; `argotune status {name} {cluster.flags}` shows it")
        return None
    known = described(name, deployed["metadata"].get("annotations") or {})
    return _begin(cluster, name, known.adapter, known, what="start")


def begin_leave(cluster: Cluster, name: str, joined: Object) -> str:
    """Create the Workflow that takes an adapter out of the service that it joined.

    `joined` is what `deployments` has of it. Returns the Workflow's name. Raises as
    `begin_rollback`.
    """
    known = described(name, joined["metadata"].get("annotations") or {})
    return _begin(cluster, name, known.adapter, known, what="leave")


def _check_is_there(
    cluster: Cluster,
    name: str,
    version: str,
    image: ImageReference | LayoutReference,
    login: Login,
) -> None:
    """Raise InputError where the registry answers that it has no such version.

    The run's own login may reach a registry that this person's does not: then it decides.
    """
    with login.registry() as registry:
        try:
            find_version(name, version, image, registry, cluster.flags)
        except StepError as error:
            print(f"warning: {version} was not looked up before the run: {error}", file=sys.stderr)


def _note(cluster: Cluster, name: str) -> str:
    return only_pushed_note(cluster_runs(cluster, name)) if is_dns_label(name) else ""


def _begin(cluster: Cluster, name: str, reference: str, known: InService, *, what: str) -> str:
    document = _document(cluster, name, reference, known, what=what)
    run = manifests.random_name(f"{name}-{what}")
    cluster.create(begun_by_person(cluster, manifests.with_name(document, run)))
    return run


def _document(
    cluster: Cluster, name: str, reference: str, known: InService, *, what: str
) -> Object:
    template = cluster.get("WorkflowTemplate", NAME)
    if template is None:
        raise CliError(
            f"WorkflowTemplate {NAME} is not in namespace {cluster.namespace}: `argotune install"
            f" {cluster.flags}` puts it there"
        )
    return rollback_workflow(
        template,
        name=name,
        reference=reference,
        service_settings=known.settings,
        start=what == "start",
        leave=what == "leave",
    )
