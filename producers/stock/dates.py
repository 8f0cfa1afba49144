"""Dates as people write them. Whether 03/04/2023 is in March or in April is told by the other cells of the column."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from producers.stock.cells import MISSING, Cell, says_missing, squeezed

AMBIGUOUS = "day and month can change places, and the column does not tell which is which"
UNREADABLE = "is not a date"
IMPOSSIBLE = "no such date"
NO_SUCH_TIME = "the clocks jump over this time, or show it twice"
SERIAL = "a spreadsheet's day number: from which day it counts is not known"

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("jan january", "feb february", "mar march", "apr april", "may", "jun june", "jul july"),
            *("aug august", "sep sept september", "oct october", "nov november", "dec december"),
        ),
        1,
    )
    for name in names.split()
}
_CLOCK = (
    r"(?:(?:[T ,]|, | at )(?P<clock>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?)"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<offset>Z|z|UTC|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? ", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(?P<y>[0-9]{4})(?P<mark>[-/.]?)(?P<m>[0-9]{2})(?P=mark)(?P<d>[0-9]{2})" + _CLOCK)
_NUMERIC = re.compile(r"(?P<a>[0-9]{1,2})(?P<mark>[-/. ])(?P<b>[0-9]{1,2})(?P=mark)(?P<y>[0-9]{4}|[0-9]{2})" + _CLOCK)
_DAY_NAME = re.compile(
    r"(?P<d>[0-9]{1,2})(?:st|nd|rd|th)?[-/. ]+(?:of )?(?P<name>[A-Za-z]{3,9})\.?,?[-/. ]+(?P<y>[0-9]{4}|[0-9]{2})"
    + _CLOCK
)
_NAME_DAY = re.compile(
    r"(?P<name>[A-Za-z]{3,9})\.?[-/. ]+(?P<d>[0-9]{1,2})(?:st|nd|rd|th)?,?[-/. ]+(?P<y>[0-9]{4}|[0-9]{2})" + _CLOCK
)
_SERIAL = re.compile(r"[2-6][0-9]{4}(?:\.[0-9]+)?")

PLAIN_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
PLAIN_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z$"
LOCAL_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}$"


def evidence(raw: str) -> tuple[str, str]:
    """(separator, ``dmy`` or ``mdy``) that this cell proves for its column; two empty strings if it proves nothing."""
    matched = _NUMERIC.fullmatch(_WEEKDAY.sub("", squeezed(raw)))
    if matched is None:
        return "", ""
    first, second = int(matched["a"]), int(matched["b"])
    if 12 < first <= 31 and 1 <= second <= 12:
        return matched["mark"], "dmy"
    if 12 < second <= 31 and 1 <= first <= 12:
        return matched["mark"], "mdy"
    return "", ""


def orders(proofs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a column's evidence comes to: the order of each separator that is proven one way and not also the other."""
    found: dict[str, set[str]] = {}
    for mark, order in proofs:
        if mark:
            found.setdefault(mark, set()).add(order)
    return {mark: proven.pop() for mark, proven in found.items() if len(proven) == 1}


def day(raw: str, order: dict[str, str], latest: date, earliest: date) -> Cell:
    """A date; a time of day beside it is dropped.

    Args:
        order: ``dmy`` or ``mdy`` by separator, as the column has shown.
        latest, earliest: dates outside are impossible here.
    """
    moment, has_time, form = _read(raw, order, latest)
    if moment is None:
        return Cell(None, reason=form)
    if why := out_of_range(moment.date(), latest, earliest):
        return Cell(None, reason=why)
    written = moment.date().isoformat()
    dropped = ", time of day dropped" if has_time else ""
    return Cell(written, f"date from {form}{dropped}" if written != raw else "")


def instant(raw: str, order: dict[str, str], latest: date, earliest: date, zone: ZoneInfo) -> Cell:
    """A moment in UTC. A date alone is its first moment in ``zone``, the zone of times without an offset."""
    moment, _, form = _read(raw, order, latest)
    if moment is None:
        return Cell(None, reason=form)
    if moment.tzinfo is None:
        local = moment.replace(tzinfo=zone)
        later = moment.replace(tzinfo=zone, fold=1)
        if local.utcoffset() != later.utcoffset():
            return Cell(None, reason=NO_SUCH_TIME)
        moment = local
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        return Cell(None, reason=IMPOSSIBLE)
    if why := out_of_range(moment.date(), latest, earliest):
        return Cell(None, reason=why)
    written = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if moment.microsecond:
        written += f".{moment.microsecond:06}".rstrip("0")
    written += "Z"
    return Cell(written, f"time from {form}" if written != raw else "")


def out_of_range(found: date, latest: date, earliest: date) -> str:
    """Why a date cannot be true; empty if it can."""
    if found > latest:
        return "is in the future"
    return f"is before {earliest.year}, a spreadsheet's or program's zero" if found < earliest else ""


def _read(raw: str, order: dict[str, str], latest: date) -> tuple[datetime | None, bool, str]:
    """(moment, whether a time of day was written, form), or (None, False, why not)."""
    found = squeezed(raw)
    if says_missing(found):
        return None, False, MISSING if found else ""
    found = _WEEKDAY.sub("", found)
    if matched := _YEAR_FIRST.fullmatch(found):
        if matched["mark"] == "" and not "1980" <= matched["y"] <= "2099":
            return None, False, UNREADABLE
        year, month, number = int(matched["y"]), int(matched["m"]), int(matched["d"])
        form = "yyyy{0}mm{0}dd".format(matched["mark"])
    elif matched := _NUMERIC.fullmatch(found):
        first, second, mark = int(matched["a"]), int(matched["b"]), matched["mark"]
        # Nobody writes months first with dots.
        known = "dmy" if mark == "." else order.get(mark, "")
        if first > 12 or second > 12:
            known = "dmy" if first > 12 else "mdy"
        elif first == second:
            known = known or "dmy"
        if not known:
            return None, False, AMBIGUOUS
        number, month = (first, second) if known == "dmy" else (second, first)
        year = _year(matched["y"], latest)
        form = (("dd{0}mm{0}" if known == "dmy" else "mm{0}dd{0}") + "y" * len(matched["y"])).format(mark)
    elif (matched := _DAY_NAME.fullmatch(found) or _NAME_DAY.fullmatch(found)) and matched["name"].lower() in _MONTHS:
        year, month, number = _year(matched["y"], latest), _MONTHS[matched["name"].lower()], int(matched["d"])
        form = "a month's name"
    else:
        return None, False, SERIAL if _SERIAL.fullmatch(found) else UNREADABLE
    try:
        moment = datetime.combine(date(year, month, number), _clock(matched))
    except ValueError:
        return None, False, IMPOSSIBLE
    return moment, matched["clock"] is not None, form


def _year(written: str, latest: date) -> int:
    """Of two digits: the last such year up to ten years from now, which holds dates of expiry too."""
    if len(written) == 4:
        return int(written)
    horizon = latest.year if latest.year < 2100 else 2099
    year = horizon // 100 * 100 + int(written)
    return year if year <= horizon + 10 else year - 100


def _clock(matched: re.Match[str]) -> time:
    """The time of day, with its offset.

    Raises:
        ValueError: there is no such time.
    """
    if matched["clock"] is None:
        return time()
    whole, _, fraction = matched["clock"].replace(",", ".").partition(".")
    parts = [int(part) for part in whole.split(":")]
    hour, minute, second = (*parts, 0)[:3]
    if matched["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("a half day has twelve hours")
        hour = hour % 12 + (12 if matched["half"][0] in "pP" else 0)
    offset = matched["offset"]
    tzinfo = None
    if offset is not None:
        sign = offset if offset[0] in "+-" else "+00:00"
        minutes = int(sign[1:3]) * 60 + int(sign[-2:])
        tzinfo = timezone(timedelta(minutes=-minutes if sign[0] == "-" else minutes))
    return time(hour, minute, second, int(f"{fraction:0<6}"[:6]) if fraction else 0, tzinfo)
