"""Training on real parts: Spark reads a real PostgreSQL, a real ClickHouse and CSV files; what is best is served."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from forecasting.pipeline import spark, train
from forecasting.pipeline.sources import Source, SourceError
from forecasting.registry import Registry
from forecasting.series import Series

if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("torch") is None:
    pytest.skip("the training extra is not installed: make training", allow_module_level=True)
if shutil.which("java") is None:
    pytest.skip("Spark needs Java: apt-get install default-jre-headless", allow_module_level=True)

pytestmark = pytest.mark.timeout(900)  # Java starts slowly beside other work

FIRST = date(2026, 1, 5)
DAYS = 120
COLUMNS = (
    "(sold_at timestamp, store_id text, product_id int, quantity numeric, unit_price numeric, on_promotion boolean)"
)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


USUAL = np.array([4.0, 5.0, 6.0, 5.0, 8.0, 12.0, 0.0])
SOLD = np.random.default_rng(7).poisson(np.arange(1, 4)[:, None] * USUAL[np.arange(DAYS) % 7])


def sold(product: int, number: int) -> int:
    """By the weekday and chance, none on Sundays (closed)."""
    return int(SOLD[product - 1, number])


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """One Spark for the module, with PostgreSQL's driver."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
        )  # short runs are compiled for nothing
        with spark.session("local[2]", "768m", packages=spark.DRIVER) as found:
            yield found


@pytest.fixture(scope="module")
def shop(postgresql: str) -> str:
    """A database with a table of sales, and orders with items that say the same."""
    import psycopg

    with psycopg.connect(postgresql) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE sales {COLUMNS}")
        cursor.execute("CREATE TABLE orders (id int PRIMARY KEY, created_at timestamptz, store_id text, status text)")
        cursor.execute("CREATE TABLE order_items (order_id int, product_id int, quantity int, price numeric)")
        cursor.execute("CREATE TABLE empty (sku text, date date, qty int)")
        cursor.execute("CREATE TABLE odd (artikel text, wann date, menge int)")
        rows = [(number, product) for number in range(DAYS) for product in (1, 2, 3) if sold(product, number)]
        for order, (number, product) in enumerate(rows):
            # 20:00 UTC is the next day in India: the shop's clock says so in `sales`, the zone has to in `orders`.
            quantity, at = (
                sold(product, number),
                datetime.combine(day(number - 1), datetime.min.time()) + timedelta(hours=20),
            )
            values = (at + timedelta(hours=5.5), "S1", product, quantity, 9.5, number % 30 == 0)
            cursor.execute("INSERT INTO sales VALUES (%s, %s, %s, %s, %s, %s)", values)
            cursor.execute("INSERT INTO orders VALUES (%s, %s, 'S1', 'paid')", (order, f"{at.isoformat()}Z"))
            cursor.execute("INSERT INTO order_items VALUES (%s, %s, %s, 9.5)", (order, product, quantity))
        cursor.execute("INSERT INTO orders VALUES (999999, '2026-02-02T10:00Z', 'S1', 'Cancelled')")
        cursor.execute("INSERT INTO order_items VALUES (999999, 1, 500, 9.5)")
    return postgresql


def read(session: Any, source: Source, settings: Settings | None = None, where: str = "true") -> list[Series]:
    table = spark.series_table(spark.read(session, source, settings or Settings(_env_file=None))).where(where)
    return spark.collected(table, "IN")


def test_sales_and_order_items_say_the_same(session: Any, shop: str) -> None:
    series = read(session, Source(shop))
    assert [one.key for one in series] == ["S1/1", "S1/2", "S1/3"]
    one = series[0]
    expected = [np.nan if number % 7 == 6 else sold(1, number) for number in range(DAYS)]
    assert one.start == FIRST
    np.testing.assert_array_equal(one.quantity, expected[: len(one.quantity)])
    assert one.promotion is not None and one.promotion[30] == 1 and one.promotion[31] == 0
    assert one.price is not None and set(one.price) == {9.5}
    items = read(session, Source(shop, table="order_items", time_zone="Asia/Kolkata"))
    for first, second in zip(series, items, strict=True):
        assert first.start == second.start
        np.testing.assert_array_equal(first.quantity, second.quantity)


def test_only_so_many_days_back(session: Any, shop: str) -> None:
    one = read(session, Source(shop, days=60))[0]
    assert (one.end - one.start).days + 1 <= 60


def test_of_many_series_the_same_ones_are_taken_each_time(session: Any) -> None:
    table = session.range(1000).selectExpr("cast(id AS string) AS key")
    chosen = {row.key for row in spark.some(table, 100).collect()}
    assert 70 < len(chosen) < 130
    assert chosen == {row.key for row in spark.some(table.orderBy("key"), 100).collect()}
    assert spark.some(table, 1000).count() == 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"table": "nothing"},
            "has no table nothing that this user may read; it has empty, odd, order_items, orders, sales",
        ),
        ({"table": "empty"}, "has no sales: nothing can be learnt"),
        ({"table": "odd"}, "it has artikel, wann, menge: say which with --column product=NAME"),
        ({"address": "s3cret/word", "into": "wrong"}, "PostgreSQL cannot be read: .*password authentication failed"),
        ({"address": "/postgres", "into": "/nowhere"}, 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_cannot_be_read_says_why(session: Any, shop: str, change: dict[str, str], message: str) -> None:
    address = shop
    if "into" in change:
        address = shop.replace(change["address"].replace("/word", "%2Fword"), change["into"])
    with pytest.raises(SourceError, match=message) as raised:
        read(session, Source(address, table=change.get("table", "")))
    assert "s3cret" not in str(raised.value)


def test_a_csv_of_any_form_is_read(session: Any, tmp_path: Path) -> None:
    path = tmp_path / "kasse.csv"
    rows = [f'"Käse, jung";{day(number):%d.%m.%Y} 10:00;{number % 5},5;ja;Süd' for number in range(40)]
    path.write_text(
        "Artikel;Datum;Menge;Aktion;Filiale\n" + "\n".join(rows) + "\nKäse;gestern;1;;Süd\n", encoding="cp1252"
    )
    said = {"product": "Artikel", "at": "Datum", "quantity": "Menge", "store": "Filiale"}
    (one,) = read(session, Source(str(path), said))
    assert (one.key, one.start) == ("Süd/Käse, jung", FIRST)
    np.testing.assert_array_equal(one.quantity, [number % 5 + 0.5 for number in range(40)])


def test_the_real_till_export_is_read(session: Any) -> None:
    path = Path(__file__).parents[4] / "shared/data/sales/online_retail.csv.gz"
    if not path.exists():
        pytest.skip("../shared/data is not there")
    (lights,) = read(session, Source(str(path)), where="key = '85123A'")  # White hanging heart T-light holder
    assert (lights.start, lights.end) == (date(2010, 12, 1), date(2011, 12, 9))
    assert np.isnan(lights.quantity[(5 - lights.start.weekday()) % 7 :: 7]).all()  # closed on Saturdays
    assert np.nansum(lights.quantity) == 39_457  # summed by hand: each day's sales less its returns, no day below zero


def test_the_ledger_says_when_the_shelf_was_empty(
    session: Any, clickhouse: str, make_world: Callable[..., Settings]
) -> None:
    world = make_world(None, clickhouse)

    def at(number: int, hour: int = 10) -> datetime:
        return datetime.combine(day(number), datetime.min.time()) + timedelta(hours=hour)

    columns = [
        "event_id",
        "store_id",
        "sku",
        "timestamp",
        "kind",
        "quantity",
        "location",
        "shelf",
        "backroom",
        "source",
    ]
    moved = [
        ("A", at(0), "COUNT", 5, 0),
        ("A", at(0, 11), "SALE", 2, -2),
        ("A", at(1), "SALE", 3, -3),  # sold out; nothing on days 2 and 3
        ("A", at(4), "RECEIVE", 9, 9),
        ("A", at(6, 20), "SALE", 1, -1),  # 20:00 UTC is day 7 in India
        *[("B", at(number), "SALE", 1, -1) for number in range(8)],  # never counted: nothing is known of its shelf
        ("B", at(3), "RETURN", 1, 1),
    ]
    with clickhouse_client(world) as client:
        import uuid

        rows = [
            (uuid.UUID(int=number), "S1", sku, when, kind, quantity, "SHELF", shelf, 0, "MOVEMENT")
            for number, (sku, when, kind, quantity, shelf) in enumerate(moved)
        ]
        client.insert("stock_movements", rows, columns)
    a, b = read(session, Source("clickhouse", time_zone="Asia/Kolkata"), world)
    np.testing.assert_array_equal(a.quantity, [2, 3, np.nan, np.nan, 0, 0, 0, 1])
    np.testing.assert_array_equal(b.quantity, [1, 1, 1, 0, 1, 1, 1, 1])
    with clickhouse_client(world) as client:
        client.command("TRUNCATE TABLE stock_movements")
    with pytest.raises(SourceError, match="ClickHouse has no sales of articles"):
        read(session, Source("clickhouse"), world)


def test_a_run_serves_what_is_better_and_only_that(session: Any, shop: str, tmp_path: Path) -> None:
    settings, registry = Settings(_env_file=None, data_dir=tmp_path), Registry(tmp_path / "models")
    plan = train.Plan(holdout=14, steps=1)
    first = train.run(session, Source(shop), registry, settings, plan)
    assert set(first.scores) == {"new", "seasonal-naive", "champion"}
    assert {figures["days"] for figures in first.scores.values()} == {3 * 12.0}  # the same days of the same series
    assert first.promoted is (first.scores["new"]["wql"] < first.scores["seasonal-naive"]["wql"])
    registry.promote("lstm", first.card.version)

    again = train.run(session, Source(shop), registry, settings, plan)
    assert not again.promoted and "that of the served version" in again.why  # as good is not better
    assert again.scores["served"] == again.scores["new"]

    learnt = train.run(session, Source(shop), registry, settings, plan.model_copy(update={"steps": 60}))
    assert learnt.served_before == first.card.version
    figures = {name: learnt.scores[name]["wql"] for name in ("new", "served", "seasonal-naive")}
    assert learnt.promoted is (figures["new"] == min(figures.values()))
    served = registry.promoted("lstm")
    assert served is not None and served.version == (learnt if learnt.promoted else first).card.version
    assert learnt.card.data == first.card.data and learnt.card.data.series == 3
    assert "s3cret" not in learnt.card.model_dump_json()
    judged = polars.read_parquet(registry.read(learnt.card, train.JUDGED))
    assert judged.height == 4 * 3 and set(judged["key"]) == {"S1/1", "S1/2", "S1/3"}


def test_too_little_history_is_said(session: Any, shop: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no product has 28 known days before the last 90"):
        train.run(
            *(session, Source(shop, days=60), Registry(tmp_path), Settings(_env_file=None)),
            train.Plan(holdout=90, steps=1),
        )


@pytest.mark.skipif(os.environ.get("CI") != "true" and not os.environ.get("SPARK_ERRORS"), reason="starts another Java")
def test_java_that_is_missing_is_said() -> None:
    import subprocess
    import sys

    code = (
        "from forecasting.pipeline import spark\n"
        "try:\n    spark.session().__enter__()\nexcept spark.SourceError as error:\n    print(error)"
    )
    environment = {**os.environ, "PATH": "/nowhere", "JAVA_HOME": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "it needs Java 17" in done.stdout
