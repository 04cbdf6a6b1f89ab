"""python -m tests.e2e.pods.registry CERTIFICATE KEY: a registry inside the cluster, over TLS and
with a login, that fails for repositories of certain names.

Below unwell/ the first three uploads get 503, below held/ no manifest is ever taken. Every request
is a line on stdout.
"""

from __future__ import annotations

import signal
import ssl
import sys

from tests.fakes.registry import Fault, serving

PORT = 8443
REFUSALS = 3
_FOREVER_SECONDS = 3600.0


def main() -> None:
    certificate, key = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    faults = [
        Fault("POST", "^/v2/unwell/", times=REFUSALS, status=503, body="back in a moment"),
        Fault("PUT", "^/v2/held/.*/manifests/", times=1000, hold_seconds=_FOREVER_SECONDS),
    ]
    with serving(login=True, tls=tls, faults=faults, address=("0.0.0.0", PORT), echo=True):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
