"""Clients that are slow, silent or many, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from argotune.steps.serve.app import make_app
from argotune.steps.serve.connection import ConnectionLimits
from tests.fakes.engine import FakeEngine
from tests.steps.serve.conftest import listening, make_service

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    """A connection whose tests end by an error rather than wait for ever."""
    url = client.base_url
    with socket.create_connection((url.host, url.port or 0), timeout=30) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def impatient() -> Iterator[httpx.Client]:
    """A server that waits for nobody."""
    app = make_app(make_service(FakeEngine()), max_body_bytes=4096, body_seconds=0.05)
    limits = ConnectionLimits(head_seconds=0.1, write_seconds=0.1)
    with listening(app, limits, timeout_keep_alive=0.1) as client:
        yield client


@pytest.mark.parametrize("begin", [b"", POST, HEALTH + b"GET /hea"])
def test_a_request_that_does_not_arrive_ends_the_connection(
    impatient: httpx.Client, begin: bytes
) -> None:
    with connected(impatient) as connection:
        connection.sendall(begin)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1") == begin.count(HEALTH)


def test_a_body_that_does_not_arrive_is_refused_in_words(impatient: httpx.Client) -> None:
    with connected(impatient) as connection:
        connection.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not arrive within 0.05 s" in answer


def test_the_rest_of_a_refused_body_is_not_waited_for(impatient: httpx.Client) -> None:
    with connected(impatient) as connection:
        connection.sendall(POST + b"Content-Length: 10000000000\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_does_not_read_is_left() -> None:
    app = FastAPI()
    has_ended = threading.Event()

    async def letters() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            has_ended.set()

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        return StreamingResponse(letters())

    limits = ConnectionLimits(write_seconds=0.05)
    with listening(app, limits) as client, connected(client) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert has_ended.wait(timeout=30)


def test_one_connection_too_many_ends_the_longest_silent_one() -> None:
    app = make_app(make_service(FakeEngine()), max_body_bytes=4096)
    with listening(app, ConnectionLimits(most=2)) as client, contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(connected(client)) for _ in range(3))
        assert first.recv(1) == b""
        for connection in (second, third):
            connection.sendall(HEALTH)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", b"x\r\n\r\n"]
)
def test_what_is_no_http_is_refused_as_json(impatient: httpx.Client, noise: bytes) -> None:
    with connected(impatient) as connection:
        connection.sendall(noise)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id: req-" in head
    assert b'"message": "Invalid HTTP request received."' in body


def test_a_body_of_two_lengths_is_refused_and_nothing_after_it_is_read(
    impatient: httpx.Client,
) -> None:
    lengths = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"
    with connected(impatient) as connection:
        connection.sendall(
            b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + lengths
            + b"\r\n2\r\n{}\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        )  # fmt: skip
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"both Transfer-Encoding and Content-Length; send one" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
