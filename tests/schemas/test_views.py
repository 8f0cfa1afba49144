"""The views for analysts: the newest version of every row, the columns of their tables, and filters that reach the keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from docs.make_tables import BOOKKEEPING
from schemas import migrations

pytestmark = pytest.mark.system

#: Nothing of these is asked with FINAL: an id stands for itself, and the other is ours.
WITHOUT_VIEW = {"event_ids", "schema_migrations"}


@pytest.fixture(scope="module")
def client(clickhouse: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=clickhouse, autogenerate_session_id=False) as found:
        migrations.create_database(found, "views_test")
        migrations.migrate(found)
        # A table without rows is not read at all.
        for table in ("visits", "zone_visits", "queue_depth", "day_figures"):
            found.command(f"INSERT INTO {table} (store_id, business_day, version) VALUES ('S', '2026-03-03', 1)")
        found.command("INSERT INTO transactions (store_id, timestamp, received_at) VALUES ('S', '2026-03-03', now())")
        found.command("INSERT INTO store_layouts (store_id) VALUES ('S')")
        yield found


def columns(client: Client, table: str) -> dict[str, tuple[str, str]]:
    """Type (without how it is stored) and meaning by column."""
    rows = client.query(
        "SELECT name, type, comment FROM system.columns WHERE database = currentDatabase() AND table = {table:String}",
        parameters={"table": table},
    ).result_rows
    stored = re.compile(r"LowCardinality\((\w+)\)|SimpleAggregateFunction\(\w+, (.*)\)")
    return {name: (stored.sub(lambda found: found[1] or found[2], kind), comment) for name, kind, comment in rows}


def test_every_replaced_table_has_a_view_of_its_newest_rows(client: Client) -> None:
    """With all columns and their types, each with a meaning: who adds a column to a table replaces its view too."""
    tables = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%ingMergeTree'"
    ).result_rows
    replaced = {name for (name,) in tables} - WITHOUT_VIEW
    assert len(replaced) >= 12
    for table in sorted(replaced):
        expected = {name: kind for name, (kind, _) in columns(client, table).items() if name not in BOOKKEEPING}
        found = columns(client, f"{table}_final")
        assert {name: kind for name, (kind, _) in found.items()} == expected, (
            f"`python docs/make_tables.py {table}` prints its view"
        )
        assert all(meaning for _, meaning in found.values())


def test_newest_and_deleted(client: Client) -> None:
    client.command(
        "INSERT INTO visits (store_id, business_day, visitor_id, entries, version, is_deleted) VALUES "
        "('V1', today(), 'a', 1, 1, 0), ('V1', today(), 'b', 1, 1, 0), ('V1', today(), 'c', 1, 1, 0)"
    )
    client.command(
        "INSERT INTO visits (store_id, business_day, visitor_id, entries, version, is_deleted) VALUES "
        "('V1', today(), 'a', 7, 2, 0), ('V1', today(), 'b', 1, 2, 1), ('V1', today(), 'c', 9, 0, 0)"
    )
    rows = client.query("SELECT visitor_id, entries FROM visits_final WHERE store_id = 'V1' ORDER BY 1").result_rows
    assert rows == [("a", 7), ("c", 1)]


@pytest.mark.parametrize(
    ("view", "tables"),
    [
        ("visits_final", {"visits"}),
        ("zone_visits_final", {"zone_visits"}),
        ("queue_depth_final", {"queue_depth"}),
        ("day_figures_final", {"day_figures"}),
        ("receipts", {"transactions", "store_layouts"}),
        ("baskets", {"transactions", "store_layouts", "visits"}),
        ("visitors", {"visits", "store_layouts"}),
        ("queue_waits", {"zone_visits", "visits"}),
        ("store_days", {"visits", "zone_visits", "transactions", "store_layouts"}),
    ],
)
def test_a_shop_and_a_day_are_found_by_the_keys(client: Client, view: str, tables: set[str]) -> None:
    """Of each table that a view reads, the plan looks for the shop by its primary key, and for the day there or by an
    index over the time.
    """
    sql = f"EXPLAIN indexes = 1 SELECT * FROM {view} WHERE store_id = 'S' AND business_day = '2026-03-03'"
    plan = "\n".join(row[0] for row in client.query(sql).result_rows)
    reads = re.split(r"ReadFrom\w+ \(views_test\.", plan)[1:]
    assert {read.split(")")[0] for read in reads} == tables
    for read in reads:
        table = read.split(")")[0]
        key = re.search(r"PrimaryKey\W.*?Condition: ([^\n]*)", read, re.DOTALL)
        assert key, read
        assert "store_id in ['S', 'S']" in key[1], read
        if table in {"visits", "zone_visits", "queue_depth", "day_figures"}:
            assert "business_day in [20515, 20515]" in key[1], read
        if table == "transactions":
            assert re.search(r"toDate\(timestamp\)(, 1\))? in \[20515, 20515\]", read), read


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago", ""])
def test_a_receipt_lies_on_one_day_of_its_shop(client: Client, zone: str) -> None:
    """On the date of the shop's clock, 14 hours before UTC or 11 behind, once each."""
    store = f"Z{zone}"
    client.insert("store_layouts", [[store, zone]], column_names=["store_id", "time_zone"])
    moments = [datetime(2026, 3, 3, tzinfo=UTC) + timedelta(minutes=37 * step) for step in range(80)]
    now = datetime.now(UTC)
    client.insert(
        "transactions",
        [[store, f"T{step}", moment, 10, "", now] for step, moment in enumerate(moments)],
        column_names=["store_id", "transaction_id", "timestamp", "basket_value", "currency", "received_at"],
    )
    found = client.query(
        "SELECT transaction_id, business_day, local_hour FROM receipts WHERE store_id = {store:String}",
        parameters={"store": store},
    ).result_rows
    local = [moment.astimezone(ZoneInfo(zone or "UTC")) for moment in moments]
    assert sorted(found) == sorted((f"T{step}", clock.date(), clock.hour) for step, clock in enumerate(local))
