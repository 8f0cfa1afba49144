"""Dates as people write them: what is read, and what is not guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.stock import cells, dates
from producers.stock.dates import (
    AMBIGUOUS,
    IMPOSSIBLE,
    NO_SUCH_TIME,
    SERIAL,
    UNREADABLE,
    day,
    evidence,
    instant,
    orders,
)
from producers.stock.schema import EARLIEST

LATEST = date(2026, 11, 22)
DMY, MDY = {"/": "dmy", "-": "dmy"}, {"/": "mdy", "-": "mdy"}
UTC_ZONE = ZoneInfo("UTC")


def one(raw: str, order: dict[str, str] | None = None) -> str | None:
    return day(raw, order or {}, LATEST, EARLIEST).value


@pytest.mark.parametrize(
    ("raw", "order", "value"),
    [
        ("2023-12-25", {}, "2023-12-25"),
        ("25/12/2023", {}, "2023-12-25"),
        ("12/25/2023", {}, "2023-12-25"),
        ("25 Dec 2023", {}, "2023-12-25"),
        ("Dec 25, 2023", {}, "2023-12-25"),
        ("25-Dec-23", {}, "2023-12-25"),
        ("25.12.2023", {}, "2023-12-25"),
        ("03.04.2023", {}, "2023-04-03"),
        ("20231225", {}, "2023-12-25"),
        ("2023/12/25", {}, "2023-12-25"),
        ("Monday, 25 December 2023", {}, "2023-12-25"),
        ("25th of December 2023", {}, "2023-12-25"),
        ("2023-12-25 13:45:00", {}, "2023-12-25"),
        ("12/25/23 1:45 PM", {}, "2023-12-25"),
        ("03/04/2023", DMY, "2023-04-03"),
        ("03/04/2023", MDY, "2023-03-04"),
        ("05/05/2023", {}, "2023-05-05"),
        ("13/04/2023", MDY, "2023-04-13"),
        (" 25/12/2023 ", {}, "2023-12-25"),
    ],
)
def test_read(raw: str, order: dict[str, str], value: str) -> None:
    assert one(raw, order) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("03/04/2023", AMBIGUOUS),
        ("3-4-23", AMBIGUOUS),
        ("2023-02-30", IMPOSSIBLE),
        ("31/02/2023", IMPOSSIBLE),
        ("13/13/2023", IMPOSSIBLE),
        ("2023-12-25 25:00", IMPOSSIBLE),
        ("45123", SERIAL),
        ("last week", UNREADABLE),
        ("12 Foo 2023", UNREADABLE),
        ("2023-12", UNREADABLE),
        ("2027-01-01", "is in the future"),
        ("1899-12-30", "is before 1980, a spreadsheet's or program's zero"),
        ("NaN", cells.MISSING),
        ("", ""),
    ],
)
def test_not_read(raw: str, reason: str) -> None:
    cell = day(raw, {}, LATEST, EARLIEST)
    assert (cell.value, cell.reason) == (None, reason)


def test_the_column_tells_day_from_month() -> None:
    assert orders(map(evidence, ["03/04/2023", "25/04/2023"])) == {"/": "dmy"}
    assert orders(map(evidence, ["03/04/2023", "04/25/2023", "2023-01-01"])) == {"/": "mdy"}
    assert orders(map(evidence, ["25/04/2023", "04/25/2023"])) == {}
    assert orders(map(evidence, ["25/04/2023", "04-25-2023"])) == {"/": "dmy", "-": "mdy"}
    assert evidence("40/01/2023") == ("", "")


@given(
    st.dates(date(1990, 1, 1), date(2026, 1, 1)),
    st.sampled_from(
        [
            "%d/%m/%Y",
            "%m/%d/%Y",
            "%d-%m-%Y",
            "%d %b %Y",
            "%b %d, %Y",
            "%d.%m.%Y",
            "%Y-%m-%d",
            "%Y%m%d",
            "%d-%b-%Y",
            "%A, %d %B %Y",
        ]
    ),
    st.booleans(),
)
def test_round_trip_and_no_invention(moment: date, form: str, told: bool) -> None:
    """What is read is the date that was written; where both orders are possible it is read only if the column tells."""
    order = {"/": "mdy" if form == "%m/%d/%Y" else "dmy", "-": "dmy"} if told else {}
    read = day(moment.strftime(form), order, LATEST, EARLIEST)
    assert read.value in ((moment.isoformat(),) if told else (moment.isoformat(), None))
    if read.value is None:
        assert read.reason == AMBIGUOUS
        assert moment.day <= 12
    else:
        assert day(read.value, {}, LATEST, EARLIEST) == cells.Cell(read.value)


@given(st.text("0123456789/-. :TZAPMJandec", max_size=20))
def test_whatever_is_read_is_a_date_that_stays(raw: str) -> None:
    for order in (DMY, MDY):
        cell = instant(raw, order, LATEST, EARLIEST, UTC_ZONE)
        assert (cell.value is None) == (bool(cell.reason) or not raw.strip())
        if cell.value:
            assert instant(cell.value, {}, LATEST, EARLIEST, ZoneInfo("Asia/Kolkata")) == cells.Cell(cell.value)


@pytest.mark.parametrize(
    ("raw", "zone", "value"),
    [
        ("2010-12-01 08:26:00", "UTC", "2010-12-01T08:26:00Z"),
        ("2010-12-01T08:26:00+05:30", "UTC", "2010-12-01T02:56:00Z"),
        ("2010-12-01 08:26", "Asia/Kolkata", "2010-12-01T02:56:00Z"),
        ("12/25/2010 8:26 PM", "UTC", "2010-12-25T20:26:00Z"),
        ("12/25/2010 12:05 am", "UTC", "2010-12-25T00:05:00Z"),
        ("2010-12-01 08:26:00.250", "UTC", "2010-12-01T08:26:00.25Z"),
        ("2010-12-01", "Europe/Berlin", "2010-11-30T23:00:00Z"),
        ("2023-10-29 01:30:00Z", "Europe/Berlin", "2023-10-29T01:30:00Z"),
    ],
)
def test_instants(raw: str, zone: str, value: str) -> None:
    assert instant(raw, {}, LATEST, EARLIEST, ZoneInfo(zone)).value == value


@pytest.mark.parametrize("raw", ["2023-10-29 02:30:00", "2023-03-26 02:30:00"])
def test_a_time_that_the_clocks_show_twice_or_never(raw: str) -> None:
    assert instant(raw, {}, LATEST, EARLIEST, ZoneInfo("Europe/Berlin")).reason == NO_SUCH_TIME


@given(st.datetimes().map(lambda moment: moment.replace(year=1990 + moment.year % 36, day=min(moment.day, 28))))
def test_instants_round_trip(moment: datetime) -> None:
    read = instant(moment.replace(tzinfo=UTC).isoformat(" "), {}, LATEST, EARLIEST, UTC_ZONE)
    assert read.value is not None
    assert datetime.fromisoformat(read.value) == moment.replace(tzinfo=UTC)
    assert dates.out_of_range(moment.date(), LATEST, EARLIEST) == ""
