"""Hosts inside the network that a workspace names, and whether the installation allows them.

The run's pods check the same, dataset for URLs and plan for registries, by the addresses that the
names have there; here a run is refused before it is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from argotune.steps.common.addresses import Resolve, address_of, is_allowed, is_public, resolve
from argotune.steps.common.urls import host_problem
from argotune.steps.contracts.start_adapter import LIVE, NONE
from argotune.steps.registry.oci import ImageReference, parse_reference
from argotune.steps.registry.policy import host_and_port, internal_registry, is_loopback
from argotune.workflows.workspace.manifests import allowed_registries
from argotune.workflows.workspace.model import ADAPTERS, Workspace


def host_problems(workspace: Workspace, values: Mapping[str, str]) -> Iterator[str]:
    """List the hosts that the run's pods would refuse by their text.

    `values` are the settings that the installer decided.
    """
    allowed = json.loads(values["allowed-hosts"])
    allow_loopback = values["allow-loopback"] == "true"
    for place, url in workspace.all_urls:
        problem = host_problem(url, allowed_hosts=allowed, allow_loopback=allow_loopback)
        if problem is not None:
            yield f"{place}: {problem}"
    for place, image in _registries(workspace):
        host = internal_registry(str(image))
        if is_loopback(image.registry):
            yield f"{place}: {image.registry} is the pod itself there; name one that pods reach"
        elif host is not None and not _is_allowed(image, values):
            yield f"{place}: {host} is inside a private network; {_advice(host)}"


def host_warnings(
    workspace: Workspace, values: Mapping[str, str], resolve: Resolve = resolve
) -> Iterator[str]:
    """List the registries whose names have private addresses here without being allowed.

    The cluster may see other addresses, and names that this machine does not know: it decides.
    """
    for place, image in _registries(workspace):
        host, port = host_and_port(image.registry)
        if _is_allowed(image, values):
            continue
        try:
            found = [text for text in resolve(host, port) if not is_public(address_of(text))]
        except OSError:
            continue
        if found:
            yield (
                f"{place}: {image.registry} is {found[0]} here, inside a private network; where the"
                f" pods see that too, they refuse it: {_advice(image.registry.lower())}"
            )


def _registries(workspace: Workspace) -> Iterator[tuple[str, ImageReference]]:
    weights = (workspace.model_source or "").partition("oci:")[2]
    data = [
        (place.partition("[")[0], url.removeprefix("oci://"))
        for place, url in workspace.all_urls
        if url.startswith("oci:")
    ]
    images = [
        (workspace.place_of("output-image"), workspace.output_image),
        (workspace.place_of("model-source"), weights),
        (workspace.place_of("start-from"), workspace.options.get("start-from", "")),
        *((ADAPTERS, each.image) for each in workspace.adapters or ()),
        *data,
    ]
    for place, text in images:
        if text in (NONE, LIVE):
            continue
        try:
            reference = parse_reference(text)
        except ValueError:
            # A path, or none; what is wrong with a reference is told by other checks.
            continue
        if isinstance(reference, ImageReference):
            yield place, reference


def _is_allowed(image: ImageReference, values: Mapping[str, str]) -> bool:
    return is_allowed(*host_and_port(image.registry), allowed_registries(values))


def _advice(host: str) -> str:
    return f"`argotune install --allow-host {host}` permits it to all runs of the namespace"
