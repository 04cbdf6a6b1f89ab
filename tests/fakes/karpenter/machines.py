"""Machines that become nodes, by commands.

FAKE_NODE_UP brings a node and FAKE_NODE_DOWN takes it away. They are split as a shell would and run
without one; {name} is the node's name; a word that is {labels} or {taints} becomes one pair of
words for each, such as `--label argotune.dev/run=1`. The node comes without GPUs. For the test
cluster:

  FAKE_NODE_UP='cluster node {name} up {labels} {taints}'
  FAKE_NODE_DOWN='cluster node {name} down'
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_DOWN_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Commands:
    """How nodes come and go."""

    up: str
    down: str

    @classmethod
    def of_environment(cls) -> Commands | None:
        """The commands of this environment; None without them."""
        up, down = os.environ.get("FAKE_NODE_UP"), os.environ.get("FAKE_NODE_DOWN")
        return cls(up=up, down=down) if up and down else None


class Machine:
    """One machine; its start and its end take a while."""

    def __init__(self, name: str, commands: Commands) -> None:
        self.name = name
        self._commands = commands
        self._up: subprocess.Popen[bytes] | None = None
        self._down: subprocess.Popen[bytes] | None = None

    def start(self, labels: Mapping[str, str], taints: Sequence[Mapping[str, str]]) -> None:
        """Begin to bring the node."""
        if self._up is None:
            self._up = self._begin(self._commands.up, labels, taints)

    @property
    def was_started(self) -> bool:
        return self._up is not None

    def is_up(self) -> bool:
        """Whether the node is there."""
        return self._up is not None and self._up.poll() == 0

    def is_down(self) -> bool:
        """Whether it is gone; the first call begins to take it away, when it is up."""
        if self._up is None:
            return True
        if self._up.poll() is None:
            return False
        if self._down is None:
            self._down = self._begin(self._commands.down, {}, ())
        return self._down.poll() is not None

    def take_down(self) -> None:
        """Take it away now, and wait."""
        if self._up is None:
            return
        self._up.wait(_DOWN_SECONDS)
        self.is_down()
        if self._down is not None:
            self._down.wait(_DOWN_SECONDS)

    def _begin(
        self, template: str, labels: Mapping[str, str], taints: Sequence[Mapping[str, str]]
    ) -> subprocess.Popen[bytes]:
        lists = {
            "{labels}": [f"--label={key}={value}" for key, value in labels.items()],
            "{taints}": [f"--taint={_text(taint)}" for taint in taints],
        }
        words: list[str] = []
        for word in shlex.split(template):
            words += lists[word] if word in lists else [word.format(name=self.name)]
        print(shlex.join(words), file=sys.stderr, flush=True)
        return subprocess.Popen(words, stdin=subprocess.DEVNULL)


def _text(taint: Mapping[str, str]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"
