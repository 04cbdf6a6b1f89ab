"""Which servers' certificates are trusted."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from argotune.steps.common import certificates
from argotune.steps.common.errors import PermanentError


def tls_that_trusts(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts the public authorities (or those of $SSL_CERT_FILE), and the file's where
    there is one. Raises PermanentError when the file is no certificate."""
    context = httpx.create_ssl_context()
    own = certificates.file_or_none(ca_file)
    if own is None:
        return context
    try:
        context.load_verify_locations(cafile=own)
    except ssl.SSLError as error:
        raise PermanentError(f"{own}: not a certificate in PEM; {certificates.ADVICE}") from error
    return context
