"""What a workspace names of this machine, which the pods of a cluster do not reach."""

from __future__ import annotations

from collections.abc import Iterator

from argotune.presets.names import is_place
from argotune.steps.nodes.providers import PROVIDERS
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.workspace.model import ADAPTERS, Workspace, provider_of


def cluster_problems(workspace: Workspace) -> Iterator[str]:
    """List what a run on a cluster cannot have; URLs of data are checked where they are read."""
    images = {
        workspace.place_of("output-image"): workspace.output_image,
        "tuning.input.adapter (start-from)": workspace.options.get("start-from", ""),
        **{f"{ADAPTERS}: {each.name}": each.image for each in workspace.adapters or ()},
    }
    for place, image in images.items():
        if image.startswith("oci:"):
            yield (
                f"{place}: {image!r} is a directory of this machine, and the pods run elsewhere;"
                " name an image of a registry, or use `argotune run`"
            )
    if is_place(workspace.preset):
        yield (
            f"{workspace.place_of('preset')}: {workspace.preset!r} is a directory of this machine,"
            " and the pods run elsewhere; name a model of the Hub or a preset, with other weights"
            f" as {PREFIX}model-source, or use `argotune run`"
        )
    provider = provider_of(workspace.options)
    if provider in PROVIDERS and not PROVIDERS[provider].is_on_cluster:
        *others, last = (name for name, each in PROVIDERS.items() if each.is_on_cluster)
        yield (
            f"metadata.annotations.{PREFIX}provider: {provider!r} is this machine; accepted on a"
            f" cluster are {', '.join(others)} and {last}"
        )
    if workspace.options.get("deploy-to") == "process":
        yield (
            f"metadata.annotations.{PREFIX}deploy-to: 'process' is this machine; accepted on a"
            " cluster are kubernetes and none"
        )
    if (port := workspace.options.get("service-port", "0")) != "0":
        yield (
            f"metadata.annotations.{PREFIX}service-port: {port} is for a server on this machine; a"
            " Service has port 80"
        )
