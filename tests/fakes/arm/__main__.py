"""Serve the fake Azure to a cluster, with real nodes: python -m tests.fakes.arm --help

FAKE_NODE_UP_COMMAND and FAKE_NODE_DOWN_COMMAND bring a pool's node and take it away. They are
split as a shell would and run without one; {name} is the node's name, {pool} the pool's, {size}
its VM size; a word that is {labels} or {taints} becomes one word pair for each, such as
`--label agentpool=gpu1`. For the test cluster:

  FAKE_NODE_UP_COMMAND='cluster node {name} up {labels} {taints} --resource nvidia.com/gpu=1'
  FAKE_NODE_DOWN_COMMAND='cluster node {name} down'
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.fakes.arm.server import serving
from tests.fakes.arm.state import Cloud, Creation, Pool
from tests.fakes.tls import self_signed, server_context

_COMMAND_SECONDS = 120
_TICK_SECONDS = 1.0


def main() -> None:
    """Serve until SIGTERM or Ctrl-C, then take every node away."""
    arguments = _arguments()
    cloud = Cloud(
        on_up=lambda pool: _run(os.environ.get("FAKE_NODE_UP_COMMAND", ""), pool),
        on_down=lambda pool: _run(os.environ.get("FAKE_NODE_DOWN_COMMAND", ""), pool),
        delete_seconds=arguments.delete_seconds,
        creations=[Creation(seconds=arguments.create_seconds)] * arguments.pools,
    )
    arguments.directory.mkdir(parents=True, exist_ok=True)
    certificate, key = self_signed(arguments.directory, [arguments.host, "127.0.0.1", "localhost"])
    over = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: over.set())
    address = (arguments.listen, arguments.port)
    with serving(cloud, server_context(certificate, key), address=address, host=arguments.host):
        print(f"ARGOTUNE_ARM_ENDPOINT={cloud.url}", flush=True)
        while not over.wait(_TICK_SECONDS):
            with cloud.lock:
                cloud.settle()
        with cloud.lock:
            cloud.take_down()


def command_of(template: str, pool: Pool) -> list[str]:
    """The words of a command for a pool."""
    properties = pool.body["properties"]
    labels = {
        "agentpool": pool.name,
        "node.kubernetes.io/instance-type": properties["vmSize"],
        **(properties.get("nodeLabels") or {}),
    }
    lists = {
        "{labels}": [w for key, value in labels.items() for w in ("--label", f"{key}={value}")],
        "{taints}": [w for taint in properties.get("nodeTaints") or [] for w in ("--taint", taint)],
    }
    words: list[str] = []
    for word in shlex.split(template):
        values = {"name": pool.node, "pool": pool.name, "size": properties["vmSize"]}
        words += lists[word] if word in lists else [word.format(**values)]
    return words


def _run(template: str, pool: Pool) -> None:
    if not template:
        return
    command = command_of(template, pool)
    started = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
    )
    seconds = time.monotonic() - started
    print(f"{shlex.join(command)}: {done.returncode} after {seconds:.1f} s", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fakes.arm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--host", default="127.0.0.1", help="name by which clients come")
    parser.add_argument("--directory", type=Path, required=True, help="for tls.crt and tls.key")
    parser.add_argument("--create-seconds", type=float, default=5.0)
    parser.add_argument("--delete-seconds", type=float, default=5.0)
    parser.add_argument("--pools", type=int, default=1000, help="pools that take --create-seconds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
