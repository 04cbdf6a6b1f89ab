"""A certificate authority of one's own, beside those that the system trusts."""

from __future__ import annotations

from pathlib import Path

ADVICE = "its certificate authority belongs into ConfigMap argotune-ca, key ca.crt (--ca-file)"
"""What to do where a server's certificate is not trusted."""


def existing(ca_file: Path | None) -> Path | None:
    """The file where it is there: an optional ConfigMap that is missing is mounted as an empty
    directory."""
    return ca_file if ca_file is not None and ca_file.is_file() else None
