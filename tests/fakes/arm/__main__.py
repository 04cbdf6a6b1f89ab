"""Serve the fake Azure to a cluster, with real nodes.

FAKE_NODE_UP_COMMAND and FAKE_NODE_DOWN_COMMAND bring a pool's node and take it away, as
tests/fakes/nodes.py says.

Steps find it by ARGOTUNE_ARM_ENDPOINT, its tokens by AZURE_AUTHORITY_HOST, both the printed URL,
and trust it by REQUESTS_CA_BUNDLE=DIRECTORY/tls.crt.
"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from tests.fakes.arm.machines import Machines
from tests.fakes.arm.server import serving
from tests.fakes.arm.state import Cloud, Creation
from tests.fakes.nodes import DOWN, UP, Commands
from tests.fakes.tls import self_signed, server_context

_TICK_SECONDS = 1.0


def main() -> None:
    """Serve until SIGTERM or Ctrl-C, then take every node away."""
    arguments = _arguments()
    commands = Commands.of_environment()
    if commands is None:
        raise SystemExit(f"{UP} and {DOWN} are not set")
    machines = Machines(commands)
    cloud = Cloud(
        on_up=machines.bring,
        on_down=machines.take_away,
        delete_seconds=arguments.delete_seconds,
        creation=Creation(seconds=arguments.create_seconds),
    )
    arguments.directory.mkdir(parents=True, exist_ok=True)
    certificate, key = self_signed(arguments.directory, [arguments.host, "127.0.0.1", "localhost"])
    over = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: over.set())
    address = (arguments.listen, arguments.port)
    with serving(cloud, server_context(certificate, key), address=address, host=arguments.host):
        print(cloud.url, flush=True)
        while not over.wait(_TICK_SECONDS):
            with cloud.lock:
                cloud.settle()
        with cloud.lock:
            cloud.take_down()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fakes.arm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--host", default="127.0.0.1", help="name or address by which clients come")
    parser.add_argument("--directory", type=Path, required=True, help="for tls.crt and tls.key")
    parser.add_argument("--create-seconds", type=float, default=5.0)
    parser.add_argument("--delete-seconds", type=float, default=5.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
