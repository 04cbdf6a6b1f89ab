"""Whether the service that a run is to join takes its adapter, looked at before the run costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.model_cache import cache_path
from argotune.steps.contracts.training_plan import Model
from argotune.steps.deploy.manifests.joining import differences, other_base
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import deployments, host_of
from argotune.workflows.workspace.planned import Planned


def has_other_base(cluster: Cluster, planned: Planned) -> str:
    """Say that the service which a run is to join serves another base; empty where it does not."""
    host = _host_of(planned)
    service = deployments(cluster).get(host) if host else None
    if service is None or host_of(service) != host:
        return ""
    return other_base(service["spec"]["template"]["spec"], _model_dir(planned.plan.model))


def check_joining(cluster: Cluster, planned: Planned) -> None:
    """Refuse a run that is to join a service which is not there, or differs. Raises InputError.

    What is known only when the weights are there, as the digest of an image of them, deploy says.
    """
    host = _host_of(planned)
    if not host:
        return
    found = list(_problems(cluster, planned, host))
    if found:
        place = planned.workspace.place_of("serve-with")
        raise InputError([f"{place}: {host!r}: {each}" for each in found])


def _host_of(planned: Planned) -> str:
    options = planned.workspace.options
    return "" if options.get("deploy-to") == NOT_DEPLOYED else options.get("serve-with", "")


def _problems(cluster: Cluster, planned: Planned, host: str) -> Iterator[str]:
    services, name = deployments(cluster), planned.workspace.name
    service = services.get(host)
    if service is None or host_of(service) != host:
        there = ", ".join(each for each, it in sorted(services.items()) if host_of(it) == each)
        yield (
            f"no service of this name in namespace {cluster.namespace}; there are {there or 'none'}"
        )
    else:
        yield from differences(
            service["spec"]["template"]["spec"],
            model_dir=_model_dir(planned.plan.model),
            keys_secret=planned.workspace.options.get("api-keys-secret"),
        )
    own = services.get(name)
    if own is not None and host_of(own) == name:
        yield (
            f"{name} has a service of its own; `argotune stop {name} --service {cluster.flags}`"
            " removes it"
        )


def _model_dir(model: Model) -> str | None:
    """Directory of the weights below the cache; None where it depends on what a source has."""
    if ":" in model.source:
        return None
    return str(cache_path(Path(), model.repository, model.revision))
