from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.services import (
    RECORD,
    STARTING,
    STOPPING,
    Service,
    deploy_lock,
    is_alive,
    list_services,
    names_of_running,
    process_started,
    read_service,
    stop_service,
    write_record,
)

IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def start(code: str = "") -> subprocess.Popen[bytes]:
    """A detached process that has run `code` and then waits for its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}\nprint('up', flush=True)\nimport signal; signal.pause()"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    with start() as process:
        yield process
        process.kill()


def service_of(pid: int, *, name: str = "phi", process_start: str | None = None) -> Service:
    return Service(
        name=name,
        pid=pid,
        process_started=process_start or process_started(pid) or "gone",
        port=8080,
        endpoint="http://127.0.0.1:8080",
        digest="sha256:" + "a" * 64,
        model="argotune/tiny@0",
        started="2026-01-01T00:00:00Z",
    )


def test_a_record_is_read_back(tmp_path: Path) -> None:
    service = service_of(os.getpid())
    write_record(tmp_path / "phi" / RECORD, service)
    assert read_service(tmp_path, "phi") == service
    assert is_alive(service)


def test_services_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("zeta", "alpha"):
        write_record(tmp_path / name / RECORD, service_of(os.getpid(), name=name))
    (tmp_path / "without-record").mkdir()
    assert [service.name for service in list_services(tmp_path)] == ["alpha", "zeta"]


def test_no_record_is_no_service(tmp_path: Path) -> None:
    assert read_service(tmp_path, "phi") is None
    assert list_services(tmp_path / "missing") == []
    assert stop_service(tmp_path, "phi") is False


@pytest.mark.parametrize("text", ["", "[]", '{"name": "phi"}', "\0"])
def test_a_broken_record_is_named(tmp_path: Path, text: str) -> None:
    record = tmp_path / "phi" / RECORD
    record.parent.mkdir()
    record.write_text(text)
    with pytest.raises(PermanentError) as caught:
        read_service(tmp_path, "phi")
    assert str(caught.value) == f"{record}: not a record of a service; delete the file"


def test_a_stopped_service_is_still_on_record(
    tmp_path: Path, server: subprocess.Popen[bytes]
) -> None:
    service = service_of(server.pid)
    write_record(tmp_path / "phi" / RECORD, service)
    assert stop_service(tmp_path, "phi") is True
    assert server.wait(60) != 0
    assert read_service(tmp_path, "phi") == service
    assert names_of_running(tmp_path) == set()
    assert stop_service(tmp_path, "phi") is False


@pytest.mark.parametrize("record", [STARTING, STOPPING])
def test_what_a_killed_deploy_has_left_is_running_and_is_stopped(
    tmp_path: Path, server: subprocess.Popen[bytes], record: str
) -> None:
    write_record(tmp_path / "phi" / record, service_of(server.pid))
    assert names_of_running(tmp_path) == {"phi"}
    assert stop_service(tmp_path, "phi") is True
    assert server.wait(60) != 0
    assert names_of_running(tmp_path) == set()
    assert list((tmp_path / "phi").iterdir()) == []


def test_a_living_deploy_ends_its_own_servers(
    tmp_path: Path, server: subprocess.Popen[bytes]
) -> None:
    write_record(tmp_path / "phi" / STARTING, service_of(server.pid))
    with deploy_lock(tmp_path / "phi") as is_held:
        assert is_held
        assert stop_service(tmp_path, "phi") is False
    assert server.poll() is None


def test_a_server_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    with start(IGNORES_SIGTERM) as process:
        write_record(tmp_path / "phi" / RECORD, service_of(process.pid))
        assert stop_service(tmp_path, "phi", timeout_seconds=0.1) is True
        assert process.wait(60) == -9


def test_another_process_with_the_servers_id_is_left_alone(
    tmp_path: Path, server: subprocess.Popen[bytes]
) -> None:
    service = service_of(server.pid, process_start="another boot/1")
    write_record(tmp_path / "phi" / RECORD, service)
    assert not is_alive(service)
    assert stop_service(tmp_path, "phi") is False
    assert server.poll() is None


def test_a_zombie_is_not_alive(server: subprocess.Popen[bytes]) -> None:
    service = service_of(server.pid)
    server.kill()
    # The exit status is not fetched yet, so the process is a zombie.
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(service)
