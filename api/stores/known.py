"""Which stores exist, and what their layouts say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from api.database import Database, Row
from api.problems import ProblemError
from api.stores import queries
from schemas.events import STORE_PATTERN
from schemas.layouts import StoreCalendar
from schemas.reading import stored_layout

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_STORE = re.compile(STORE_PATTERN.removesuffix("$"))


@lru_cache(maxsize=10_000)  # as many as are listed
def _calendar(store_id: str, layout: str) -> StoreCalendar:
    return StoreCalendar(store_id, stored_layout(layout) if layout else None)


_layouts: dict[str, tuple[str, StoreCalendar]] = {}
"""The digest of each store's layout when this process last asked for them all, and its calendar."""


@dataclass(frozen=True)
class Store:
    """A known store: its calendar, and the time of its newest fact (None while it has only a layout)."""

    store_id: str
    calendar: StoreCalendar
    last_event: datetime | None

    @property
    def name(self) -> str | None:
        """What people call it, if the layout says."""
        return self.calendar.layout.name if self.calendar.layout else None

    @property
    def currency(self) -> str | None:
        """Currency of its tills, if the layout says."""
        return self.calendar.layout.currency if self.calendar.layout else None

    @classmethod
    def from_row(cls, row: Row) -> Store:
        """From ``queries.store``."""
        return cls(row["store_id"], _calendar(row["store_id"], row["layout"]), _heard(row))


def _heard(row: Row) -> datetime | None:
    last: datetime = row["last_event_timestamp"]
    return None if last <= _NEVER else last


async def known_store(database: Database, store_id: str) -> Store:
    """The store with events, transactions or a layout.

    Raises:
        ProblemError: 404, there is none of this id.
    """
    row = await queries.store(database, store_id) if _STORE.fullmatch(store_id) else None
    if row is None:
        raise ProblemError(404, "No event, transaction or layout of this store has arrived; check the id.")
    return Store.from_row(row)


async def known_stores(database: Database) -> list[Store]:
    """All stores with events, transactions or a layout, by their ids.

    Layouts are asked for when one has changed, since a thousand of them are 2 MB, and this is asked once a second.
    """
    rows = await queries.stores(database)
    if any(row["digest"] not in ("", _layouts.get(row["store_id"], ("",))[0]) for row in rows):
        told = await queries.layouts(database)
        _layouts.clear()
        _layouts.update((r["store_id"], (r["digest"], _calendar(r["store_id"], r["layout"]))) for r in told)
    return [Store(row["store_id"], _calendar_of(row), _heard(row)) for row in rows]


def _calendar_of(row: Row) -> StoreCalendar:
    found = _layouts.get(row["store_id"]) if row["digest"] else None
    return found[1] if found else _calendar(row["store_id"], "")
