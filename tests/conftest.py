"""What every test may rely on: an environment without the developer's own settings."""

from __future__ import annotations

import atexit
import gc
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.log import _Stderr
from tests import tiers

_OURS = ("ARGOTUNE_", "ARGO_", "HF_", "KUBE", "DOCKER_", "REGISTRY_", "AZURE_")
_NAMES = (None, "", "localhost", socket.gethostname())
_AUTHORITY = Path(__file__).parent / "workflows" / "cli" / "commands" / "authority.crt"
_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"}


# Each process imports all tests, and with them torch: looking again and again for garbage among a
# million objects that stay takes a fifth of that time.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on tests leave garbage; what was imported is not looked at again before the end."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """A shell that starts pytest in the background has it ignore Ctrl-C, and so would the commands
    that tests interrupt."""
    _end_without_looking_back(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_without_looking_back(config: pytest.Config) -> None:
    """What was registered first is called last: everything has been told by then.

    To take apart all that a worker of xdist has imported costs it 4 s of CPU. In another process
    some libraries complain of what is left of them.
    """
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)
    else:
        atexit.register(gc.unfreeze)


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
    # One authority instead of all public ones: a client of HTTP takes 20 ms to load those, and no
    # test reaches a server of theirs.
    monkeypatch.setenv("SSL_CERT_FILE", str(_AUTHORITY))


@pytest.fixture(autouse=True)
def no_waits_for_disks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fsync keeps when the power fails no test sees, and each takes 3 ms."""
    if request.node.get_closest_marker("cluster"):
        return
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def no_name_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name but this machine's own is looked up: pytest-socket stops connections alone."""
    if request.node.get_closest_marker("cluster"):
        return
    look_up = socket.getaddrinfo

    def getaddrinfo(host: str | None, *arguments: Any, **options: Any) -> Any:
        if host in _NAMES or _is_address(str(host)):
            return look_up(host, *arguments, **options)
        raise socket.gaierror(socket.EAI_NONAME, "tests look up no names")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A step's entry point sends the log to the stderr of its test, which is closed afterwards."""
    level = logging.getLogger("argotune").level
    yield
    logging.root.handlers[:] = [
        handler for handler in logging.root.handlers if not isinstance(handler, _Stderr)
    ]
    logging.getLogger("argotune").setLevel(level)
