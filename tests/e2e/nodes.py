"""The GPU node of the tests: one that is brought by the commands of tests/fakes/nodes.py, or, where
there are none, one that the cluster has: E2E_GPU_SELECTOR, KEY=VALUE, names a node with the taint
sku=gpu:NoSchedule and nvidia.com/gpu."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.cluster import run
from tests.fakes.nodes import DOWN, UP, Commands, Machine

_SELECTOR = "E2E_GPU_SELECTOR"
_TAINT = "sku=gpu:NoSchedule"


@contextmanager
def gpu_node(name: str, label: str, *, gpus: int = 1) -> Iterator[str]:
    """A node while the block runs; its selector, KEY=VALUE."""
    if can_bring_nodes():
        machine = bring(name, label, gpus=gpus)
        try:
            yield label
        finally:
            machine.take_down()
        return
    selector = os.environ.get(_SELECTOR)
    if not selector:
        pytest.fail(f"set {UP} and {DOWN}, or {_SELECTOR}: see {__name__}")
    yield selector


def can_bring_nodes() -> bool:
    """Whether the tests were told how."""
    return Commands.of_environment() is not None


def commands() -> Commands:
    """How nodes come and go; a test that needs it is left out where nobody said it."""
    found = Commands.of_environment()
    if found is None:
        pytest.skip(f"needs {UP} and {DOWN}: see tests/fakes/nodes.py")
    return found


def bring(name: str, label: str, *, gpus: int = 1) -> Machine:
    """Have a tainted node with this label, KEY=VALUE; the machine takes it away again."""
    machine = Machine(name, commands())
    key, _, value = label.partition("=")
    machine.start({key: value}, [_TAINT], {"nvidia.com/gpu": gpus})
    machine.wait_until_up()
    assert machine.is_up(), f"{UP} brought no node {name}"
    return machine


def give_label(name: str, label: str) -> None:
    """Put one more label on a node."""
    run("kubectl", "label", "node", name, label)
