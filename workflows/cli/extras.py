"""Optional packages, and what is said where one is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from argotune.workflows.cli.errors import CliError


@contextlib.contextmanager
def azure_needed() -> Iterator[None]:
    """Around the import of provider aks: turns a missing package of Azure's into advice."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise CliError(
            f"provider aks needs {error.name}, of the extra `azure`: uv sync --extra azure, or"
            " pip install 'argotune[azure]'"
        ) from error
