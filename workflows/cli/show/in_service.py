"""What the annotations of a service say, and the adapter that a rollback means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from argotune.steps.common.errors import StepError
from argotune.steps.contracts.in_service import NOT_DEPLOYED, SERVES, InService, read_in_service
from argotune.steps.contracts.versions import version_of
from argotune.steps.registry.oci import (
    ImageReference,
    LayoutReference,
    parse_reference,
    with_digest,
)
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import Adapter, repository_of
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.show.workflow_json import Workflow, name_of, only_pushes


def described(service: str, annotations: Mapping[str, str]) -> InService:
    """Read what is known of a service. Raises CliError where that is nothing."""
    try:
        known = read_in_service(annotations)
    except StepError as error:
        raise CliError(f"service {service}: {error}") from error
    if known is None and annotations.get(SERVES):
        raise CliError(
            f"service {service}: it serves {annotations[SERVES]} without training, and so has no"
            " versions; `argotune submit` of its file, here `argotune run`, changes and starts it"
        )
    if known is None:
        raise CliError(
            f"service {service}: an earlier version of argotune deployed it, which noted no"
            " versions; the next run of the workspace notes them"
        )
    return known


def only_pushed_note(runs: Iterable[Workflow]) -> str:
    """Say after a message why there is no service, where the newest of the runs only pushed."""
    newest = next(iter(runs), None)
    if newest is None or not only_pushes(newest):
        return ""
    return (
        f"; run {name_of(newest)} only pushes its adapter, because {PREFIX}deploy-to is"
        f" {NOT_DEPLOYED}"
    )


def version_problems(version: str | None) -> list[str]:
    """Say what is wrong with a version as a person names it; nothing where it is left out."""
    if version is None or version_of(version) is not None:
        return []
    return [f"{version!r}: is no version; they are v1, v2 and so on"]


def reference_of(service: str, known: InService, version: str | None) -> str | None:
    """Return the image of a version, by its tag, or of the one before; None: it is in service.

    Raises CliError where there was none before.
    """
    if version is None:
        if known.previous:
            return known.previous
        raise CliError(
            f"service {service}: no other adapter was in service before"
            f" {known.version or known.adapter}; `argotune versions {service}` lists what there is"
        )
    if version == known.version:
        return None
    return str(replace(repository(known), tag=version))


def repository(known: InService) -> ImageReference | LayoutReference:
    """Return where the versions of a service have their tags."""
    return with_digest(parse_reference(known.adapter), None)


def find_version(
    service: str,
    version: str,
    image: ImageReference | LayoutReference,
    registry: Registry,
    flags: str = "",
) -> Adapter:
    """Read a version of a service, whose adapters are beside `image`; `flags` name its cluster.

    Raises InputError where it is not there, StepError where the registry cannot be asked.
    """
    found = repository_of(image, registry).find(version)
    if found is None:
        listing = " ".join(filter(None, ["argotune versions", service, flags]))
        raise InputError(
            f"{version!r}: {image} has no such version; `{listing}` lists what there is"
        )
    return found
