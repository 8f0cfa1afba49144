"""Clients that are slow, idle or greedy: they are shown out in time, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn

from infra.http import SLOWEST_BYTES_PER_S, BoundedConnection
from tests.conftest import answers, free_port

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


class Impatient(BoundedConnection):
    """Limits that a test can wait for."""

    within_s = 0.4
    grace_s = 0.1
    read_within_s = 0.4
    max_connections = 8
    max_head_bytes = 8192


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body; ``/refuse`` answers without reading, ``/large`` more than a socket's buffers hold, ``/think``
    after longer than a client may take.
    """
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while scope["path"] != "/refuse" and (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    if scope["path"] == "/think":
        await asyncio.sleep(0.8)
    status = 413 if scope["path"] == "/refuse" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    for _ in range(400 if scope["path"] == "/large" else 0):
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
    await send({"type": "http.response.body", "body": str(len(body)).encode(), "more_body": False})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, uvicorn.Server]]:
    port = free_port()
    found = uvicorn.Server(
        uvicorn.Config(application, port=port, http=Impatient, log_level="error", timeout_keep_alive=30)
    )
    thread = threading.Thread(target=found.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield port, found
    found.should_exit = True
    thread.join(20)


@pytest.fixture
def port(server: tuple[int, uvicorn.Server]) -> int:
    return server[0]


@contextmanager
def connection(port: int, *said: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as found:
        for part in said:
            found.sendall(part)
        yield found


def hears(client: socket.socket) -> bytes:
    """All that the server says until it closes the connection."""
    said = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            said += part
    return said


@pytest.mark.parametrize("said", [b"", b"G", GET[:-2], GET[:-2] + b"X-A: " + b"b" * 900, POST, POST + b"x" * 50])
def test_a_client_that_stops_in_the_middle_is_shown_out(port: int, said: bytes) -> None:
    began = time.monotonic()
    with connection(port, said) as client:
        heard = hears(client)
    assert 0.4 < time.monotonic() - began < 15
    assert heard.startswith(b"HTTP/1.1 408 ") if said else heard == b""


@pytest.mark.parametrize("start", [GET[:-2], POST])
def test_a_trickle_is_shown_out_too(port: int, start: bytes) -> None:
    """The limit is on the whole request: a byte now and then does not extend it."""
    began = time.monotonic()
    with connection(port, start) as client:
        with suppress(ConnectionError):
            while time.monotonic() - began < 20:
                client.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 15


def test_a_large_body_at_a_fair_pace_has_the_time_that_it_takes(port: int) -> None:
    pace, seconds = 4 * SLOWEST_BYTES_PER_S, 1.5
    total = int(pace * seconds)
    with connection(port, POST.replace(b"100000", str(total).encode())) as client:
        for _ in range(int(seconds / 0.05)):
            client.sendall(b"x" * (total // int(seconds / 0.05)))
            time.sleep(0.05)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "start", [b"GET /", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX-A: ", b"GET / HTTP/1.1\r\nA: b\r\n"]
)
def test_a_head_without_end_is_cut(port: int, start: bytes) -> None:
    more = b"A: b\r\n" * 1000 if start.endswith(b"\n") else b"a" * 6000
    sent = 0
    with connection(port, start) as client, suppress(ConnectionError):
        while sent < 50_000_000:
            client.sendall(more)
            sent += len(more)
    assert sent < 50_000_000


def test_a_refused_upload_cannot_go_on_for_ever(port: int) -> None:
    """What is sent after the answer earns no time, whatever the pace."""
    began = time.monotonic()
    with connection(port, POST.replace(b"/", b"/refuse", 1).replace(b"100000", b"100000000000")) as client:
        with suppress(ConnectionError):
            while time.monotonic() - began < 20:
                client.sendall(b"x" * 65536)
        assert 0.4 < time.monotonic() - began < 15


def test_who_does_not_read_the_answer_is_cut_off(port: int) -> None:
    with connection(port, GET.replace(b"/", b"/large", 1)) as client:
        time.sleep(1)
        received = len(hears(client))
    assert 0 < received < 40_000_000


def test_the_server_may_take_its_time(port: int) -> None:
    assert httpx.get(f"http://127.0.0.1:{port}/think").text == "0"


def test_idle_connections_do_not_keep_others_out(port: int, server: tuple[int, uvicorn.Server]) -> None:
    with httpx.Client() as kept:
        kept.get(f"http://127.0.0.1:{port}/")
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        try:
            began = time.monotonic()
            for _ in range(20):
                assert httpx.get(f"http://127.0.0.1:{port}/").text == "0"
            assert time.monotonic() - began < 15
            assert len(server[1].server_state.connections) <= Impatient.max_connections + 1
        finally:
            for client in idle:
                client.close()


def test_a_connection_may_be_used_again_and_again(port: int) -> None:
    with httpx.Client() as client:
        for number in range(4):
            assert client.post(f"http://127.0.0.1:{port}/", content=b"x" * number).text == str(number)
            time.sleep(0.3)


def test_nothing_is_left_waiting(server: tuple[int, uvicorn.Server]) -> None:
    deadline = time.monotonic() + 5
    while server[1].server_state.connections:
        assert time.monotonic() < deadline
        time.sleep(0.05)
