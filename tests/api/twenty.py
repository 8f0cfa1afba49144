"""Twenty shops in the middle of their day, as derived rows: what the wall is looked at with. The same every time."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from aisleflow.settings import Settings
from tests.api.rows import anomaly, feed, fill, layout, transaction, visit, zone_visit

TOWNS = (
    *("Ahmedabad", "Bengaluru", "Bhopal", "Chandigarh", "Chennai", "Coimbatore", "Delhi", "Goa", "Hyderabad"),
    *(
        "Indore",
        "Jaipur",
        "Kochi",
        "Kolkata",
        "Lucknow",
        "Mumbai",
        "Mysuru",
        "Nagpur",
        "Pune",
        "Surat",
        "Visakhapatnam",
    ),
)
ZONES = ("SKINCARE", "MAKEUP", "HAIR", "FRAGRANCE", "BATH & BODY", "BILLING")


def shop_id(number: int) -> str:
    """STORE_001, STORE_002, ..."""
    return f"STORE_{number + 1:03d}"


def seed(settings: Settings, shops: int, now: datetime) -> None:
    """Write the shops' day up to now."""
    chance = random.Random(20261120)
    tables: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("store_feed", "store_layouts", "visits", "zone_visits", "queue_depth", "transactions", "anomalies")
    }
    # A time zone in which it is afternoon.
    ahead = (15 - now.hour) if now.hour > 0 else 14
    local = now + timedelta(hours=ahead)
    day = {"business_day": local.date()}
    opening = datetime(local.year, local.month, local.day, 9, tzinfo=UTC) - timedelta(hours=ahead)
    for number in range(shops):
        store = shop_id(number)
        name = f"{TOWNS[number % len(TOWNS)]} {'Central' if number % 3 else 'Station Road'}"
        body = json.dumps(
            {
                "store_id": store,
                "timestamp": "2026-01-01T00:00:00Z",
                "name": name,
                "time_zone": f"Etc/GMT{-ahead:+d}",
                "currency": "INR",
            }
        )
        tables["store_layouts"].append(layout(store, body, currency="INR"))
        silent = timedelta(minutes=25) if number == 11 else timedelta(seconds=chance.randint(0, 9))
        until = now - silent
        tables["store_feed"].append(feed(store, until))
        for person in range(chance.randint(40, 160)):
            visitor = f"VIS_{person}"
            at = opening + (until - opening) * chance.random()
            stops, pays = chance.random() < 0.9, chance.random() < 0.55
            buys = pays and stops and chance.random() < 0.7
            tables["visits"].append(
                visit(store, visitor)
                | {"started_at": at, "ended_at": at, "is_visitor": True, **day}
                | {"zone_visits": int(stops), "has_billing_presence": stops and pays, "joined_queue": stops and pays}
                | {"purchased": buys, "abandoned_queue": stops and pays and not buys and chance.random() < 0.4}
            )
            for ordinal, zone in enumerate(chance.choices(ZONES, (9, 7, 5, 3, 2, 6), k=2 if stops else 0)):
                row = zone_visit(store, visitor, zone, chance.randint(4_000, 180_000), ordinal=ordinal)
                tables["zone_visits"].append(row | {"started_at": at, **day})
            if buys:
                receipt = transaction(store, f"T{person}", str(chance.randint(90, 4000)))
                tables["transactions"].append(receipt | {"timestamp": at, "received_at": now})
        depth = 0
        for quarter in range(int((until - opening).total_seconds() // 600)):
            depth = max(0, depth + chance.choice((-2, -1, -1, 0, 0, 1, 1, 2)))
            tables["queue_depth"].append(
                {
                    "store_id": store,
                    "timestamp": opening + timedelta(minutes=10 * quarter),
                    "depth": depth,
                    "version": 1,
                }
                | {"is_deleted": 0, **day}
            )
    opened = {"detected_at": now - timedelta(minutes=12), **day}
    tables["anomalies"] = [
        anomaly(shop_id(3), 0)
        | opened
        | {"severity": "CRITICAL", "message": "12 people are waiting to pay (usual: 3.1)"}
        | {"suggested_action": "Open another till now."},
        anomaly(shop_id(7), 0)
        | opened
        | {"type": "CONVERSION_DROP", "message": "Only 14.2 % of visitors bought (usual: 31.0 %)"}
        | {"suggested_action": "Look at the tills and at what is out of stock."},
        anomaly(shop_id(9), 0)
        | opened
        | {"type": "CAMERA_DOWN", "subject": "CAM_ENTRY_01", "severity": "CRITICAL"}
        | {"message": "No event from this camera for 22 minutes", "suggested_action": "Check its power and network."},
        anomaly(shop_id(11), 0)
        | opened
        | {"type": "STALE_FEED", "message": "Nothing has arrived for 25 minutes"}
        | {"suggested_action": "Check the shop's connection and its gateway."},
        anomaly(shop_id(15), 0)
        | opened
        | {"type": "DEAD_ZONE", "subject": "FRAGRANCE", "severity": "INFO"}
        | {
            "message": "Nobody has been here for 41 minutes",
            "suggested_action": "Look at the display and the way to it.",
        },
    ][: shops and 5]
    fill(settings, **tables)
