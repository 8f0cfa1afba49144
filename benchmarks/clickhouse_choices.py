"""Two choices of how workers talk to ClickHouse, measured: looking up event ids, and the form in which rows are inserted.

``python -m benchmarks.clickhouse_choices`` starts an embedded ClickHouse of its own and prints medians.
"""

from __future__ import annotations

import os
import platform
import secrets
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from stream_processors.engine.sink import encode_rows
from tests.conftest import free_port, running_clickhouse

# What a cycle of 200 ms asks for at 2,000 events a second, and the most that one query asks for.
ASKED_IDS = (400, 5_000)
STORED_IDS, ROWS, REPEATS = 4_000_000, 20_000, 9
COLUMNS = ("event_id", "store_id", "visitor_id", "timestamp", "dwell_ms")
TABLE = """CREATE TABLE {name}
    (event_id UUID, store_id String, visitor_id String, timestamp DateTime64(3, 'UTC'), dwell_ms UInt32)
    ENGINE = ReplacingMergeTree ORDER BY event_id SETTINGS index_granularity = {granularity}"""


def medians(work: Callable[[], object]) -> tuple[float, float]:
    """Median wall time and median CPU time of this process, milliseconds, after one run to warm up."""
    work()
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls) * 1000, statistics.median(cpus) * 1000


def look_up(client: Client, granularity: int) -> dict[int, float]:
    """Wall milliseconds to ask which of some random ids, every second one stored, a table knows; by how many are
    asked.
    """
    name = f"ids_{granularity}"
    client.command(TABLE.format(name=name, granularity=granularity))
    for _ in range(8):
        client.command(
            f"INSERT INTO {name} SELECT generateUUIDv4(), 'S', 'V', now64(3), 0 FROM numbers({STORED_IDS // 8})"
        )
    client.command(f"OPTIMIZE TABLE {name} FINAL")  # so that no merge runs beside the measurement
    query = f"SELECT DISTINCT toString(event_id) FROM {name} WHERE event_id IN %(ids)s"
    took = {}
    for asked in ASKED_IDS:
        known = client.query(f"SELECT event_id FROM {name} ORDER BY rand() LIMIT {asked // 2}").result_columns[0]
        given = {"ids": tuple(map(str, [*known, *(uuid.uuid4() for _ in range(asked // 2))]))}
        assert len(client.query(query, parameters=given).result_rows) == asked // 2
        took[asked] = medians(partial(client.raw_query, query, parameters=given, fmt="JSONCompactEachRow"))[0]
    return took


def insert(client: Client) -> dict[str, tuple[float, float]]:
    """(Wall, CPU of the client) milliseconds to insert rows that a worker has as text, by form."""
    client.command(TABLE.format(name="rows", granularity=8192))
    ids = [str(uuid.uuid4()) for _ in range(ROWS)]
    moment = time.time()
    rows = [(ids[n], "ST1001", f"VIS_{n}", f"{moment + n:.3f}", n) for n in range(ROWS)]

    def as_json() -> None:
        client.raw_insert("rows", COLUMNS, encode_rows(rows), fmt="JSONCompactEachRow")

    def as_columns() -> None:
        columns = [list(column) for column in zip(*rows, strict=True)]
        columns[0] = [uuid.UUID(text) for text in columns[0]]
        columns[3] = [datetime.fromtimestamp(float(text), UTC) for text in columns[3]]
        client.insert("rows", columns, column_names=COLUMNS, column_oriented=True)

    return {"JSONCompactEachRow, encoded by msgspec": medians(as_json), "native columns": medians(as_columns)}


def main() -> None:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_clickhouse(Path(folder) / "data", free_port(), secrets.token_hex()) as address,
    ):
        url = urlsplit(address)
        with clickhouse_connect.get_client(
            host=url.hostname,
            port=url.port,
            username=url.username,
            password=url.password,
            autogenerate_session_id=False,
        ) as client:
            versions = f"Python {platform.python_version()}, ClickHouse {client.server_version}"
            print(f"{platform.machine()}, {os.cpu_count()} cores, {versions}, median of {REPEATS}")
            for granularity in (8192, 128):
                for asked, took in look_up(client, granularity).items():
                    print(f"look up {asked:,} ids among {STORED_IDS:,}, index_granularity {granularity}: {took:.0f} ms")
            for form, (wall, cpu) in insert(client).items():
                print(f"insert {ROWS:,} rows as {form}: {wall:.0f} ms, {cpu:.0f} ms of it CPU of the client")


if __name__ == "__main__":
    main()
