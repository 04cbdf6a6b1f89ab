"""The GPU node of the tests: one that is brought by a command, or one that the cluster has.

E2E_NODE_UP is a command with {name}, {label} and {gpus} that brings a node with that label, the
taint sku=gpu:NoSchedule and so many nvidia.com/gpu; E2E_NODE_DOWN, with {name}, takes it away.
Without them E2E_GPU_SELECTOR, KEY=VALUE, names a node that is like that already.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.cluster import run

_UP, _DOWN, _SELECTOR = "E2E_NODE_UP", "E2E_NODE_DOWN", "E2E_GPU_SELECTOR"
_SECONDS = 180


@contextmanager
def gpu_node(name: str, label: str, *, gpus: int = 1) -> Iterator[str]:
    """A node while the block runs; its selector, KEY=VALUE."""
    if can_bring_nodes():
        bring(name, label, gpus=gpus)
        try:
            yield label
        finally:
            take_away(name)
        return
    selector = os.environ.get(_SELECTOR)
    if not selector:
        pytest.fail(f"set {_UP} and {_DOWN}, or {_SELECTOR}: see {__name__}")
    yield selector


def can_bring_nodes() -> bool:
    """Whether the tests were told how."""
    return _UP in os.environ and _DOWN in os.environ


def bring(name: str, label: str, *, gpus: int = 1) -> None:
    """Have a tainted node with this label, KEY=VALUE."""
    command = os.environ[_UP].format(name=name, label=label, gpus=gpus)
    run(*shlex.split(command), seconds=_SECONDS)


def take_away(name: str) -> None:
    """Take the node away with all that runs there, at once."""
    run(*shlex.split(os.environ[_DOWN].format(name=name)), seconds=_SECONDS)


def give_label(name: str, label: str) -> None:
    """Put one more label on a node."""
    run("kubectl", "label", "node", name, label)
