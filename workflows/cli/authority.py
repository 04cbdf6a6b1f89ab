"""The certificate authority of an installation, which commands trust as its runs do."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from argotune.workflows.cli.installation.objects import CA_CONFIG_MAP, CA_KEY
from argotune.workflows.cli.remote.api_errors import ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster

_NOT_PERMITTED = 403


def installed_authority(cluster: Cluster) -> str | None:
    """Return the certificates, PEM, that the namespace's runs trust beside the system's.

    None where there are none, and where this person may not see them: the server's certificate is
    then refused, with what to do. Raises ClusterError.
    """
    try:
        return cluster.find_config_map(None, CA_CONFIG_MAP, CA_KEY)
    except ClusterRefusal as error:
        if error.status != _NOT_PERMITTED:
            raise
        return None


@contextlib.contextmanager
def authority_file(certificates: str | None) -> Iterator[Path | None]:
    """Write the certificates into a file, which is gone after the block; None without any."""
    if certificates is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="argotune-ca-") as directory:
        path = Path(directory) / "ca.crt"
        path.write_text(certificates)
        yield path
