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

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from schemas import migrations
from stream_processors.engine.sink import encode_rows
from stream_processors.history import QUERY_SETTINGS, History
from tests.conftest import free_port, running_clickhouse

# What a cycle of 200 ms asks for at 2,000 events a second, more, and what a full one does.
ASKED_IDS = (400, 5_000, 20_000)
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


def look_up(client: Client) -> dict[tuple[int, str], float]:
    """Wall milliseconds to ask which of some random ids, every second one stored, are known, by how many are asked: by a quoted list from a
    table as ClickHouse makes it, and as the workers do (``History.stored_events``).
    """
    client.command(TABLE.format(name="plain_ids", granularity=8192))
    for _ in range(8):
        client.command(
            f"INSERT INTO plain_ids SELECT generateUUIDv4(), 'S', 'V', now64(3), 0 FROM numbers({STORED_IDS // 8})"
        )
        client.command(f"INSERT INTO event_ids (event_id) SELECT generateUUIDv4() FROM numbers({STORED_IDS // 8})")
    for table in ("plain_ids", "event_ids"):
        client.command(f"OPTIMIZE TABLE {table} FINAL")  # so that no merge runs beside the measurement
    history = History(client)
    query = "SELECT toString(event_id) FROM plain_ids WHERE event_id IN %(ids)s"
    took = {}
    for asked in ASKED_IDS:
        known = {
            table: client.query(
                f"SELECT toString(event_id) FROM {table} ORDER BY rand() LIMIT {asked // 2}"
            ).result_columns[0]
            for table in ("plain_ids", "event_ids")
        }
        unknown = [str(uuid.uuid4()) for _ in range(asked // 2)]
        given = {"ids": (*known["plain_ids"], *unknown)}
        assert len(client.query(query, parameters=given).result_rows) == asked // 2
        ours = [*known["event_ids"], *unknown]
        assert len(history.stored_events(ours)) == asked // 2
        plain = partial(client.raw_query, query, parameters=given, fmt="JSONCompactEachRow", settings=QUERY_SETTINGS)
        took[asked, "a quoted list, a table without settings"] = medians(plain)[0]
        took[asked, "as the workers ask"] = medians(partial(history.stored_events, ours))[0]
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
        clickhouse_connect.get_client(dsn=address, autogenerate_session_id=False) as client,
    ):
        migrations.create_database(client, "choices")
        migrations.migrate(client)
        versions = f"Python {platform.python_version()}, ClickHouse {client.server_version}"
        print(f"{platform.machine()}, {os.cpu_count()} cores, {versions}, median of {REPEATS}")
        for (asked, form), took in look_up(client).items():
            print(f"look up {asked:,} ids among {STORED_IDS:,}, {form}: {took:.0f} ms")
        for form, (wall, cpu) in insert(client).items():
            print(f"insert {ROWS:,} rows as {form}: {wall:.0f} ms, {cpu:.0f} ms of it CPU of the client")


if __name__ == "__main__":
    main()
