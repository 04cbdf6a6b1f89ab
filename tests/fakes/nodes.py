"""Machines that become nodes of a real cluster, by commands: what the fake clouds bring.

FAKE_NODE_UP_COMMAND brings a node and FAKE_NODE_DOWN_COMMAND takes it away with all that runs
there. They are split as a shell would and run without one. {name} is the node's name; a word that
is {labels}, {taints} or {resources} becomes a pair of words for each, such as `--label a=b`,
`--taint sku=gpu:NoSchedule` and `--resource nvidia.com/gpu=1`. For the test cluster:

  FAKE_NODE_UP_COMMAND='cluster node {name} up {labels} {taints} {resources}'
  FAKE_NODE_DOWN_COMMAND='cluster node {name} down'
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

UP, DOWN = "FAKE_NODE_UP_COMMAND", "FAKE_NODE_DOWN_COMMAND"
_SECONDS = 180
"""Longest time that a command may take."""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """How nodes come and go."""

    up: str
    down: str

    @classmethod
    def of_environment(cls) -> Commands | None:
        """The commands of this environment; None without them."""
        up, down = os.environ.get(UP), os.environ.get(DOWN)
        return cls(up=up, down=down) if up and down else None


class Machine:
    """One machine; its start and its end take a while."""

    def __init__(self, name: str, commands: Commands) -> None:
        self.name = name
        self._commands = commands
        self._up: subprocess.Popen[bytes] | None = None
        self._down: subprocess.Popen[bytes] | None = None

    def start(
        self,
        labels: Mapping[str, str],
        taints: Sequence[str] = (),
        resources: Mapping[str, int] | None = None,
    ) -> None:
        """Begin to bring the node; a taint is KEY=VALUE:EFFECT."""
        if self._up is None:
            words = {
                "{labels}": _pairs("--label", _texts(labels)),
                "{taints}": _pairs("--taint", taints),
                "{resources}": _pairs("--resource", _texts(resources or {})),
            }
            self._up = self._begin(self._commands.up, words)

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
            self._down = self._begin(self._commands.down, {})
        return self._down.poll() is not None

    def wait_until_up(self) -> None:
        """Wait for the start that was begun."""
        if self._up is not None:
            self._up.wait(_SECONDS)

    def take_down(self) -> None:
        """Take it away now, and wait."""
        self.wait_until_up()
        self.is_down()
        if self._down is not None:
            self._down.wait(_SECONDS)

    def _begin(self, template: str, lists: Mapping[str, list[str]]) -> subprocess.Popen[bytes]:
        words = command_of(template, self.name, lists)
        print(shlex.join(words), file=sys.stderr, flush=True)
        return subprocess.Popen(words, stdin=subprocess.DEVNULL)


def command_of(template: str, name: str, lists: Mapping[str, list[str]]) -> list[str]:
    """The words of a command."""
    words: list[str] = []
    for word in shlex.split(template):
        words += lists[word] if word in lists else [word.format(name=name)]
    return words


def _texts(values: Mapping[str, object]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _pairs(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
