"""What stock workers bring to ClickHouse as it comes: forecasts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from schemas.topics import FORECASTS
from tests.stream_processors.stock.test_derivation import Killed, Shop

QUANTILES = ("q025", "q100", "q250", "q500", "q750", "q900", "q975")


@pytest.fixture(scope="module")
def database(clickhouse: str, make_world: Any) -> Settings:
    found: Settings = make_world(None, clickhouse, store_partitions=1)
    return found


@pytest.fixture
def shop(database: Settings) -> Iterator[Shop]:
    with clickhouse_client(database) as client:
        yield Shop(database, client)


def forecast(shop: Shop, made: str, start: str, mean: list[float], **changes: Any) -> tuple[str, bytes]:
    said = {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{shop.store} {made} {mean}")),
        "store_id": shop.store,
        "timestamp": f"{made}T21:00:00.125Z",
        "sku": "A",
        "start": start,
        "mean": mean,
        "quantiles": {name: [number * day for day in mean] for number, name in enumerate(QUANTILES)},
        "model": "seasonal naive",
    }
    return FORECASTS.name, json.dumps(said | changes).encode()


def rows(shop: Shop, table: str, columns: str = "day, mean, q025, q975, model") -> list[tuple[Any, ...]]:
    return shop.rows(f"SELECT {columns} FROM {table} WHERE store_id = %(store)s ORDER BY day, made_at")


async def test_of_several_forecasts_of_a_day_the_newest_holds(shop: Shop) -> None:
    await shop.read(
        forecast(shop, "2026-03-03", "2026-03-04", [1, 2]),
        forecast(shop, "2026-03-04", "2026-03-05", [5, 6], backtest_days=7, backtest_errors=[0.5, 1.5], scale=2),
    )
    await shop.read(forecast(shop, "2026-03-02", "2026-03-03", [9, 9]))
    fourth, fifth, sixth = date(2026, 3, 4), date(2026, 3, 5), date(2026, 3, 6)
    assert rows(shop, "forecasts_newest") == [
        (date(2026, 3, 3), 9, 0, 54, "seasonal naive"),
        (fourth, 1, 0, 6, "seasonal naive"),
        (fifth, 5, 0, 30, "seasonal naive"),
        (sixth, 6, 0, 36, "seasonal naive"),
    ]
    assert [row[:2] for row in rows(shop, "forecasts_final")] == [
        *((date(2026, 3, 3), 9), (fourth, 9), (fourth, 1), (fifth, 2), (fifth, 5), (sixth, 6)),
    ]
    columns = "day, history_end, backtest_days, backtest_errors, scale"
    assert rows(shop, "forecasts_final", columns)[-1] == (sixth, fourth, 7, [0.5, 1.5], 2)


async def test_the_same_again_or_after_a_crash_changes_nothing(shop: Shop) -> None:
    first = forecast(shop, "2026-03-03", "2026-03-04", [1, 2, 3])
    await shop.read(first)
    before = rows(shop, "forecasts_final")
    count = shop.move("COUNT", 1)
    shop.restart(dies_before="stock_movements")
    with pytest.raises(Killed):
        await shop.read(first, count)
    shop.restart()
    await shop.read(first, count)
    assert rows(shop, "forecasts_final") == before
    assert len(before) == 3


async def test_one_that_cannot_be_read_is_a_dead_letter(shop: Shop) -> None:
    await shop.read(forecast(shop, "2026-03-03", "2026-03-04", [1, 2], quantiles={name: [1] for name in QUANTILES}))
    assert [(letter.source_topic, letter.refusal.reason) for letter in shop.kept.letters] == [
        (FORECASTS.name, "quantiles.q025 must have as many days as mean")
    ]
    assert rows(shop, "forecasts_final") == []
