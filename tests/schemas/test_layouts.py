"""Calendars: business days across changes of the clock, hours past midnight, and billing zones by type or by name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import StoreLayout
from schemas.layouts import StoreCalendar
from schemas.reading import epoch_ms

HOUR = 3_600_000
MINUTE = 60_000
BERLIN = "Europe/Berlin"


def calendar(time_zone: str = "UTC", **fields: Any) -> StoreCalendar:
    return StoreCalendar(
        "S", StoreLayout(store_id="S", timestamp="2026-01-01T00:00:00Z", time_zone=time_zone, **fields)
    )


def utc(text: str) -> int:
    return epoch_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("time_zone", "day", "start", "hours"),
    [
        ("UTC", "2026-03-03", "2026-03-03T00:00", 24),
        ("Asia/Kolkata", "2026-03-03", "2026-03-02T18:30", 24),
        (BERLIN, "2026-03-28", "2026-03-27T23:00", 24),
        (BERLIN, "2026-03-29", "2026-03-28T23:00", 23),
        (BERLIN, "2026-03-30", "2026-03-29T22:00", 24),
        (BERLIN, "2026-10-25", "2026-10-24T22:00", 25),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00", 23),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00", 25),
        # Half an hour of change, and one that takes away midnight itself.
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 24.5),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00", 23),
        # A day that was never there: Samoa went from the 29th to the 31st.
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00", 24),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00", 24),
    ],
)
def test_bounds_of_a_business_day(time_zone: str, day: str, start: str, hours: float) -> None:
    store = calendar(time_zone)
    first, after = store.bounds(date.fromisoformat(day))
    assert (first, after - first) == (utc(start), hours * HOUR)


ZONES = ["UTC", "Asia/Kolkata", BERLIN, "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana"]


@given(st.sampled_from(ZONES), st.integers(utc("2020-01-01T00:00"), utc("2030-01-01T00:00")))
def test_every_moment_lies_within_its_day_and_no_other(time_zone: str, at: int) -> None:
    store = calendar(time_zone)
    day = store.business_day(at)
    first, after = store.bounds(day)
    assert first <= at < after
    assert store.bounds(day - timedelta(days=1))[1] == first
    assert store.bounds(day + timedelta(days=1))[0] == after


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-03-28T22:59:59.999", "2026-03-28"),
        ("2026-03-28T23:00", "2026-03-29"),
        ("2026-03-29T21:59:59.999", "2026-03-29"),
        ("2026-03-29T22:00", "2026-03-30"),
        ("2026-10-25T00:30", "2026-10-25"),  # half past two, the first time
        ("2026-10-25T01:30", "2026-10-25"),  # and the second
        ("2026-10-25T22:59:59.999", "2026-10-25"),
        ("2026-10-25T23:00", "2026-10-26"),
    ],
)
def test_business_day_when_the_clock_changes(at: str, day: str) -> None:
    assert calendar(BERLIN).business_day(utc(at)) == date.fromisoformat(day)


def test_without_a_layout() -> None:
    store = StoreCalendar("S")
    day = date(2026, 3, 3)
    assert store.zone == ZoneInfo("UTC")
    assert store.layout_ms == 0
    assert store.opening_spells(day) == [store.bounds(day)]
    assert store.open_since(utc("2026-03-03T12:00")) == utc("2026-03-03T00:00")


# 2026-03-02 is a Monday.
HOURS = {
    "mon": [["10:00", "14:00"], ["17:00", "22:00"]],
    "fri": [["18:00", "02:00"]],
    "sat": [["00:00", "24:00"]],
    "sun": [],
}


@pytest.mark.parametrize(
    ("day", "spells"),
    [
        ("2026-03-02", [("2026-03-02T10:00", "2026-03-02T14:00"), ("2026-03-02T17:00", "2026-03-02T22:00")]),
        ("2026-03-03", []),  # not listed: closed
        ("2026-03-06", [("2026-03-06T18:00", "2026-03-07T02:00")]),
        ("2026-03-07", [("2026-03-07T00:00", "2026-03-08T00:00")]),
        ("2026-03-08", []),
    ],
)
def test_opening_spells(day: str, spells: list[tuple[str, str]]) -> None:
    store = calendar(opening_hours=HOURS)
    assert store.opening_spells(date.fromisoformat(day)) == [(utc(start), utc(end)) for start, end in spells]


@pytest.mark.parametrize(
    ("at", "since"),
    [
        ("2026-03-02T09:59:59.999", None),
        ("2026-03-02T10:00", "2026-03-02T10:00"),
        ("2026-03-02T13:59:59.999", "2026-03-02T10:00"),
        ("2026-03-02T14:00", None),
        ("2026-03-02T18:30", "2026-03-02T17:00"),
        ("2026-03-03T12:00", None),
        ("2026-03-06T23:59", "2026-03-06T18:00"),
        ("2026-03-07T12:00", "2026-03-07T00:00"),
        ("2026-03-08T00:00", None),
    ],
)
def test_open_since(at: str, since: str | None) -> None:
    found = calendar(opening_hours=HOURS).open_since(utc(at))
    assert found == (None if since is None else utc(since))


def test_hours_past_midnight_belong_to_the_evening() -> None:
    store = calendar(opening_hours={"fri": [["18:00", "02:00"]]})
    assert store.open_since(utc("2026-03-07T01:59")) == utc("2026-03-06T18:00")
    assert store.open_since(utc("2026-03-07T02:00")) is None
    assert store.opening_spells(date(2026, 3, 7)) == []


def test_open_around_the_clock_by_equal_times() -> None:
    store = calendar(opening_hours={"fri": [["06:00", "06:00"]]})
    assert store.opening_spells(date(2026, 3, 6)) == [(utc("2026-03-06T06:00"), utc("2026-03-07T06:00"))]


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-28", 8), ("2026-03-29", 8), ("2026-10-24", 8), ("2026-10-25", 8)],
)
def test_daytime_hours_keep_their_length_when_the_clock_changes(day: str, hours: int) -> None:
    everyday = {name: [["10:00", "18:00"]] for name in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
    ((start, end),) = calendar(BERLIN, opening_hours=everyday).opening_spells(date.fromisoformat(day))
    assert end - start == hours * HOUR
    assert datetime.fromtimestamp(start / 1000, ZoneInfo(BERLIN)).hour == 10


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 7), ("2026-10-24", 9), ("2026-03-21", 8)])
def test_a_night_is_an_hour_shorter_or_longer_when_the_clock_changes(day: str, hours: int) -> None:
    ((start, end),) = calendar(BERLIN, opening_hours={"sat": [["20:00", "04:00"]]}).opening_spells(
        date.fromisoformat(day)
    )
    assert end - start == hours * HOUR


@given(st.sampled_from(ZONES), st.integers(utc("2025-01-01T00:00"), utc("2027-01-01T00:00")))
def test_open_since_agrees_with_the_spells(time_zone: str, at: int) -> None:
    hours = {
        "mon": [["09:00", "12:30"]],
        "wed": [["22:00", "05:00"]],
        "sat": [["00:00", "24:00"]],
        "sun": [["20:00", "03:00"]],
    }
    store = calendar(time_zone, opening_hours=hours)
    day = store.business_day(at)
    near = [spell for offset in range(-2, 3) for spell in store.opening_spells(day + timedelta(days=offset))]
    holding = [start for start, end in near if start <= at < end]
    assert store.open_since(at) in (holding or [None])


@pytest.mark.parametrize(
    ("zone_id", "billing"),
    [
        ("BILLING", True),
        ("main-Checkout_2", True),
        ("CASHMERE", True),  # the rule goes by the word, not by its meaning
        ("The queue", True),
        ("SKINCARE", False),
        ("", False),
        ("kasse", False),
    ],
)
def test_billing_zones_by_their_names(zone_id: str, billing: bool) -> None:
    assert StoreCalendar("S").is_billing(zone_id) is billing
    assert calendar(zones=[{"zone_id": "OTHER", "type": "SHELF"}]).is_billing(zone_id) is billing


def test_a_listed_type_beats_the_name() -> None:
    zones = [{"zone_id": "KASSE", "type": "BILLING"}, {"zone_id": "CASHMERE", "type": "SHELF"}]
    store = calendar(zones=zones)
    assert store.is_billing("KASSE")
    assert not store.is_billing("CASHMERE")
    assert store.is_billing("CASH DESK")
    assert not store.is_billing("kasse"), "a zone is what its exact id says"


def test_layout_ms() -> None:
    assert calendar().layout_ms == utc("2026-01-01T00:00")
