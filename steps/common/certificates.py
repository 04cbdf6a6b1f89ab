"""A private certificate authority, trusted in addition to the system's."""

from __future__ import annotations

from pathlib import Path

ADVICE = "put the server's certificate authority into ConfigMap argotune-ca, key ca.crt (--ca-file)"
"""What to do when a server's certificate is not trusted by a run's pod."""
ADVICE_OF_COMMANDS = (
    "name the file of its certificate authority by --ca-file; `argotune install -n NAMESPACE"
    " --ca-file FILE` does so for the runs of a namespace, and for commands with that namespace"
)
"""The same where a person's command asks the server."""


def file_or_none(ca_file: Path | None) -> Path | None:
    """The file if it exists, else None.

    An optional ConfigMap that does not exist is mounted as an empty directory.
    """
    return ca_file if ca_file is not None and ca_file.is_file() else None
