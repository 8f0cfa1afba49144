"""The rules that turn counts into answers, and the windows they are about."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from api.stores import answers
from api.stores.windows import choose
from schemas.events import StoreLayout
from schemas.layouts import StoreCalendar

UTC_STORE = StoreCalendar("S")
KOLKATA = StoreCalendar(
    "S",
    StoreLayout.model_validate_json(
        '{"store_id": "S", "timestamp": "2026-01-01T00:00:00Z", "time_zone": "Asia/Kolkata"}'
    ),
)
BERLIN = StoreCalendar(
    "S",
    StoreLayout.model_validate_json(
        '{"store_id": "S", "timestamp": "2026-01-01T00:00:00Z", "time_zone": "Europe/Berlin"}'
    ),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(0, 0, 0.0), (1, 3, 0.3333), (2, 3, 0.6667), (55, 145, 0.3793), (5, 5, 1.0)]
)
def test_rate(part: int, whole: int, expected: float) -> None:
    assert answers.rate(part, whole) == expected


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(0, 0, 0), (1, 2, 1), (3, 2, 2), (1, 3, 0), (5, 3, 2), (10, 4, 3)]
)
def test_mean_is_rounded_half_up(total: int, count: int, expected: int) -> None:
    assert answers.mean_ms(total, count) == expected


def test_heatmap() -> None:
    rows = [
        {"zone_id": "A", "frequency": 40, "dwell_ms": 100},
        {"zone_id": "B", "frequency": 19, "dwell_ms": 57},
        {"zone_id": "C", "frequency": 20, "dwell_ms": 0},
    ]
    heat = {zone: figures.model_dump() for zone, figures in answers.heatmap(rows).items()}
    assert heat["A"] == {"frequency": 40, "avg_dwell_ms": 3, "normalized": 100, "data_confidence": "HIGH"}
    assert heat["B"] == {"frequency": 19, "avg_dwell_ms": 3, "normalized": 48, "data_confidence": "LOW"}
    assert heat["C"] == {"frequency": 20, "avg_dwell_ms": 0, "normalized": 50, "data_confidence": "HIGH"}
    assert answers.heatmap([]) == {}


@pytest.mark.parametrize(
    ("rows", "layout", "amounts", "main"),
    [
        ([], None, {}, None),
        ([], "INR", {}, "INR"),
        ([("INR", 24, "34331.71")], None, {"INR": 34331.71}, "INR"),
        ([("", 2, "10.5")], None, {"XXX": 10.5}, None),
        ([("", 2, "10.5"), ("INR", 1, "2")], "INR", {"INR": 12.5}, "INR"),
        ([("EUR", 1, "900"), ("INR", 3, "2")], None, {"EUR": 900, "INR": 2}, "INR"),
        ([("EUR", 1, "1"), ("CHF", 1, "2")], None, {"CHF": 2, "EUR": 1}, "CHF"),
    ],
)
def test_revenue_never_adds_two_currencies(
    rows: list[tuple[str, int, str]], layout: str | None, amounts: dict[str, float], main: str | None
) -> None:
    found = [{"currency": code, "transactions": count, "revenue": Decimal(total)} for code, count, total in rows]
    assert answers.revenue(found, layout) == (amounts, main)


NEWEST = at("2026-03-03T20:00:00Z")


@pytest.mark.parametrize(
    ("calendar", "start", "end", "day"),
    [
        (UTC_STORE, "2026-03-03T00:00:00Z", "2026-03-04T00:00:00Z", date(2026, 3, 3)),
        (KOLKATA, "2026-03-03T18:30:00Z", "2026-03-04T18:30:00Z", date(2026, 3, 4)),
    ],
)
def test_by_default_the_business_day_of_the_newest_fact(
    calendar: StoreCalendar, start: str, end: str, day: date
) -> None:
    window = choose(calendar, NEWEST, None, None, None)
    assert (window.start, window.end, window.business_day, window.last_day) == (at(start), at(end), day, day)


def test_a_business_day_of_a_clock_change_has_23_hours() -> None:
    window = choose(BERLIN, NEWEST, None, None, date(2026, 3, 29))
    assert (window.end - window.start).total_seconds() == 23 * 3600


def test_from_to_is_any_time_and_no_business_day() -> None:
    window = choose(KOLKATA, NEWEST, at("2026-03-01T00:00:00+05:30"), at("2026-03-03T00:00:00+05:30"), None)
    assert window.start == datetime(2026, 2, 28, 18, 30, tzinfo=UTC)
    assert window.business_day is None
    assert window.last_day == date(2026, 3, 2), "to is excluded"


@pytest.mark.parametrize(
    ("start", "end", "day", "reason"),
    [
        ("2026-03-01T00:00:00Z", None, None, "together"),
        (None, "2026-03-01T00:00:00Z", None, "together"),
        ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", None, "earlier"),
        ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", date(2026, 3, 1), "cannot go with"),
        ("2020-01-01T00:00:00Z", "2026-03-02T00:00:00Z", None, "apart"),
        ("1950-01-01T00:00:00Z", "1950-03-02T00:00:00Z", None, "between"),
        (None, None, date(9999, 12, 31), "between"),
        (None, None, date(1, 1, 1), "between"),
    ],
)
def test_windows_that_make_no_sense(start: str | None, end: str | None, day: date | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        choose(UTC_STORE, NEWEST, start and at(start), end and at(end), day)  # type: ignore[arg-type]
