"""What a store's layout says: business days, opening hours and which zones are billing zones."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from schemas.events import SpecialDay, StoreLayout, ZoneType
from schemas.reading import epoch_ms

BILLING_WORDS = ("BILLING", "CHECKOUT", "CASH", "QUEUE")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_REMEMBERED_DAYS = 100


@dataclass(frozen=True)
class StoreCalendar:
    """A store's layout, ready for questions. Without a layout: UTC, open all day, billing zones by their names."""

    store_id: str
    layout: StoreLayout | None = None
    zone: ZoneInfo = field(init=False)
    zone_types: dict[str, ZoneType] = field(init=False)
    special_days: dict[date, SpecialDay] = field(init=False)
    """Festivals, sales and holidays by their dates."""
    layout_ms: int = field(init=False)
    """When the layout was made, milliseconds since 1970; 0 without one."""
    _spells: dict[date, list[tuple[int, int]]] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Opening hours of days that were asked for: the same few are, again and again."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "zone", ZoneInfo(self.layout.time_zone if self.layout else "UTC"))
        types = {zone.zone_id: zone.type for zone in self.layout.zones} if self.layout else {}
        object.__setattr__(self, "zone_types", types)
        special = {date.fromisoformat(one.date): one for one in self.layout.special_days} if self.layout else {}
        object.__setattr__(self, "special_days", special)
        object.__setattr__(self, "layout_ms", epoch_ms(self.layout.timestamp) if self.layout else 0)

    def is_billing(self, zone_id: str) -> bool:
        """Whether people pay in this zone."""
        listed = self.zone_types.get(zone_id)
        if listed is not None:
            return listed == "BILLING"
        return _sounds_like_billing(zone_id)

    def business_day(self, at: int) -> date:
        """The date, in the store's time zone, of a moment in milliseconds since 1970."""
        return datetime.fromtimestamp(at / 1000, self.zone).date()

    def bounds(self, day: date) -> tuple[int, int]:
        """First millisecond of a business day and of the next one."""
        start = datetime.combine(day, time(), self.zone)
        end = datetime.combine(day + timedelta(days=1), time(), self.zone)
        return epoch_ms(start.astimezone(UTC)), epoch_ms(end.astimezone(UTC))

    def opening_spells(self, day: date) -> list[tuple[int, int]]:
        """The opening hours of a day as [from, to) in milliseconds since 1970. Hours past midnight belong to the day
        they begin.
        """
        spells = self._spells.get(day)
        if spells is None:
            if len(self._spells) >= _REMEMBERED_DAYS:
                self._spells.clear()
            spells = self._spells[day] = self._opening_spells(day)
        return spells

    def _opening_spells(self, day: date) -> list[tuple[int, int]]:
        hours = self._hours(day)
        if hours is None:
            return [self.bounds(day)]
        spells = []
        for opens, closes in hours:
            start, end = self._moment(day, opens), self._moment(day, closes)
            spells.append((start, end if end > start else self._moment(day + timedelta(days=1), closes)))
        return spells

    def _hours(self, day: date) -> list[list[str]] | None:
        """Opening and closing times by the shop's clock; None is open all day."""
        if self.layout is None:
            return None
        special = self.special_days.get(day)
        if special is not None and special.opening_hours is not None:
            return special.opening_hours
        if self.layout.opening_hours is None:
            return None
        return self.layout.opening_hours.get(WEEKDAYS[day.weekday()], [])  # type: ignore[call-overload, no-any-return]

    def _moment(self, day: date, clock: str) -> int:
        hours, minutes = (int(part) for part in clock.split(":"))
        moment = datetime.combine(day + timedelta(days=hours // 24), time(hours % 24, minutes), self.zone)
        return epoch_ms(moment.astimezone(UTC))

    def open_since(self, at: int) -> int | None:
        """When the spell of opening hours that holds this moment began (milliseconds since 1970); None when closed."""
        day = self.business_day(at)
        for candidate in (day, day - timedelta(days=1)):
            for start, end in self.opening_spells(candidate):
                if start <= at < end:
                    return start
        return None


@lru_cache(maxsize=10_000)
def _sounds_like_billing(zone_id: str) -> bool:
    name = zone_id.upper()
    return any(word in name for word in BILLING_WORDS)
