"""What every test may rely on: an environment without the developer's own settings."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from argotune.steps.common.log import _Stderr
from tests import tiers

_OURS = ("ARGOTUNE_", "ARGO_", "HF_", "KUBE", "DOCKER_", "AZURE_")
_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"}


def pytest_configure() -> None:
    """A shell that starts pytest in the background has it ignore Ctrl-C, and so would the commands
    that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that no command would run is an error of every command."""
    tiers.check(items)


@pytest.fixture(autouse=True)
def clean_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No setting of the developer reaches a test, and no test writes to their home; what needs a
    cluster keeps the settings that name it."""
    if request.node.get_closest_marker("cluster"):
        return
    for name in list(os.environ):
        if name.startswith(_OURS) or name in _PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("ARGOTUNE_HOME", str(tmp_path / "argotune-home"))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A step's entry point sends the log to the stderr of its test, which is closed afterwards."""
    level = logging.getLogger("argotune").level
    yield
    logging.root.handlers[:] = [
        handler for handler in logging.root.handlers if not isinstance(handler, _Stderr)
    ]
    logging.getLogger("argotune").setLevel(level)
