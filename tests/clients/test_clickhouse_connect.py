"""clickhouse-connect against the embedded server: all of its calls that docs/analysts.md and our own programs use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import IPv4Address
from uuid import UUID

import clickhouse_connect
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError
from clickhouse_connect.driver.external import ExternalData

from tests.clients.conftest import Server

pytestmark = pytest.mark.system

ALL = "SELECT * FROM t ORDER BY id"
AT = datetime(2026, 3, 3, 14, 22, 10, 123_000, tzinfo=UTC)


@pytest.fixture(scope="module")
def analyst(table_of_types: Server) -> Iterator[Client]:
    where = table_of_types
    with clickhouse_connect.get_client(
        host="127.0.0.1",
        port=where.port,
        username=where.user,
        password=where.password,
        database=where.database,
        tz_mode="aware",
    ) as client:
        yield client


@pytest.fixture(scope="module")
def writer(table_of_types: Server) -> Iterator[Client]:
    where = table_of_types
    with clickhouse_connect.get_client(
        host="127.0.0.1",
        port=where.port,
        username="aisleflow",
        password=where.password[::-1],
        database=where.database,
        tz_mode="aware",
    ) as client:
        client.command("CREATE DATABASE written")  # beside that whose tables other tests list
        client.database = "written"
        client.command(
            "CREATE TABLE filled (id UInt64, text String, at Nullable(DateTime64(3, 'UTC'))) ENGINE = MergeTree ORDER BY id"
        )
        yield client


def test_rows(analyst: Client) -> None:
    first, second = analyst.query(ALL).named_results()
    assert first == {
        "id": 1,
        "name": "it's \\ é",
        "at": AT,
        "day": date(2026, 3, 3),
        "maybe": None,
        "tags": ["a", "b"],
        "price": Decimal("12.5"),
        "yes": True,
        "one": UUID("550e8400-e29b-41d4-a716-446655440000"),
        "map": {"k": 1},
        "wide": 2**127 - 1,
        "ip": IPv4Address("1.2.3.4"),
        "word": "a",
        "both": None,
        "nested": [[1, None], []],
    }
    assert (second["maybe"], second["both"], second["wide"]) == (0.5, "z", -1)
    answer = analyst.query(ALL)
    assert answer.column_names[0] == "id"
    assert str(answer.column_types[2].name) == "DateTime64(3, 'UTC')"
    assert analyst.query("SELECT id FROM t WHERE 0").result_rows == []


def test_frames_arrays_and_arrow(analyst: Client) -> None:
    frame = analyst.query_df("SELECT id, at, maybe, name FROM t ORDER BY id")
    assert frame["id"].tolist() == [1, 2]
    assert frame["at"][0] == pd.Timestamp(AT)
    assert np.isnan(frame["maybe"][0])
    assert analyst.query_np("SELECT id, maybe FROM t WHERE id = 2").tolist() == [(2, 0.5)]
    table = analyst.query_arrow("SELECT id, name, tags, at FROM t ORDER BY id", use_strings=True)
    assert table.column("tags").to_pylist() == [["a", "b"], []]
    assert table.column("at").to_pylist()[0] == AT
    assert analyst.query_df_arrow("SELECT id FROM t ORDER BY id")["id"].tolist() == [1, 2]


def test_streams(analyst: Client) -> None:
    sql = "SELECT number AS n FROM numbers(300000)"
    with analyst.query_rows_stream(sql) as rows:
        assert sum(n for (n,) in rows) == 44_999_850_000
    with analyst.query_column_block_stream(sql) as blocks:
        assert sum(sum(block[0]) for block in blocks) == 44_999_850_000
    with analyst.query_df_stream(sql) as frames:
        assert sum(int(frame["n"].sum()) for frame in frames) == 44_999_850_000
    with analyst.query_np_stream(sql) as arrays:
        assert sum(int(array["n"].sum() if array.dtype.names else array.sum()) for array in arrays) == 44_999_850_000
    with analyst.query_arrow_stream(sql) as batches:
        assert sum(batch.num_rows for batch in batches) == 300_000
    # Left in the middle: the next query is not disturbed.
    with analyst.query_row_block_stream(sql) as row_blocks:
        next(iter(row_blocks))
    assert analyst.command("SELECT 1") == 1


def test_raw(analyst: Client) -> None:
    assert analyst.raw_query("SELECT id FROM t ORDER BY id", fmt="CSV") == b"1\n2\n"
    assert b'"id":1' in analyst.raw_query("SELECT id FROM t ORDER BY id", fmt="JSONEachRow")
    with analyst.raw_stream("SELECT number FROM numbers(200000)", fmt="TSV") as stream:
        assert sum(1 for _ in stream.read().splitlines()) == 200_000
    assert pa.ipc.open_stream(analyst.raw_query("SELECT id FROM t", fmt="ArrowStream")).read_all().num_rows == 2


@pytest.mark.parametrize(
    ("placeholder", "value"),
    [
        ("{x:String}", "it's \\ \n\t é"),
        ("{x:DateTime64(3, 'UTC')}", AT),
        ("{x:Date}", date(2026, 3, 3)),
        ("{x:Array(String)}", ["a'b", "c\\"]),
        ("{x:Nullable(Int64)}", None),
        ("{x:Decimal(18, 4)}", Decimal("12.5000")),
        ("{x:UUID}", UUID("550e8400-e29b-41d4-a716-446655440000")),
        ("{x:Bool}", True),
        ("%(x)s", "it's"),
    ],
)
def test_parameters(analyst: Client, placeholder: str, value: object) -> None:
    assert analyst.query(f"SELECT {placeholder}", parameters={"x": value}).result_rows == [(value,)]


def test_settings(analyst: Client, table_of_types: Server) -> None:
    """The embedded server says that all are read-only for an analyst, and the client then sends none; the limits hold."""
    with pytest.raises((DatabaseError, ProgrammingError), match=r"readonly|164"):
        analyst.query("SELECT 1", settings={"max_execution_time": 900})
    where = table_of_types
    with (
        clickhouse_connect.get_client(
            host="127.0.0.1", port=where.port, username=where.user, password=where.password, tz_mode="aware"
        ) as client,
        pytest.raises(DatabaseError, match="396"),
    ):
        _ = client.query("SELECT number FROM numbers(1100000)").result_rows


def test_a_limit_of_rows_read(analyst: Client) -> None:
    with pytest.raises(DatabaseError, match=r"158|TOO_MANY_ROWS"):
        analyst.query("SELECT sum(number) FROM numbers(3000000000)")


def test_what_a_client_asks_of_a_server(analyst: Client) -> None:
    assert analyst.ping()
    assert analyst.min_version("25.1")
    assert str(analyst.server_tz) == "UTC" or analyst.server_tz is not None
    assert analyst.command("SELECT currentDatabase()") == "client_test"
    assert analyst.command("EXISTS TABLE t") == 1
    assert "CREATE TABLE" in analyst.command("SHOW CREATE TABLE t")
    assert [row[0] for row in analyst.query("DESCRIBE TABLE v").result_rows] == ["id", "name"]
    assert {row[0] for row in analyst.query("SHOW TABLES").result_rows} >= {"t", "v"}
    assert analyst.query("EXPLAIN SELECT 1").result_rows


def test_formats_of_values(analyst: Client) -> None:
    assert analyst.query("SELECT one FROM t WHERE id = 1", query_formats={"UUID": "string"}).first_row == (
        "550e8400-e29b-41d4-a716-446655440000",
    )
    zoned = analyst.query("SELECT at FROM t WHERE id = 1", query_tz="Asia/Kolkata").first_row[0]
    assert zoned == AT
    assert analyst.query("SELECT at FROM t WHERE id = 1", column_oriented=True).result_columns == [[AT]]


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_compression(table_of_types: Server, compress: str | bool) -> None:
    where = table_of_types
    with clickhouse_connect.get_client(
        host="127.0.0.1", port=where.port, username=where.user, password=where.password, compress=compress
    ) as client:
        assert len(client.query("SELECT number, toString(number) FROM numbers(100000)").result_rows) == 100_000


def test_inserts(writer: Client, table_of_types: Server) -> None:
    names = ["id", "text", "at"]
    writer.insert("filled", [[1, "it's", AT], [2, "é", None]], column_names=names)
    writer.insert("filled", [[3, 4], ["c", "d"], [AT, AT]], column_names=names, column_oriented=True)
    writer.insert_df("filled", pd.DataFrame({"id": [5, 6], "text": ["e", "f"], "at": [pd.Timestamp(AT), pd.NaT]}))
    writer.insert_arrow(
        "filled",
        pa.table({"id": pa.array([7], pa.uint64()), "text": ["g"], "at": pa.array([AT], pa.timestamp("ms", "UTC"))}),
    )
    context = writer.create_insert_context("filled", names, data=[[8, "h", None]])
    writer.insert(context=context)
    writer.raw_insert("filled", insert_block=b'{"id": 9, "text": "i"}\n', fmt="JSONEachRow")
    found = writer.query("SELECT id, text, at FROM filled ORDER BY id").result_rows
    assert [row[0] for row in found] == list(range(1, 10))
    assert found[0] == (1, "it's", AT)
    assert found[5] == (6, "f", None)
    assert found[6] == (7, "g", AT)
    assert writer.command("ALTER TABLE filled DELETE WHERE id > 8", settings={"mutations_sync": 1}) is not None
    assert writer.command("SELECT count() FROM filled") == 8


def test_errors(analyst: Client) -> None:
    for sql, code in (
        ("SELEC 1", 62),
        ("SELECT nothing FROM t", 47),
        ("SELECT * FROM nowhere", 60),
        ("SELECT 1 FROM nowhere.t", 81),
        ("INSERT INTO t (id) VALUES (9)", 497),
        ("SELECT toUInt8('x')", 6),
        ("SET max_memory_usage = 1", 164),
    ):
        with pytest.raises(DatabaseError, match=f"{code}"):
            analyst.command(sql)
    with pytest.raises(DatabaseError, match="External data is not supported"):
        analyst.query(
            "SELECT * FROM extra",
            external_data=ExternalData(file_name="extra", data=b"1\n", fmt="CSV", structure="a UInt8"),
        )
    # Nothing is carried from one request to the next, whatever the session.
    analyst.command("USE system")
    assert analyst.command("SELECT currentDatabase()") == "client_test"


async def test_asynchronously(table_of_types: Server) -> None:
    where = table_of_types
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=where.port, username=where.user, password=where.password, database=where.database
    )
    try:
        assert (await client.query("SELECT id FROM t ORDER BY id")).result_rows == [(1,), (2,)]
    finally:
        await client.close()
