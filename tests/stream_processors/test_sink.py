"""The sink against the embedded server: killed, cut off, told the same twice, and refused."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.client import Client

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from stream_processors.engine.sink import CannotWrite, ClickHouseSink, encode_rows, is_hopeless
from tests.conftest import answers, free_port, process

TABLE = """CREATE TABLE facts (id UInt32, name String) ENGINE = MergeTree ORDER BY id
    SETTINGS non_replicated_deduplication_window = 100"""
COLUMNS = ("id", "name")


@pytest.fixture(scope="module")
def url(clickhouse: str) -> str:
    """URL of a database of our own."""
    name = f"sink_{secrets.token_hex(4)}"
    with clickhouse_client(Settings(_env_file=None, clickhouse_url=f"{clickhouse}/default")) as admin:
        admin.command(f"CREATE DATABASE {name}")
    return f"{clickhouse}/{name}"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    """A connection to it, with one table that keeps every row it is given, once a token."""
    with clickhouse_client(Settings(_env_file=None, clickhouse_url=url)) as found:
        found.command(TABLE)
        yield found


def ids(client: Client) -> list[int]:
    return [row[0] for row in client.query("SELECT id FROM facts ORDER BY id").result_rows]


async def test_the_same_batch_twice_is_one_copy(client: Client) -> None:
    sink = ClickHouseSink(client)
    rows = [(1, "a"), (2, "b")]
    await sink.insert("facts", COLUMNS, rows, "visit-events-0-1-2")
    await sink.insert("facts", COLUMNS, rows, "visit-events-0-1-2")
    assert ids(client) == [1, 2]
    await sink.insert("facts", COLUMNS, rows, "visit-events-0-3-4")
    assert ids(client) == [1, 1, 2, 2], "another batch may hold the same rows"
    client.command("TRUNCATE TABLE facts")


async def test_other_rows_of_the_same_records_are_written(client: Client) -> None:
    """After a crash the same records can lead to other rows, because more is known by then."""
    sink = ClickHouseSink(client)
    await sink.insert("facts", COLUMNS, [(1, "a")], "token")
    await sink.insert("facts", COLUMNS, [(2, "b")], "token")
    assert ids(client) == [1, 2]
    client.command("TRUNCATE TABLE facts")


async def test_no_rows_are_no_insert(client: Client) -> None:
    await ClickHouseSink(client).insert("there_is_no_such_table", COLUMNS, [], "token")


@pytest.mark.parametrize(
    ("table", "columns", "rows"),
    [
        ("there_is_no_such_table", COLUMNS, [(1, "a")]),
        ("facts", ("id", "no_such_column"), [(1, "a")]),
        ("facts", COLUMNS, [("not a number", "a")]),
    ],
)
async def test_what_never_can_be_written_is_not_tried_for_ever(
    client: Client, table: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]
) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(CannotWrite):
            await ClickHouseSink(client).insert(table, columns, rows, "token")


async def test_a_refused_user_stops_the_worker(url: str) -> None:
    with clickhouse_client(Settings(_env_file=None, clickhouse_url=url)) as client:
        # clickhouse-connect itself would not even begin with a wrong password.
        client.headers["Authorization"] = "Basic d3Jvbmc6d3Jvbmc="
        async with asyncio.timeout(30):
            with pytest.raises(CannotWrite):
                await ClickHouseSink(client).insert("facts", COLUMNS, [(1, "a")], "token")


def test_rows_are_one_array_a_line() -> None:
    assert encode_rows([(1, "é\n"), (2, None)]) == '[1,"é\\n"]\n[2,null]\n'.encode()


@pytest.mark.parametrize(
    ("message", "hopeless"),
    [
        (
            "HTTPDriver for http://127.0.0.1:1 returned response code 404 (Code: 60. DB::Exception: Table x does not exist)",
            True,
        ),
        ("Code: 27. DB::Exception: Cannot parse input", True),
        ("Code: 241. DB::Exception: Memory limit exceeded", False),
        ("Code: 159. DB::Exception: Timeout exceeded", False),
        ("Code: 999. Coordination::Exception: Session expired", False),
        ("Connection refused", False),
    ],
)
def test_is_hopeless(message: str, hopeless: bool) -> None:
    assert is_hopeless(message) is hopeless


class CuttingProxy:
    """Passes bytes to a server on loopback; ``cut_after`` bytes of a request it drops the connection, ``cuts``
    times.
    """

    def __init__(self, target: int, cuts: int, cut_after: int) -> None:
        self._target, self.cuts_left, self._cut_after = target, cuts, cut_after

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        answering = asyncio.create_task(self._pump(there, writer))
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                passed += len(data)
                if self.cuts_left and passed > self._cut_after:
                    self.cuts_left -= 1
                    writer.transport.abort()
                    back.transport.abort()
                    break
                back.write(data)
                await back.drain()
        back.close()
        await answering

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_connections_cut_in_the_middle_of_an_insert(url: str, client: Client) -> None:
    rows = [(n, "x" * 50) for n in range(20_000)]
    server = urlsplit(url)
    assert server.port is not None
    proxy = CuttingProxy(server.port, cuts=4, cut_after=200_000)
    async with proxy as port, asyncio.timeout(60):
        cut = url.replace(f":{server.port}/", f":{port}/")
        other = await asyncio.to_thread(clickhouse_client, Settings(_env_file=None, clickhouse_url=cut))
        await ClickHouseSink(other).insert("facts", COLUMNS, rows, "cut")
        other.close()
    assert proxy.cuts_left == 0
    assert ids(client) == list(range(20_000))
    client.command("TRUNCATE TABLE facts")


async def test_waits_for_a_server_that_was_killed(tmp_path: Path) -> None:
    port, password = free_port(), secrets.token_hex(8)
    command = [
        sys.executable,
        "-m",
        "infra.clickhouse.server",
        "--data-dir",
        str(tmp_path / "data"),
        "--port",
        str(port),
    ]
    passwords = {
        "AISLEFLOW_CLICKHOUSE_WRITER_PASSWORD": password,
        "AISLEFLOW_CLICKHOUSE_READER_PASSWORD": f"{password}-reader",
        "AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD": password[::-1],
    }
    url = f"http://aisleflow:{password}@127.0.0.1:{port}"
    attempts = 0

    def count() -> None:
        nonlocal attempts
        attempts += 1

    def start() -> contextlib.AbstractContextManager[object]:
        return process(command, tmp_path / "server.log", lambda: answers(port), passwords)

    with start() as server:
        clickhouse_client(Settings(_env_file=None, clickhouse_url=f"{url}/default")).command("CREATE DATABASE kept")
        client = clickhouse_client(Settings(_env_file=None, clickhouse_url=f"{url}/kept"))
        client.command(TABLE)
        sink = ClickHouseSink(client, count)
        await sink.insert("facts", COLUMNS, [(1, "a")], "first")
        server.kill()  # type: ignore[attr-defined]
        server.wait()  # type: ignore[attr-defined]
    writing = asyncio.create_task(sink.insert("facts", COLUMNS, [(2, "b")], "second"))
    async with asyncio.timeout(30):
        while attempts < 3:
            await asyncio.sleep(0.05)
    assert not writing.done()
    with start():
        async with asyncio.timeout(60):
            await writing
        assert ids(client) == [1, 2], "what was confirmed before the kill is there"
        client.close()
