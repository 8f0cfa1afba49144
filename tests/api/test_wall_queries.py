"""The wall's figures: read where the workers have counted the day, counted where they have not."""

from __future__ import annotations

import asyncio
from typing import Any

from aisleflow.settings import Settings
from api.database import Database
from api.stores.windows import Window, of_day
from api.wall import queries
from schemas.layouts import StoreCalendar
from tests.api.rows import DAY, day_figures, fill, transaction, visit, zone_visit


def ask(settings: Settings, windows: dict[str, Window]) -> dict[str, Any]:
    async def asked() -> dict[str, Any]:
        database = Database(settings)
        try:
            return await queries.days(database, windows)
        finally:
            database.close()

    return asyncio.run(asked())


def test_days_are_read_or_counted(world: Settings) -> None:
    fill(
        world,
        day_figures=[day_figures("READ"), day_figures("GONE", is_deleted=1)],
        visits=[
            visit(store, f"V{n}", purchased=n > 1, has_billing_presence=True)
            for store in ("COUNTED", "GONE")
            for n in range(3)
        ],
        zone_visits=[
            *(zone_visit("COUNTED", f"V{n}", "MAKEUP", 1_000 * n) for n in (1, 2)),
            zone_visit("COUNTED", "V0", "BILLING", 500),
        ],
        transactions=[transaction("COUNTED", "T1", "10.50"), transaction("COUNTED", "T2", "2.25", currency="")],
    )
    stores = ("READ", "COUNTED", "GONE", "SILENT")
    found = ask(world, {store: of_day(StoreCalendar(store), DAY) for store in stores})

    read = found["READ"]
    assert (read["unique_visitors"], read["purchasers"], read["joined"], read["abandoned"]) == (40, 10, 16, 4)
    assert read["zones"] == [
        {"zone_id": "SKINCARE", "frequency": 20, "dwell_ms": 110_000},
        {"zone_id": "MAKEUP", "frequency": 5, "dwell_ms": 15_000},
    ]
    assert read["transactions"] == [
        {"currency": "", "transactions": 1, "revenue": 2.5},
        {"currency": "INR", "transactions": 11, "revenue": 1100.25},
    ]

    counted = found["COUNTED"]
    assert (counted["unique_visitors"], counted["purchasers"], counted["billing_visitors"]) == (3, 1, 3)
    assert [(zone["zone_id"], zone["frequency"], zone["dwell_ms"]) for zone in counted["zones"]] == [
        ("MAKEUP", 2, 3_000),
        ("BILLING", 1, 500),
    ]
    assert {row["currency"]: (row["transactions"], float(row["revenue"])) for row in counted["transactions"]} == {
        "INR": (1, 10.5),
        "": (1, 2.25),
    }
    assert found["GONE"]["unique_visitors"] == 3, "facts of the day have expired: its visits are counted"
    assert found["SILENT"] == queries.NOTHING


def test_no_shop_has_been_heard(world: Settings) -> None:
    assert ask(world, {}) == {}
