"""Derived rows of one made-up shop and day, as a worker would write them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from aisleflow.settings import Settings
from tests.api.conftest import insert

DAY = date(2026, 3, 3)
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def visit(store: str, visitor: str, minute: int = 0, **changes: Any) -> dict[str, Any]:
    """A counted visit that saw one zone and bought nothing."""
    moment = NOON + timedelta(minutes=minute)
    return {
        "store_id": store,
        "business_day": moment.date(),
        "visitor_id": visitor,
        "is_staff": False,
        "is_visitor": True,
        "started_at": moment,
        "ended_at": moment + timedelta(minutes=5),
        "zone_visits": 1,
        "has_billing_presence": False,
        "joined_queue": False,
        "abandoned_queue": False,
        "purchased": False,
        "attributed_transaction_id": "",
        "version": 1,
        "is_deleted": 0,
        **changes,
    }


def zone_visit(store: str, visitor: str, zone: str, dwell_ms: int, **changes: Any) -> dict[str, Any]:
    """A zone visit of a customer."""
    return {
        "store_id": store,
        "business_day": DAY,
        "visitor_id": visitor,
        "ordinal": 0,
        "zone_id": zone,
        "is_staff": False,
        "started_at": NOON,
        "ended_at": NOON + timedelta(milliseconds=dwell_ms),
        "dwell_ms": dwell_ms,
        "version": 1,
        "is_deleted": 0,
        **changes,
    }


def depth(store: str, minute: int, people: int, **changes: Any) -> dict[str, Any]:
    """The queue from a minute after noon on."""
    moment = NOON + timedelta(minutes=minute)
    row = {"store_id": store, "business_day": moment.date(), "timestamp": moment, "depth": people, "version": 1}
    return {**row, "is_deleted": 0, **changes}


def day_figures(store: str, **changes: Any) -> dict[str, Any]:
    """What a day of two zones and two currencies added up to."""
    from decimal import Decimal

    return {
        "store_id": store,
        "business_day": DAY,
        "unique_visitors": 40,
        "unmatched_visitors": 2,
        "staff_visits": 3,
        "zone_visitors": 30,
        "billing_visitors": 20,
        "purchasers": 10,
        "attributed_visitors": 8,
        "joined_queue": 16,
        "abandoned_queue": 4,
        "zones.zone_id": ["MAKEUP", "SKINCARE"],
        "zones.frequency": [5, 20],
        "zones.dwell_ms": [15_000, 110_000],
        "receipts.currency": ["", "INR"],
        "receipts.transactions": [1, 11],
        "receipts.revenue": [Decimal("2.5"), Decimal("1100.25")],
        "queue_depth": 6,
        "version": 1,
        "is_deleted": 0,
        **changes,
    }


def anomaly(store: str, minute: int, **changes: Any) -> dict[str, Any]:
    """A queue spike that is still open."""
    moment = NOON + timedelta(minutes=minute)
    return {
        "store_id": store,
        "type": "QUEUE_SPIKE",
        "subject": "",
        "detected_at": moment,
        "business_day": moment.date(),
        "severity": "WARN",
        "message": "8 people are waiting; usual for this hour: 2.5",
        "suggested_action": "Open another till.",
        "value": 8.0,
        "baseline": 2.5,
        "evidence": {"waiting": 8.0},
        "closed_at": None,
        "version": 1,
        **changes,
    }


def feed(store: str, at: datetime) -> dict[str, Any]:
    """When a store was last heard."""
    return {"store_id": store, "last_event_timestamp": at, "last_received_at": at}


def transaction(store: str, number: str, value: str, minute: int = 0, currency: str = "INR") -> dict[str, Any]:
    """A till receipt."""
    from decimal import Decimal

    moment = NOON + timedelta(minutes=minute)
    row = {"store_id": store, "transaction_id": number, "timestamp": moment, "basket_value": Decimal(value)}
    return {**row, "currency": currency, "payment_kind": "upi", "received_at": moment}


def layout(store: str, body: str, time_zone: str = "UTC", currency: str = "") -> dict[str, Any]:
    """A store's layout; ``body`` is the whole of it as JSON."""
    name = json.loads(body).get("name", "")
    row = {"store_id": store, "timestamp": NOON, "name": name, "time_zone": time_zone, "currency": currency}
    return {**row, "layout": body, "received_at": NOON}


def fill(settings: Settings, **tables: list[dict[str, Any]]) -> None:
    """Write rows into the tables named."""
    for table, rows in tables.items():
        insert(settings, table, rows)
