"""A shop's nights on real parts: sales in ClickHouse, forecasts on the log, rows by the stock worker, an alarm when they go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, TopicPartition

from aisleflow.clients import clickhouse_client, kafka_config, kafka_producer
from aisleflow.settings import Settings
from forecasting import nightly
from forecasting.serving import Serving
from schemas.layouts import StoreCalendar
from schemas.topics import FORECAST_ACCURACY, FORECASTS
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.stock.history import StockHistory
from stream_processors.stock.watch import StockWatch
from tests.stream_processors.stock.test_derivation import Shop

TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def database(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(kafka, clickhouse, store_partitions=1)


@pytest.fixture
def shop(database: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr("tests.stream_processors.stock.test_derivation.ARRIVED", int(time.time() * 1000))
    with clickhouse_client(database) as client:
        yield Shop(database, client)


def sell(shop: Shop, sku: str, sold: list[int], last: date, hour: int = 10) -> None:
    """A movement a day until the last one, as the worker would have written it."""
    names = [
        "store_id",
        "sku",
        "timestamp",
        "kind",
        "quantity",
        "location",
        "shelf",
        "source",
        "received_at",
        "event_id",
    ]
    rows = []
    for back, quantity in enumerate(reversed(sold)):
        at = datetime(last.year, last.month, last.day, hour, tzinfo=UTC) - timedelta(days=back)
        if quantity:
            event_id = f"{hash((shop.store, sku, back, last)) % 2**128:032x}"
            rows.append([shop.store, sku, at, "SALE", quantity, "SHELF", -quantity, "MOVEMENT", at, event_id])
    shop.client.insert("stock_movements", rows, column_names=names)


async def night(shop: Shop, today: date) -> nightly.Run:
    """A run as of a morning, and what the worker makes of it."""
    settings = shop.settings
    consumers = {
        name: Consumer({**kafka_config(settings), "group.id": "test"})
        for name in (FORECASTS.name, FORECAST_ACCURACY.name)
    }
    before = {name: end(settings, consumer, name) for name, consumer in consumers.items()}
    done = nightly.run(
        settings, shop.client, kafka_producer(settings), Serving(settings.models), StoreCalendar(shop.store), today
    )
    records: list[tuple[str, bytes]] = []
    for name, consumer in consumers.items():
        count = end(settings, consumer, name) - before[name]
        consumer.assign([TopicPartition(settings.topic_prefix + name, 0, before[name])])
        records += [(name, record.value() or b"") for record in consumer.consume(count, timeout=20)]
        consumer.close()
    await shop.read(*records)
    assert not shop.kept.letters
    return done


def end(settings: Settings, consumer: Consumer, name: str) -> int:
    return int(consumer.get_watermark_offsets(TopicPartition(settings.topic_prefix + name, 0), timeout=20)[1])


def drifts(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.rows(
        """SELECT subject, severity, closed_at IS NULL FROM anomalies FINAL
        WHERE store_id = %(store)s AND type = 'FORECAST_DRIFT' ORDER BY detected_at, subject"""
    )


def look(shop: Shop) -> None:
    sink, history = ClickHouseSink(shop.client), StockHistory(shop.client)
    StockWatch(shop.settings, sink, history, kafka_producer(shop.settings), shop.derivation.touched_stores).look(
        [shop.store]
    )


async def test_nights_of_a_shop_in_which_demand_changes(shop: Shop) -> None:
    random = np.random.default_rng(4)
    weekday = [6, 7, 8, 9, 14, 18, 4]
    before = TODAY - timedelta(days=14)
    for sku in ("A", "B", "C"):
        usual = [int(random.poisson(weekday[(before - timedelta(days=back)).weekday()])) for back in range(120, 0, -1)]
        sell(shop, sku, usual, before - timedelta(days=1))
    first = await night(shop, before)
    assert (first.forecasts, first.drifting, first.last_day) == (3, 0, before - timedelta(days=1))
    rows = shop.rows(
        "SELECT sku, count(), min(day), max(day) FROM forecasts_newest WHERE store_id = %(store)s GROUP BY sku ORDER BY sku"
    )
    assert rows == [(sku, 28, before, before + timedelta(days=27)) for sku in ("A", "B", "C")]
    (accuracy,) = shop.rows("SELECT sku, days, forecasts FROM forecast_accuracy_final WHERE store_id = %(store)s")
    assert accuracy == ("", 0, 3), "nothing to compare yet"

    # A week later: A sells three times as much as usual, B and C go on.
    week = TODAY - timedelta(days=7)
    for sku in ("A", "B", "C"):
        mean = [weekday[(week - timedelta(days=back)).weekday()] * (3 if sku == "A" else 1) for back in range(7, 0, -1)]
        sell(shop, sku, [int(random.poisson(one)) for one in mean], week - timedelta(days=1))
    second = await night(shop, week)
    assert second.drifting >= 1
    look(shop)
    look(shop)
    found = drifts(shop)
    assert ("A", "WARN", True) in found and ("B", "WARN", True) not in found
    (message,) = shop.rows(
        "SELECT message FROM anomalies FINAL WHERE store_id = %(store)s AND type = 'FORECAST_DRIFT' AND subject = 'A'"
    )
    assert "too low" in message[0]

    # Another week: the models have learned it, and the alarm is over.
    for sku in ("A", "B", "C"):
        mean = [
            weekday[(TODAY - timedelta(days=back)).weekday()] * (3 if sku == "A" else 1) for back in range(7, 0, -1)
        ]
        sell(shop, sku, [int(random.poisson(one)) for one in mean], TODAY - timedelta(days=1))
    await night(shop, TODAY)
    look(shop)
    assert ("A", "WARN", False) in drifts(shop)


def stores_due(client: Client, store: str, **more: Any) -> list[str]:
    return [calendar.store_id for calendar, _ in nightly.due(client, datetime.now(UTC), only=store, **more)]


async def test_a_shop_is_due_until_its_run_is_whole(shop: Shop) -> None:
    assert stores_due(shop.client, shop.store) == []
    sell(shop, "A", [3] * 40, TODAY - timedelta(days=1))
    assert stores_due(shop.client, shop.store) == [shop.store]
    await night(shop, TODAY)
    today = shop.rows("SELECT max(day) FROM forecast_accuracy_final WHERE store_id = %(store)s")
    if today[0][0] >= (datetime.now(UTC) - nightly.SETTLING).date() - timedelta(days=1):
        assert stores_due(shop.client, shop.store) == []
    assert stores_due(shop.client, shop.store, again=True) == [shop.store]


async def test_days_of_an_empty_shelf_are_no_days_without_demand(shop: Shop) -> None:
    """Counted at 0 for two weeks: what was not there could not be sold."""
    sell(shop, "A", [5] * 60 + [0] * 14, TODAY - timedelta(days=1))
    sell(shop, "OTHER", [5] * 74, TODAY - timedelta(days=1))
    names = ["store_id", "sku", "timestamp", "kind", "quantity", "location", "source", "received_at", "event_id"]
    counted = datetime(TODAY.year, TODAY.month, TODAY.day, 1, tzinfo=UTC) - timedelta(days=14)
    shop.client.insert(
        "stock_movements",
        [[shop.store, "A", counted, "COUNT", 0, "SHELF", "MOVEMENT", counted, f"{hash(shop.store) % 2**128:032x}"]],
        column_names=names,
    )
    await night(shop, TODAY)
    rows = shop.rows("SELECT any(mean), any(warnings) FROM forecasts_final WHERE store_id = %(store)s AND sku = 'A'")
    assert rows[0][0] == pytest.approx(5, rel=0.1)
    assert any("stock-out" in words for words in rows[0][1])
