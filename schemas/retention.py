"""What is kept for how long: one class for each table with a TTL, its days from the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

Class = Literal["events", "results", "health", "dead_letters"]

#: Tables without an entry are kept for ever.
TABLES: dict[str, Class] = {
    "events": "events",
    # An id that is forgotten before its event would let a repeat in.
    "event_ids": "events",
    "camera_health": "events",
    "camera_states": "events",
    "camera_states_newest": "events",
    "zone_visits": "events",
    "queue_depth": "events",
    "anomalies": "events",
    "acknowledgements": "events",
    "forecasts": "events",
    "question_log": "events",
    "forecast_accuracy": "events",
    "stock_outlook": "events",
    "orders": "results",
    "transactions": "results",
    "visits": "results",
    "day_figures": "results",
    "worker_health": "health",
    "topic_lag": "health",
    "dead_letters": "dead_letters",
}

#: Tables whose time follows from what they are for, and is no setting.
FIXED = frozenset({"baselines"})

_TTL = re.compile(r"\bTTL (?P<column>toDateTime\(\w+\)) \+ toInterval(?P<unit>Day|Month)\((?P<count>\d+)\)")
_DAYS_OF_A_MONTH = 365.25 / 12


def days_of(created: str) -> tuple[str, int] | None:
    """The time that a table's TTL counts from and its days, from its ``create_table_query``; None without a TTL."""
    match = _TTL.search(created)
    if match is None:
        return None
    count = int(match["count"])
    return match["column"], count if match["unit"] == "Day" else round(count * _DAYS_OF_A_MONTH)


def statements(created: Mapping[str, str], days: Mapping[Class, int]) -> Iterator[str]:
    """What makes tables keep their rows for so many days; nothing for those that do.

    Args:
        created: ``create_table_query`` by table.
        days: by class.
    """
    for table, kept in TABLES.items():
        known = days_of(created.get(table, ""))
        if known is not None and known[1] != days[kept]:
            yield f"ALTER TABLE {table} MODIFY TTL {known[0]} + INTERVAL {days[kept]:d} DAY"
