"""Two adapters that are to be compared: their images, and the reports of their runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from argotune.steps.contracts.report import Files, collect
from argotune.steps.contracts.versions import LIVE, is_of_versions
from argotune.steps.registry.oci import DEFAULT_TAG, LayoutReference, parse_reference
from argotune.steps.registry.versions import Repository, Version, list_versions, repository_of
from argotune.workflows.cli.errors import CliError, InputError, read_both
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.runs import local_runs
from argotune.workflows.cli.login import Login
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.report import report_of_image
from argotune.workflows.cli.show.comparison import Side
from argotune.workflows.cli.show.versions import short, version_rows
from argotune.workflows.cli.show.workflow_json import step_output
from argotune.workflows.cli.versions_of import Place, parsed, place_of


@dataclass(frozen=True, kw_only=True)
class NamedAdapter:
    """An adapter as a command names it."""

    place: Place
    """Where its versions are."""
    version: str
    """Its tag or digest."""


def named_adapters(
    one: str, other: str, cluster: Cluster | None
) -> tuple[NamedAdapter, NamedAdapter]:
    """Find out what two adapters are; a version alone is one of the first's repository.

    Raises InputError with all that names none, CliError where no run has pushed an adapter.
    """
    if is_of_versions(other):
        first = _named(one, cluster)
        return first, replace(first, version=other)
    return read_both(lambda: _named(one, cluster), lambda: _named(other, cluster))


def load_sides(one: NamedAdapter, other: NamedAdapter, login: Login) -> tuple[Side, Side]:
    """Read both adapters and their reports.

    Raises InputError for versions that are not there, CliError where a registry cannot be asked.
    """
    return read_both(lambda: _load(one, login), lambda: _load(other, login))


def _named(text: str, cluster: Cluster | None) -> NamedAdapter:
    if "/" in text or text.startswith("oci:"):
        image = parsed(text)
        reference = parse_reference(text)
        version = reference.digest or reference.tag or DEFAULT_TAG
        return NamedAdapter(place=Place(image=image), version=version)
    name, _, version = text.partition(":")
    if not name:
        raise InputError(f"{text!r}: names no workspace; write NAME:VERSION, such as dolly:v2")
    return NamedAdapter(place=place_of(name, cluster), version=version or LIVE)


def _load(named: NamedAdapter, login: Login) -> Side:
    place, version = named.place, named.version
    with login.registry() as registry:
        repository = repository_of(place.image, registry)
        adapter = repository.find(version)
        if adapter is None:
            raise InputError(f"{place.image} has no {version}; `argotune versions` lists it")
        tags = _tags(repository, version, adapter.digest)
    (row,) = version_rows([Version(adapter=adapter, tags=tags)], place.known)
    return Side(
        title=row.version or (short(version) if ":" in version else version),
        row=row,
        files=_report(place, adapter.digest, login),
    )


def _tags(repository: Repository, version: str, digest: str) -> frozenset[str]:
    """Return the adapter's tags of versions, and the one by which it was named."""
    known = (each.tags for each in list_versions(repository) if each.adapter.digest == digest)
    return frozenset({version}).union(*known)


def _report(place: Place, digest: str, login: Login) -> Files:
    """Return the report of the run that made the adapter; empty where it is gone."""
    if isinstance(place.image, LayoutReference):
        runs = local_runs(home())
        own = [run for run in runs if step_output(run.outline, "push", "digest") == digest]
        return collect(own[0].directory / "claims" / "work") if own else {}
    try:
        return report_of_image(f"{place.image.name}@{digest}", login)
    except CliError as error:
        print(f"warning: {error}", file=sys.stderr)
        return {}
