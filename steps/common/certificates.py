"""A private certificate authority, trusted in addition to the system's."""

from __future__ import annotations

import ssl
from pathlib import Path

from argotune.steps.common.errors import PermanentError, chain_of

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


def trust(context: ssl.SSLContext, ca_file: Path | None) -> ssl.SSLContext:
    """Have the context trust the authority in the file too, if it exists; returns the context.

    Raises PermanentError if the file is not a certificate.
    """
    own = file_or_none(ca_file)
    if own is None:
        return context
    try:
        context.load_verify_locations(cafile=own)
    except ssl.SSLError as error:
        raise PermanentError(f"{own}: not a certificate in PEM; {ADVICE}") from error
    return context


def reason_of_distrust(failure: BaseException) -> str | None:
    """Why a server's certificate was refused; None where the failure has another cause."""
    causes = (each for each in chain_of(failure) if isinstance(each, ssl.SSLCertVerificationError))
    return next((cause.verify_message for cause in causes), None)
