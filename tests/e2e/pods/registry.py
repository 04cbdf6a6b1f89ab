"""python -m tests.e2e.pods.registry CERTIFICATE KEY: a registry inside the cluster, over TLS and
with a login. Every request is a line on stdout."""

from __future__ import annotations

import signal
import ssl
import sys

from tests.fakes.registry import serving

PORT = 8443


def main() -> None:
    certificate, key = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(login=True, tls=tls, address=("0.0.0.0", PORT), echo=True):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
