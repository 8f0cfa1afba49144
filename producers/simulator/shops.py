"""Invented shops: hours, time zone, zones, cameras, assortment and how busy they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from random import Random
from zoneinfo import ZoneInfo

from producers.simulator.catalogue import articles
from schemas.events import Camera, StoreLayout, Weekday, Zone, ZoneType, dump

WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A city for every second hour of the globe or so, so that some shop is always open.
CITIES = (
    ("Mumbai", "Asia/Kolkata", "INR"),
    ("London", "Europe/London", "GBP"),
    ("New York", "America/New_York", "USD"),
    ("Tokyo", "Asia/Tokyo", "JPY"),
    ("Berlin", "Europe/Berlin", "EUR"),
    ("Sydney", "Australia/Sydney", "AUD"),
    ("Dubai", "Asia/Dubai", "AED"),
    ("Los Angeles", "America/Los_Angeles", "USD"),
    ("Singapore", "Asia/Singapore", "SGD"),
    ("Sao Paulo", "America/Sao_Paulo", "BRL"),
    ("Auckland", "Pacific/Auckland", "NZD"),
    ("Nairobi", "Africa/Nairobi", "KES"),
    ("Denver", "America/Denver", "USD"),
    ("Honolulu", "Pacific/Honolulu", "USD"),
    ("Karachi", "Asia/Karachi", "PKR"),
    ("Anchorage", "America/Anchorage", "USD"),
    ("Noumea", "Pacific/Noumea", "XPF"),
    ("Azores", "Atlantic/Azores", "EUR"),
)
# Visits that start in each hour after opening, as a share of the mean: a lunch peak and a stronger evening one.
HOUR_CURVE = (0.45, 0.7, 0.95, 1.25, 1.2, 0.9, 0.85, 1.05, 1.4, 1.5, 1.1, 0.65)
WEEKDAY_FACTOR = (0.8, 0.85, 0.9, 1.0, 1.25, 1.5, 0.7)
SHELVES = ("SKINCARE", "MAKEUP", "HAIRCARE", "FRAGRANCE", "BATH", "SNACKS", "DRINKS", "HOUSEHOLD")
OPENS, CLOSES = time(9), time(21)
MEAN_SERVICE_S = 75.0
BUYERS = 0.35


@dataclass(frozen=True)
class Product:
    """One article of a shop, at its price."""

    sku: str
    gtin: str
    cents: int


@dataclass(frozen=True)
class Shop:
    """One shop. ``groups_per_hour`` is the mean rate of arriving groups; ``dialect`` says that its cameras are of the
    other make; without ``has_layout`` its layout is never published, so it counts as open all day in UTC; with a
    ``coarse_clock`` its cameras and tills tell whole seconds and number nothing, so that many facts share an instant."""

    store_id: str
    name: str
    time_zone: str
    currency: str
    shelves: tuple[str, ...]
    displays: tuple[str, ...]
    groups_per_hour: float
    tills: int
    staff: int
    products: tuple[Product, ...]
    dialect: bool = False
    has_layout: bool = True
    coarse_clock: bool = False

    billing: str = "BILLING"

    @property
    def zones(self) -> tuple[str, ...]:
        """Where people linger, in the order of the aisles."""
        return self.shelves + self.displays

    def camera(self, zone_id: str | None) -> str:
        """The camera over a zone; None is the entrance. A floor camera sees two zones."""
        if zone_id is None:
            return "CAM_ENTRY"
        return "CAM_BILLING" if zone_id == self.billing else f"CAM_FLOOR_{self.zones.index(zone_id) // 2 + 1}"

    @property
    def cameras(self) -> tuple[str, ...]:
        """Every camera of the shop."""
        return tuple(dict.fromkeys(self.camera(zone) for zone in (None, *self.zones, self.billing)))

    def open_between(self, day: date) -> tuple[int, int]:
        """Opening and closing of a business day, milliseconds since 1970."""
        zone = ZoneInfo(self.time_zone)
        opens, closes = (datetime.combine(day, clock, zone).timestamp() for clock in (OPENS, CLOSES))
        return int(opens * 1000), int(closes * 1000)

    def layout(self, made: datetime) -> bytes:
        """The StoreLayout that describes the shop, as JSON."""
        kinds: list[tuple[str, ZoneType]] = [("DOOR", "ENTRANCE"), (self.billing, "BILLING"), ("BACKROOM", "STOCKROOM")]
        kinds += [(zone, "SHELF") for zone in self.shelves] + [(zone, "DISPLAY") for zone in self.displays]
        return dump(
            StoreLayout(
                store_id=self.store_id,
                timestamp=made,
                name=self.name,
                time_zone=self.time_zone,
                currency=self.currency,
                opening_hours={day: [[f"{OPENS:%H:%M}", f"{CLOSES:%H:%M}"]] for day in WEEKDAYS},
                zones=[Zone(zone_id=zone, type=kind, name=zone.title()) for zone, kind in kinds],
                cameras=[Camera(camera_id=camera) for camera in self.cameras],
            )
        )


def make_shops(count: int, seed: int, *, open_at: datetime | None = None, first_number: int = 1001) -> list[Shop]:
    """``count`` shops, the same for the same seed.

    Every fifth one has cameras of the other make, another fifth coarse clocks, and every tenth publishes no layout, so
    with ten shops all kinds are there. Ids count from ``first_number``. With ``open_at`` only cities are used where
    that instant lies well within opening hours.
    """
    cities = [city for city in CITIES if open_at is None or _is_daytime(city[1], open_at)]
    return [_make_shop(index, seed, cities[index % len(cities)], first_number) for index in range(count)]


def _is_daytime(time_zone: str, instant: datetime) -> bool:
    return time(10, 30) <= instant.astimezone(ZoneInfo(time_zone)).time() <= time(19)


def _make_shop(index: int, seed: int, city: tuple[str, str, str], first_number: int) -> Shop:
    rng = Random(f"shop {seed} {index}")  # noqa: S311 - a simulation, not a secret
    name, time_zone, currency = city
    per_hour = rng.uniform(14, 34)
    # Enough tills that the busiest hour of an ordinary day fills them to some four fifths.
    load = per_hour * max(HOUR_CURVE) * BUYERS * MEAN_SERVICE_S / 3600
    return Shop(
        store_id=f"ST{first_number + index}",
        name=f"{name} {index + 1}",
        time_zone=time_zone,
        currency=currency,
        shelves=tuple(rng.sample(SHELVES, rng.randint(3, 6))),
        displays=("NEW_IN", "OFFERS")[: rng.randint(1, 2)],
        groups_per_hour=per_hour,
        tills=max(1, round(load / 0.8)),
        staff=rng.randint(2, 4),
        products=tuple(
            # Prices differ from shop to shop by some tenths.
            Product(article.sku, article.gtin, round(article.cents * rng.uniform(0.9, 1.2)))
            for article in articles()
        ),
        dialect=index % 5 == 4,
        has_layout=index % 10 != 9,
        coarse_clock=index % 5 == 1,
    )


def layouts(shops: Sequence[Shop], made: datetime) -> list[tuple[str, bytes]]:
    """(store_id, StoreLayout as JSON) of every shop that publishes one."""
    return [(shop.store_id, shop.layout(made)) for shop in shops if shop.has_layout]
