"""Alerts of stock on real parts: from movements and outlooks on the log to rows and alerts, once each."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aisleflow.clients import clickhouse_client, kafka_producer
from aisleflow.settings import Settings
from schemas.topics import ALERTS, ORDERS, STOCK_OUTLOOK
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.stock.history import StockHistory
from stream_processors.stock.watch import StockWatch
from tests.stream_processors.stock.test_derivation import Shop

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def database(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(kafka, clickhouse, store_partitions=1)


@pytest.fixture
def shop(database: Settings) -> Iterator[Shop]:
    with clickhouse_client(database) as client:
        yield Shop(database, client)


def outlook(shop: Shop, minute: int, risk: float, on_hand: float = 5, **changes: Any) -> tuple[str, bytes]:
    line = {
        "sku": "A",
        "shelf": on_hand,
        "backroom": 0,
        "safety_stock": 3,
        "reorder_point": 9,
        "order_up_to": 20,
        "demand_per_day": 4,
        "protected_days": 3,
        "service_level": 0.95,
        "policy": "sS",
        "expected_48h": 12,
        "lost_48h": 3,
        "risk": [risk] * 48,
        "model": "test",
    }
    said = {
        "event_id": str(uuid.uuid4()),
        "store_id": shop.store,
        "timestamp": (NOON + timedelta(minutes=minute)).isoformat(),
        "lines": [line | changes],
    }
    return STOCK_OUTLOOK.name, json.dumps(said).encode()


def watch(shop: Shop) -> StockWatch:
    sink, history = ClickHouseSink(shop.client), StockHistory(shop.client)
    return StockWatch(shop.settings, sink, history, kafka_producer(shop.settings), shop.derivation.touched_stores)


def said(shop: Shop) -> list[tuple[Any, ...]]:
    """What the alerts of this shop say, in their order."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": shop.settings.kafka_bootstrap, "group.id": "reader of alerts"})
    place = TopicPartition(shop.settings.topic_prefix + ALERTS.name, 0, 0)
    _, high = consumer.get_watermark_offsets(place, timeout=10)
    consumer.assign([place])
    records = consumer.consume(high, timeout=10) if high else []
    consumer.close()
    found = [json.loads(record.value() or b"") for record in records]
    return [(one["type"], one["state"], one["severity"]) for one in found if one["store_id"] == shop.store]


def rows(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.rows(
        """SELECT type, subject, severity, closed_at IS NULL, announced FROM anomalies FINAL
        WHERE store_id = %(store)s ORDER BY detected_at, type"""
    )


async def test_a_risk_opens_changes_and_closes_once(shop: Shop) -> None:
    looks = watch(shop)
    for minute, risk in enumerate((0.2, 0.55, 0.4, 0.9, 0.7, 0.3, 0.1, 0.3)):
        await shop.read(outlook(shop, minute, risk))
        assert shop.store in shop.derivation.touched_stores
        looks.look([shop.store])
        looks.look([shop.store])
    assert said(shop) == [
        ("STOCKOUT_RISK", "OPENED", "INFO"),
        ("STOCKOUT_RISK", "CHANGED", "WARN"),
        ("STOCKOUT_RISK", "CHANGED", "INFO"),
        ("STOCKOUT_RISK", "CLOSED", "INFO"),
    ]
    assert rows(shop) == [("STOCKOUT_RISK", "A", "INFO", False, "CLOSED")]


async def test_stock_below_nothing_is_told_until_it_is_counted(shop: Shop) -> None:
    looks = watch(shop)
    await shop.read(shop.move("COUNT", 3), shop.move("SALE", 5, 10), shop.move("SALE", 5, 10, sku="NEVER-COUNTED"))
    looks.look([shop.store])
    assert shop.store in StockHistory(shop.client).stores_in_trouble()
    await shop.read(shop.move("SALE", 1, 20))
    looks.look([shop.store])
    assert rows(shop) == [("NEGATIVE_STOCK", "A", "INFO", True, "OPEN INFO")]
    await shop.read(shop.move("COUNT", 7, 30))
    looks.look([shop.store])
    assert said(shop) == [("NEGATIVE_STOCK", "OPENED", "INFO"), ("NEGATIVE_STOCK", "CLOSED", "INFO")]
    assert shop.store not in StockHistory(shop.client).stores_in_trouble()


async def test_of_several_outlooks_the_newest_holds_and_repeats_change_nothing(shop: Shop) -> None:
    newer, older = outlook(shop, 5, 0.7, order_quantity=24, packs=2, pack=12), outlook(shop, 1, 0.9)
    await shop.read(newer)
    await shop.read(older, newer)
    columns = "sku, made_at, order_quantity, packs, risk[48], runs_out_at"
    ((sku, made_at, order, packs, risk, runs_out_at),) = shop.rows(
        f"SELECT {columns} FROM stock_outlook_final WHERE store_id = %(store)s"
    )
    assert (sku, order, packs, round(risk, 3), runs_out_at) == ("A", 24, 2, 0.7, None)
    assert made_at == datetime(2026, 3, 3, 12, 5)  # noqa: DTZ001 - as the driver gives it, UTC


async def test_orders_are_kept_as_they_were_said(shop: Shop) -> None:
    placed = {
        "event_id": str(uuid.uuid4()),
        "store_id": shop.store,
        "order_id": "PO-1",
        "timestamp": "2026-03-03T09:00:00Z",
        "supplier_id": "FARM",
        "status": "PLACED",
        "expected_at": "2026-03-05T06:00:00Z",
        "lines": [{"sku": "A", "quantity": 24, "unit_price": "1.20"}, {"sku": "B", "quantity": 1.5}],
    }
    shipped = placed | {
        "event_id": str(uuid.uuid4()),
        "timestamp": "2026-03-04T09:00:00Z",
        "status": "SHIPPED",
        "lines": [],
    }
    wrong = placed | {"event_id": str(uuid.uuid4()), "lines": [{"sku": "A", "quantity": -1}]}
    records = [(ORDERS.name, json.dumps(one).encode()) for one in (placed, shipped, wrong)]
    await shop.read(*records)
    await shop.read(*records[:1])
    found = shop.rows("SELECT status, sku, quantity FROM orders_final WHERE store_id = %(store)s ORDER BY timestamp")
    assert [(status, sku, [float(one) for one in quantity]) for status, sku, quantity in found] == [
        ("PLACED", ["A", "B"], [24, 1.5]),
        ("SHIPPED", [], []),
    ]
    assert [letter.refusal.reason for letter in shop.kept.letters] == ["a quantity is below 0"]
