"""Where the versions of a workspace are, as its service or its newest runs say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from argotune.steps.contracts.in_service import ADAPTER, InService
from argotune.steps.contracts.services import read_service
from argotune.steps.registry.oci import (
    ImageReference,
    LayoutReference,
    parse_reference,
    with_digest,
)
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.runs import find_run, local_runs, runs_meant
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import (
    cluster_runs,
    deployments,
    refuse_name,
    whole_run,
)
from argotune.workflows.cli.show.in_service import described, repository
from argotune.workflows.cli.show.workflow_json import Workflow, name_of, step_output

_SEARCHED_RUNS = 20
"""A Workflow is a hundred kilobytes."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A repository of adapters."""

    image: ImageReference | LayoutReference
    """Without tag and digest."""
    known: InService | None = None
    """What the service notes, if there is one."""


def place_of(name: str, cluster: Cluster | None) -> Place:
    """Find the versions of a workspace, or of a repository that is named itself.

    Raises InputError for a name that is none, CliError where no run has pushed an adapter.
    """
    if "/" in name or name.startswith("oci:"):
        return Place(image=parsed(name))
    return _here(name) if cluster is None else _on(cluster, name)


def parsed(text: str) -> ImageReference | LayoutReference:
    """Parse a repository or one of its images. Raises InputError."""
    try:
        return with_digest(parse_reference(text), None)
    except ValueError as error:
        raise InputError(str(error)) from error


def _here(name: str) -> Place:
    here = home()
    service = read_service(here.services_dir, name)
    place = _of_service(name, service.annotations if service is not None else {})
    if place is not None:
        return place
    runs = runs_meant(local_runs(here), name)
    if not runs:
        find_run(here, name)  # says which names there are
    return _of_runs(name, (run.outline for run in runs))


def _on(cluster: Cluster, name: str) -> Place:
    service = deployments(cluster).get(name)
    place = _of_service(name, (service or {}).get("metadata", {}).get("annotations") or {})
    if place is not None:
        return place
    runs = cluster_runs(cluster, name)
    if not runs:
        refuse_name(cluster, name)
    whole = (whole_run(cluster, name_of(run)) for run in runs[:_SEARCHED_RUNS])
    return _of_runs(name, (run for run in whole if run is not None))


def _of_service(name: str, annotations: Mapping[str, str]) -> Place | None:
    """Return where the service notes that they are; None where it notes nothing."""
    if ADAPTER not in annotations:
        return None
    known = described(name, annotations)
    return Place(image=repository(known), known=known)


def _of_runs(name: str, runs: Iterable[Workflow]) -> Place:
    for run in runs:
        reference = step_output(run, "push", "reference")
        if reference:
            return Place(image=parsed(reference))
    raise CliError(f"{name}: none of its runs has pushed an adapter yet")
