"""The demo's file server."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from argotune.workflows.cli.errors import CliError
from argotune.workflows.demo.server import serving


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and more")
    return path


def get(url: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_file_is_served_below_its_name_on_loopback_only(file: Path) -> None:
    with serving(file, 0) as url:
        parts = urlsplit(url)
        assert (parts.hostname, parts.path) == ("127.0.0.1", "/rows.parquet")
        assert get(url, "/rows.parquet") == (200, b"PAR1 and more")


@pytest.mark.parametrize("path", ["/", "/other", "/../rows.parquet"])
def test_nothing_else_is_served(file: Path, path: str) -> None:
    with serving(file, 0) as url:
        assert get(url, path)[0] == 404


def test_the_server_ends_with_the_block(file: Path) -> None:
    with serving(file, 0) as url:
        pass
    with pytest.raises(ConnectionRefusedError):
        get(url, "/rows.parquet")


def test_a_port_that_is_taken_names_the_way_out(file: Path) -> None:
    with serving(file, 0) as url:
        port = urlsplit(url).port
        assert port is not None
        with pytest.raises(CliError) as caught, serving(file, port):
            pass
    assert str(caught.value) == (
        f"port {port} of this machine: Address already in use; choose another with"
        " `make demo PORT=8766`"
    )
