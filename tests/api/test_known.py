"""Which stores there are, and that what is remembered of their layouts is what holds."""

from __future__ import annotations

from datetime import timedelta

from aisleflow.settings import Settings
from api.database import Database
from api.stores.known import known_stores
from tests.api.conftest import as_reader
from tests.api.rows import NOON, feed, fill, layout

TOKYO = '{"store_id": "A", "timestamp": "2026-03-03T12:00:00Z", "time_zone": "Asia/Tokyo", "name": "First"}'
DUBAI = '{"store_id": "A", "timestamp": "2026-03-03T12:00:01Z", "time_zone": "Asia/Dubai", "name": "Second"}'


async def test_layouts_are_asked_for_when_one_has_changed(world: Settings, statements: list[str]) -> None:
    database = Database(as_reader(world))

    async def seen() -> tuple[list[tuple[str, str | None, str, bool]], int]:
        statements.clear()
        stores = await known_stores(database)
        told = [(one.store_id, one.name, str(one.calendar.zone), one.last_event == NOON) for one in stores]
        return told, len(statements)

    try:
        fill(world, store_feed=[feed("A", NOON), feed("B", NOON)])
        bare = [("A", None, "UTC", True), ("B", None, "UTC", True)]
        assert await seen() == (bare, 1)
        fill(world, store_layouts=[layout("A", TOKYO, "Asia/Tokyo", "JPY")])
        first = [("A", "First", "Asia/Tokyo", True), bare[1]]
        assert await seen() == (first, 2), "a layout that is new"
        assert await seen() == (first, 1), "it is remembered"
        second = layout("A", DUBAI, "Asia/Dubai", "AED")
        fill(world, store_layouts=[{**second, "timestamp": second["timestamp"] + timedelta(seconds=1)}])
        assert await seen() == ([("A", "Second", "Asia/Dubai", True), bare[1]], 2)
        fill(world, store_layouts=[layout("ALONE", TOKYO.replace('"A"', '"ALONE"'), "Asia/Tokyo", "JPY")])
        told, _ = await seen()
        assert told[1] == ("ALONE", "First", "Asia/Tokyo", False), "a shop that has sent nothing yet"
    finally:
        database.close()
