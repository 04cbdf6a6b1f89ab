"""The adapter's files, from the image and by the logins that the step was given."""

from __future__ import annotations

from pathlib import Path

from argotune.steps.deploy.params import Params
from argotune.steps.deploy.service_files import write_service_files
from argotune.steps.registry import adapter
from argotune.steps.registry.skopeo import Registry


def unpack_adapter(params: Params, destination: Path) -> Path:
    """Extract the files of the step's adapter as `registry.adapter.unpack_adapter` does.

    Those of a service without training are its plan and its adapters.
    """
    if params.service_plan is not None:
        return write_service_files(params.service_plan, destination)
    return adapter.unpack_adapter(
        params.adapter_image(), destination, registry_of(params), layout_dir=params.layout_dir
    )


def registry_of(params: Params) -> Registry:
    """How to reach the registry of the adapter's image."""
    return Registry(
        auth_file=params.auth_file,
        secret=params.adapter_pull_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )
