"""Clients that vanish at any moment of a query must not take the server with them."""

from __future__ import annotations

import base64
import random
import socket
import struct
import threading
import time
from contextlib import suppress
from urllib.parse import quote, urlsplit

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings

QUERIES = (
    "SELECT number, toString(number) FROM numbers(3000000) FORMAT JSONEachRow",
    "SELECT * FROM numbers(10) FORMAT TabSeparated",
    "SELECT count(), max(sipHash64(number)) FROM numbers(2000000) FORMAT Native",
    "SELECT sleepEachRow(0.02) FROM numbers(20) FORMAT JSONEachRow",
)


def vanish(url: str, seed: int, until: float) -> None:
    """Ask, wait a moment, perhaps read a little, and reset the connection; again and again."""
    chance = random.Random(seed)
    where = urlsplit(url)
    login = base64.b64encode(f"{where.username}:{where.password}".encode()).decode()
    while time.monotonic() < until:
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=20) as client:
            request = (
                f"POST /?query={quote(chance.choice(QUERIES))} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n"
            )
            client.sendall(f"{request}Content-Length: 0\r\n\r\n".encode())
            client.settimeout(chance.choice((0.001, 0.01, 0.05)))
            with suppress(TimeoutError):
                client.recv(chance.choice((1, 65_536)))
            # A reset, as of a process that was killed.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_clients_that_vanish_in_the_middle_of_queries(clickhouse: str) -> None:
    until = time.monotonic() + 6
    clients = [threading.Thread(target=vanish, args=(clickhouse, seed, until)) for seed in range(6)]
    for client in clients:
        client.start()
    settings = Settings(_env_file=None, clickhouse_url=f"{clickhouse}/default")
    asked = 0
    with clickhouse_client(settings, send_receive_timeout=30) as steady:
        while time.monotonic() < until:
            assert steady.query("SELECT sum(number) FROM numbers(1000)").result_rows == [(499_500,)]
            asked += 1
        for client in clients:
            client.join()
        assert steady.query("SELECT 1").result_rows == [(1,)]
    assert asked > 5
