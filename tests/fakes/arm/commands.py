"""Real nodes for pools, by commands: what a test cluster does when Azure brings a machine.

A command is split as a shell would and run without one. {name} is the node's name, {pool} the
pool's, {size} its VM size; a word that is {labels} or {taints} becomes a pair of words for each,
such as `--label agentpool=gpu1`.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

from tests.fakes.arm.state import Pool

UP = "FAKE_NODE_UP_COMMAND"
DOWN = "FAKE_NODE_DOWN_COMMAND"
_SECONDS = 180


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


def run_command(template: str, pool: Pool) -> None:
    """Run a command for a pool, and say how it went; an empty one does nothing."""
    if not template:
        return
    command = command_of(template, pool)
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    seconds = time.monotonic() - started
    print(f"{shlex.join(command)}: {done.returncode} after {seconds:.1f} s", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr, flush=True)
