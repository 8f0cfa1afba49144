"""A simulated day of some shops in ClickHouse, as the workers write it, for the dashboards to show.

The same weekday a week ago is there too, and today up to now; what the simulator does not make (cameras' reports on
themselves, workers' health, dead letters) is put beside it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from faust.types import TP

from aisleflow.clients import clickhouse_client, partition_of
from aisleflow.settings import Settings
from producers.simulator.faults import Faults
from producers.simulator.shops import Shop, layouts, make_shops
from producers.simulator.stream import stream
from schemas.topics import STORE_LAYOUTS
from stream_processors.derivation import Derivation
from stream_processors.engine.dead_letters import DeadLetterBox
from stream_processors.engine.scheduler import RecordBatch
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.history import History

SEED = 5


def fill(settings: Settings, shops: int = 4, *, now: datetime | None = None) -> list[Shop]:
    """Fill a migrated database; the shops that are in it, all open now."""
    now = now or datetime.now(UTC)
    made = make_shops(shops, SEED, open_at=now)
    settings = settings.model_copy(update={"store_partitions": 1})
    with clickhouse_client(settings) as client:
        asyncio.run(_derive(settings, client, made, now))
        _cameras(client, made, now)
        _findings(client, made, now)
        _stock(client, made, now)
        _health(client, made, datetime.now(UTC))  # last: who says nothing for half a minute is gone
    return made


async def _derive(settings: Settings, client: Client, shops: list[Shop], now: datetime) -> None:
    days = [now.date() - timedelta(days=back) for back in (8, 7, 1, 0)]
    sent = stream(shops, days, SEED, faults=Faults(malformed=0, dead_camera=0), until_ms=int(now.timestamp() * 1000))
    messages = [(STORE_LAYOUTS.name, value) for _, value in layouts(shops, now - timedelta(days=30))]
    messages += [(message.topic, message.value) for message in sent if message.at_ms <= now.timestamp() * 1000]
    sink, history = ClickHouseSink(client), History(client)
    # Nobody reads the alerts: librdkafka's own mock broker takes them.
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    derivation = Derivation(settings, sink, history, DeadLetterBox(producer))
    arrived = int(now.timestamp() * 1000)
    for start in range(0, len(messages), 20_000):
        by_topic: dict[str, list[SimpleNamespace]] = {}
        for offset, (topic, value) in enumerate(messages[start : start + 20_000], start):
            record = SimpleNamespace(key=None, value=value, offset=offset, timestamp=arrived, headers=())
            by_topic.setdefault(settings.topic_prefix + topic, []).append(record)
        batches = [RecordBatch(TP(topic, 0), records) for topic, records in by_topic.items()]
        await derivation.finish(await derivation.prepare(batches))


def _insert(client: Client, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)


def _cameras(client: Client, shops: list[Shop], now: datetime) -> None:
    """Reports every five minutes for six hours: all well, but for one camera that freezes and one that goes away."""
    rows = []
    for number, shop in enumerate(shops):
        for camera in shop.cameras:
            for back in range(72, -1, -1):
                at = now - timedelta(minutes=5 * back)
                state, reason = "ONLINE", ""
                if number == 0 and camera == shop.cameras[0] and back < 20:
                    state, reason = "FROZEN", "the same picture for 95 s"
                if number == 1 and camera == shop.cameras[-1] and 10 < back < 30:
                    state, reason = "OFFLINE", "no frames: connection refused"
                if number == 1 and camera == shop.cameras[-1] and back <= 10:
                    state, reason = "DEGRADED", "3.1 of 10 frames a second"
                rows.append(
                    {
                        "event_id": uuid4(),
                        "store_id": shop.store_id,
                        "camera_id": camera,
                        "timestamp": at,
                        "kind": "REPORT",
                        "state": state,
                        "reason": reason,
                        "since": at - timedelta(minutes=3),
                        "last_frame_at": at,
                        "read_fps": 0.0 if state == "OFFLINE" else 10.0,
                        "processed_fps": 0.0 if state == "OFFLINE" else 4.0,
                        "skipped_fps": 0.0,
                        "tracks_broken": 1,
                        "entries": 40 + number,
                        "exits": 38,
                        "entrance_balance": 2 + number,
                        "drift": (2 + number) / (40 + number),
                        "received_at": at,
                    }
                )
    _insert(client, "camera_states", rows)


def _findings(client: Client, shops: list[Shop], now: datetime) -> None:
    """One of each kind that alert rules and the wall tell apart. Those that workers find hang on the seed and the hour."""
    kinds = [
        (shops[0], "QUEUE_SPIKE", "", "CRITICAL", "12 people wait, usual are 3.1", "Open another till", 12.0, 3.1, None),
        (shops[1], "STALE_FEED", "", "WARN", "No event for 14 minutes", "Look at cameras and network", 14.0, 10.0, None),
        (shops[1], "CAMERA_DOWN", shops[1].cameras[-1], "CRITICAL", "Camera silent for 25 minutes", "Look at its cable", 25.0, 10.0, None),
        (shops[2], "DEAD_ZONE", shops[2].shelves[0], "INFO", "No visit for 34 minutes", "See whether it is blocked", 34.0, 30.0, None),
        (shops[2], "CONVERSION_DROP", "", "WARN", "18 % bought, 31 % in the 7 days before", "Ask the floor", 0.18, 0.31, 40),
    ]  # fmt: skip
    rows = [
        {
            "store_id": shop.store_id,
            "type": kind,
            "subject": subject,
            "detected_at": now - timedelta(minutes=50 + 7 * number),
            "business_day": now.date(),
            "severity": severity,
            "message": message,
            "suggested_action": action,
            "value": value,
            "baseline": baseline,
            "closed_at": None if closed_after is None else now - timedelta(minutes=closed_after),
            "version": 1 << 62,
        }
        for number, (shop, kind, subject, severity, message, action, value, baseline, closed_after) in enumerate(kinds)
    ]
    _insert(client, "anomalies", rows)
    anomaly_id = client.command("SELECT anomaly_id FROM anomalies FINAL WHERE type = 'DEAD_ZONE' LIMIT 1")
    seen = {"event_id": uuid4(), "store_id": shops[2].store_id, "anomaly_id": anomaly_id, "by": "Ana", "note": "moved"}
    _insert(client, "acknowledgements", [{**seen, "timestamp": now, "received_at": now}])


def _stock(client: Client, shops: list[Shop], now: datetime) -> None:
    """Articles of two shops with a gap of each kind, the movements of a few hours, and a count that was off."""
    kinds = (
        (4, 12, 0, ""),
        (0, 8, 0, "FILL_SHELF"),
        (0, 0, 0, "ORDER"),
        (0, 0, 24, "ORDER"),
        (-3, 5, 0, "COUNT"),
        (9, 0, 0, ""),
    )
    positions = [
        {
            "store_id": shop.store_id,
            "sku": f"SKU-{number:04}",
            "shelf": shelf,
            "backroom": backroom,
            "in_transit": in_transit,
            "shelf_known": True,
            "backroom_known": True,
            "counted_at": None if number % 3 else now - timedelta(hours=20),
            "moved_at": now - timedelta(minutes=5 * number),
            "gap": gap,
            "gap_since": now - timedelta(minutes=5 * number),
            "newest_count": False,
            "newest_event": str(uuid4()),
            "version": 1,
        }
        for shop in shops[:2]
        for number, (shelf, backroom, in_transit, gap) in enumerate(kinds)
    ]
    movements = [
        {
            "event_id": uuid4(),
            "store_id": shops[0].store_id,
            "sku": f"SKU-{back % 6:04}",
            "timestamp": now - timedelta(minutes=10 * back),
            "kind": ("SALE", "SALE", "FILL_SHELF", "RECEIVE", "WASTE")[back % 5],
            "quantity": 1 + back % 4,
            "location": "SHELF",
            "shelf": (-1, -1, 6, 0, -1)[back % 5],
            "backroom": (0, 0, -6, 12, 0)[back % 5],
            "received_at": now,
        }
        for back in range(40)
    ]
    found = {
        "sku": "SKU-0004",
        "location": "SHELF",
        "counted_at": now - timedelta(hours=1),
        "event_id": uuid4(),
        "actor": "ana",
    }
    discrepancy = {**found, "store_id": shops[0].store_id, "expected": 7, "counted": 4, "difference": -3, "version": 1}
    products = [
        {
            "sku": f"SKU-{number:04}",
            "name": f"Article {number}",
            "category": ("Dairy", "Bath")[number % 2],
            "timestamp": now,
        }
        for number in range(5)
    ]
    outlook = [
        {
            "store_id": shops[0].store_id,
            "sku": f"SKU-{number:04}",
            "made_at": now,
            "shelf": 2,
            "backroom": 1,
            "on_order": 6.0 * number,
            "order_quantity": 12,
            "expected_48h": 5,
            "lost_48h": 2.5 - number,
            "risk": [min(1, hour * (0.03 - 0.01 * number)) for hour in range(1, 49)],
            "runs_out_at": None if number else now + timedelta(hours=17),
            "received_at": now,
        }
        for number in range(3)
    ]
    days = [now.date() - timedelta(days=back) for back in range(-3, 4)]
    levels = ("q025", "q100", "q250", "q500", "q750", "q900", "q975")
    forecasts = [
        {
            "event_id": uuid4(),
            "store_id": shops[0].store_id,
            "sku": f"SKU-{number:04}",
            "day": day,
            "made_at": now - timedelta(days=4),
            "mean": 4 + number,
            **{name: (2.0 + number) * at / 3 for at, name in enumerate(levels)},
            "model": "smoothing",
            "history_end": now.date() - timedelta(days=4),
            "received_at": now,
        }
        for number in range(3)
        for day in days
    ]
    accuracies = [
        {
            "store_id": shops[0].store_id,
            "sku": sku,
            "day": now.date() - timedelta(days=back),
            "made_at": now - timedelta(days=back - 1),
            "forecasts": 3,
            "days": 7,
            "error": 3.0 + back,
            "usual_error": 2.5,
            "highest_error": 4.5,
            "scale": 3.5,
            "bias": -1.5,
            "outside": back,
            "drifts": sku == "SKU-0001",
            "received_at": now,
        }
        for back in (0, 1, 2)
        for sku in ("", "SKU-0000", "SKU-0001")
    ]
    _insert(client, "forecasts", forecasts)
    _insert(client, "forecast_accuracy", accuracies)
    _insert(client, "products", products)
    _insert(client, "stock_outlook", outlook)
    _insert(client, "stock_positions", positions)
    _insert(client, "stock_movements", movements)
    _insert(client, "stock_discrepancies", [{**discrepancy, "is_opening": False}])


def _health(client: Client, shops: list[Shop], now: datetime) -> None:
    """Two workers for two hours, one of which falls behind at the end, and some dead letters."""
    health, lag = [], []
    late = partition_of(shops[3].store_id, 4)
    for back in range(720, -1, -1):
        at = now - timedelta(seconds=10 * back)
        for worker in ("worker-0@shop-hq", "worker-1@shop-hq", "stock-2@shop-hq"):
            behind = worker.startswith("worker-1") and back < 30
            health.append(
                {
                    "worker": worker,
                    "at": at,
                    "records": 4_000 if behind else 1_200 + back % 37,
                    "invalid": int(back % 90 == 0),
                    "duplicates": back % 5,
                    "rows_written": 2_500,
                    "cycles": 40,
                    "cycle_p50_ms": 90 if behind else 35,
                    "cycle_max_ms": 400 if behind else 120,
                    "retries": 0,
                    "open_visits": 800,
                    "rss_bytes": 310_000_000,
                }
            )
        for topic in ("visit-events", "transactions"):
            for partition in range(4):
                behind = topic == "visit-events" and partition == late and back < 30
                lag.append(
                    {
                        "topic": topic,
                        "partition": partition,
                        "at": at,
                        "worker": f"worker-{partition // 2}@shop-hq",
                        "lag_records": (30 - back) * 900 if behind else back % 7,
                        "behind_ms": (30 - back) * 4_000 if behind else 200,
                    }
                )
        stock = {"topic": "transactions", "partition": 0, "at": at, "worker": "stock-2@shop-hq"}
        lag.append({**stock, "lag_records": 3, "behind_ms": 400})
    _insert(client, "worker_health", health)
    _insert(client, "topic_lag", lag)
    _insert(
        client,
        "dead_letters",
        [
            {
                "topic": "visit-events",
                "partition": number % 4,
                "offset": 1_000 + number,
                "at": now - timedelta(minutes=number // 4),
                "stage": "read",
                "error": "timestamp",
                "message": "not RFC 3339",
                "store_id": "ST1001",
            }
            for number in range(60)
        ],
    )
