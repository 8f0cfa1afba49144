"""Every event that Aisleflow reads or publishes, as Pydantic v2 models.

These models are the contract: JSON Schema and AsyncAPI are exported from them (``schemas.export``), and the workers'
fast decoder (``schemas.reading``) is built from the same annotations. Each constrained type below states its limits
twice, for Pydantic and for msgspec, side by side, so that neither can change without the other; a property test holds
the two readers to one verdict.

Times are RFC 3339 with an offset. Money is decimal, in the currency named beside it. Durations are milliseconds.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    field_validator,
    model_validator,
)

UUID_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
STORE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:@-]*$"
# Zones, SKUs and visitors are named by people and by foreign systems: any printable text, but nothing that could break
# a log line or hide in one: no control characters, line separators or changes of writing direction.
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$"
RFC3339_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"

EARLIEST_YEAR = 2000
MAX_DWELL_MS = 30 * 24 * 3600 * 1000
MAX_METADATA_BYTES = 8192


def _pattern(pattern: str, max_length: int | None = None) -> Meta:
    """The msgspec twin of a pattern: Python's ``$`` also matches before a final newline, ``\\Z`` does not."""
    return Meta(pattern=pattern.removesuffix("$") + r"\Z", max_length=max_length)


def _amount(whole_digits: int) -> WithJsonSchema:
    """How a decimal is written: as a number or, exactly, as text. Readers take more ways of writing than a sender
    should use.
    """
    limit = 10**whole_digits
    number = {"type": "number", "minimum": -limit, "maximum": limit}
    text = {"type": "string", "pattern": rf"^[+-]?[0-9]{{1,{whole_digits}}}(\.[0-9]{{1,18}})?$"}
    return WithJsonSchema({"anyOf": [number, text]}, mode="validation")


def _rfc3339(value: object) -> object:
    import re

    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(RFC3339_PATTERN, value):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-03-03T14:22:10Z")
    return value


EventId = Annotated[str, Field(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"}), _pattern(UUID_PATTERN)]
StoreId = Annotated[str, Field(pattern=STORE_PATTERN, max_length=64), _pattern(STORE_PATTERN, max_length=64)]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=128), _pattern(NAME_PATTERN, max_length=128)]
_TimeText = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Timestamp = Annotated[
    datetime, BeforeValidator(_rfc3339, json_schema_input_type=_TimeText), Field(strict=False), Meta(tz=True)
]
Share = Annotated[float, Field(ge=0, le=1), Meta(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1_000_000), Meta(ge=0, le=1_000_000)]
DwellMs = Annotated[int, Field(ge=0, le=MAX_DWELL_MS), Meta(ge=0, le=MAX_DWELL_MS)]
Money = Annotated[Decimal, Field(ge=-(10**12), le=10**12, allow_inf_nan=False), _amount(12)]
Quantity = Annotated[Decimal, Field(ge=-(10**9), le=10**9, allow_inf_nan=False), _amount(9)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$"), _pattern(r"^[A-Z]{3}$")]
Gtin = Annotated[str, Field(pattern=r"^[0-9]{8,14}$"), _pattern(r"^[0-9]{8,14}$")]

EventType = Literal[
    "ENTRY",
    "EXIT",
    "REENTRY",
    "ZONE_ENTER",
    "ZONE_EXIT",
    "ZONE_DWELL",
    "BILLING_QUEUE_JOIN",
    "BILLING_QUEUE_ABANDON",
]
ZONE_EVENT_TYPES = frozenset({"ZONE_ENTER", "ZONE_EXIT", "ZONE_DWELL"})
_ZONE_IS_NAMED: dict[str, Any] = {
    "if": {"properties": {"event_type": {"enum": sorted(ZONE_EVENT_TYPES)}}, "required": ["event_type"]},
    "then": {"properties": {"zone_id": {"type": "string"}}, "required": ["zone_id"]},
}


class Event(BaseModel):
    """What every event shares: strict types (``"1"`` is not a number), unknown fields ignored so that schemas can
    grow.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class Metadata(Event):
    """What a camera adds to a visit event. Further fields are allowed and kept as they came."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue]

    queue_depth: Count | None = Field(
        None, description="People waiting at the billing zone, as the camera counted them."
    )
    sku_zone: Name | None = Field(None, description="Finer place within the zone, such as a shelf bay.")
    session_seq: Count | None = Field(
        None, description="Position of the event in its visit; orders events of one instant."
    )


class VisitEvent(Event):
    """One observation of one person by one camera. Its identity is ``event_id``: the same id again is a duplicate."""

    model_config = ConfigDict(json_schema_extra=_ZONE_IS_NAMED)

    event_id: EventId = Field(description="UUID of the fact.")
    store_id: StoreId = Field(description="The shop; also the Kafka key.")
    camera_id: Name = Field(description="The camera that saw it.")
    visitor_id: Name = Field(description="Pseudonym of the person within the store.")
    event_type: EventType
    timestamp: Timestamp = Field(description="When it happened, RFC 3339 with an offset; kept to the millisecond.")
    zone_id: Name | None = Field(None, description="The zone; required for ZONE_ENTER, ZONE_EXIT and ZONE_DWELL.")
    dwell_ms: DwellMs = Field(0, description="Time in the zone so far, milliseconds.")
    is_staff: bool = Field(False, description="The camera takes the person for staff.")
    confidence: Share = Field(description="Detector's confidence, 0 to 1.")
    metadata: Metadata = Field(default_factory=lambda: Metadata(), description="At most 8 KiB of JSON.")

    @model_validator(mode="after")
    def _zone_is_named(self) -> VisitEvent:
        if (reason := zone_problem(self.event_type, self.zone_id)) is not None:
            raise ValueError(reason)
        return self


def zone_problem(event_type: str, zone_id: str | None) -> str | None:
    """Why this type of event cannot go with this zone, or None."""
    if zone_id is None and event_type in ZONE_EVENT_TYPES:
        return f"zone_id is required for {event_type}"
    return None


class TransactionLine(Event):
    """One line of a till receipt."""

    sku: Name
    gtin: Gtin | None = Field(None, description="GTIN-8, -12, -13 or -14 as digits.")
    quantity: Quantity = Field(description="Units or weight sold; negative for a return.")
    unit_price: Money = Field(description="Price of one unit in the transaction's currency.")


class Transaction(Event):
    """A till receipt. Its identity is ``transaction_id`` within its store; a header without lines is valid."""

    store_id: StoreId
    transaction_id: Name
    timestamp: Timestamp
    basket_value: Money = Field(description="Total paid, in ``currency``.")
    currency: Currency | None = Field(None, description="ISO 4217; the store's currency when absent.")
    payment_kind: Name | None = Field(None, description="cash, card, upi, voucher, ...")
    lines: Annotated[list[TransactionLine], Field(max_length=1000), Meta(max_length=1000)] = Field(default_factory=list)


ZoneType = Literal["ENTRANCE", "SHELF", "DISPLAY", "BILLING", "STOCKROOM"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
OpeningSpell = Annotated[list[ClockTime], Field(min_length=2, max_length=2)]
Point = Annotated[list[float], Field(min_length=2, max_length=2, description="[x, y] in pixels of the camera's frame.")]


FloorPoint = Annotated[
    list[Annotated[float, Field(ge=-10_000, le=10_000)]],
    Field(min_length=2, max_length=2, description="[x, y] in metres on the shop's plan, from its top left corner."),
]
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$", description="Red, green and blue, such as #1a5fb4.")]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class ZoneArea(Event):
    """Where one camera sees a zone: a polygon in that camera's pixels."""

    camera_id: Name
    polygon: Annotated[list[Point], Field(min_length=3, max_length=64)]


class Zone(Event):
    """A named part of the shop."""

    zone_id: Name
    type: ZoneType
    name: Name | None = None
    areas: Annotated[list[ZoneArea], Field(max_length=32)] = Field(default_factory=list)
    staff_only: bool = Field(False, description="Only staff go there: who stays in it is taken for staff.")


class PlanPoint(Event):
    """One point of the floor, in a camera's picture and on the shop's plan."""

    pixel: Point
    floor: FloorPoint


class Camera(Event):
    """A camera and, where it watches the door, the line that people cross."""

    camera_id: Name
    name: Name | None = None
    frame_width: Annotated[int, Field(ge=1, le=16384)] | None = None
    frame_height: Annotated[int, Field(ge=1, le=16384)] | None = None
    entrance_line: Annotated[list[Point], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Start and end; walking in goes from the left of start-to-end to its right."
    )
    floor_points: Annotated[list[PlanPoint], Field(min_length=4, max_length=32)] | None = Field(
        None,
        description="What ties the picture to the plan: points of the floor, no three of the first four in a line.",
    )


class Plan(Event):
    """The shop's floor plan, in metres."""

    width_m: Annotated[float, Field(gt=0, le=1000)]
    height_m: Annotated[float, Field(gt=0, le=1000)]


class IdentityRules(Event):
    """When a person who is lost and found is one visitor. Scores run from 0 to 1; what is left out has the default of
    docs/cameras.md.
    """

    wait_s: Seconds | None = Field(None, description="How long a decision may wait for a good look at the clothes.")
    bridge_s: Seconds | None = Field(None, description="Longest loss on one camera that movement bridges.")
    bridge_score: Share | None = Field(None, description="Least score of such a bridge.")
    overlap_s: Seconds | None = Field(None, description="Time between looks of two cameras that count as one moment.")
    overlap_score: Share | None = Field(None, description="Least score to be one person on two cameras at a moment.")
    handover_s: Seconds | None = Field(None, description="Longest time unseen inside the shop.")
    handover_score: Share | None = Field(None, description="Least likeness of clothes to be found again inside.")
    reentry_s: Seconds | None = Field(None, description="Longest time outside to be known again at the entrance.")
    reentry_score: Share | None = Field(None, description="Least likeness of clothes to be known again there.")
    margin: Share | None = Field(None, description="Lead over the second best; less is ambiguous and refused.")


class StaffRules(Event):
    """How staff are told from customers, besides zones that are ``staff_only``."""

    uniform: Annotated[list[Colour], Field(max_length=8)] = Field(
        default_factory=list, description="Colours of the uniform's upper part; none: nobody is staff by their clothes."
    )
    score: Share | None = Field(None, description="Least share of the torso in these colours.")
    looks: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="Good looks that a verdict needs.")
    zone_s: Seconds | None = Field(None, description="Time in a staff_only zone that makes staff.")


class GroupRules(Event):
    """Who came in together."""

    window_s: Seconds | None = Field(None, description="Longest time between one and the next over the line; 0: never.")
    distance: Annotated[float, Field(ge=0, le=10)] | None = Field(
        None, description="Largest distance between two of a group, in heights of their boxes."
    )


class BillingRules(Event):
    """What the billing zone's camera takes for service."""

    service_s: Seconds | None = Field(
        None, description="Shortest time as first of the queue that can be service; who leaves sooner has abandoned."
    )


class SpecialDay(Event):
    """A day that is like no other: a festival, a sale, a public holiday. It is left out of what is usual, and its figures are
    not held against it.
    """

    date: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = Field(
        description="The business day, such as 2026-11-08."
    )
    name: Name | None = Field(None, description="What the day is, such as Diwali.")
    opening_hours: Annotated[list[OpeningSpell], Field(max_length=8)] | None = Field(
        None, description="Local opening and closing times of that day; empty is closed; null is as on its weekday."
    )

    @field_validator("date")
    @classmethod
    def _date_exists(cls, text: str) -> str:
        try:
            date.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no date") from error
        return text


class StoreLayout(Event):
    """A store's zones, cameras, hours, time zone and currency. The newest ``timestamp`` holds."""

    store_id: StoreId
    timestamp: Timestamp = Field(description="When this layout was made.")
    name: Name | None = None
    time_zone: Annotated[str, Field(max_length=64)] = Field("UTC", description="IANA name, such as Asia/Kolkata.")
    currency: Currency | None = None
    opening_hours: dict[Weekday, list[OpeningSpell]] | None = Field(
        None, description="Local opening and closing times by weekday; a missing day is closed; null is open all day."
    )
    special_days: Annotated[list[SpecialDay], Field(max_length=1000)] = Field(
        default_factory=list, description="Festivals, sales and holidays, past and to come."
    )
    zones: Annotated[list[Zone], Field(max_length=500)] = Field(default_factory=list)
    cameras: Annotated[list[Camera], Field(max_length=500)] = Field(default_factory=list)
    plan: Plan | None = Field(None, description="Size of the floor plan that floor_points refer to.")
    identity: IdentityRules | None = None
    staff: StaffRules | None = None
    groups: GroupRules | None = None
    billing: BillingRules | None = None

    @field_validator("time_zone")
    @classmethod
    def _time_zone_exists(cls, name: str) -> str:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not an IANA time zone") from error
        return name


class StockMovement(Event):
    """A change of stock. Balances are sums of these by event time; a count asserts a balance."""

    event_id: EventId
    store_id: StoreId
    timestamp: Timestamp
    sku: Name
    kind: Literal["RECEIVE", "FILL_SHELF", "SALE", "RETURN", "WASTE", "TRANSFER", "COUNT"] = Field(
        description="FILL_SHELF moves from the backroom to the shelf; SALE is for tills that send no receipts."
    )
    quantity: Quantity = Field(description="Units or weight; what was found, for a COUNT.")
    location: Literal["SHELF", "BACKROOM"] = Field(
        "SHELF", description="Where it was received, sold, wasted, counted, or sent away from."
    )
    reference: Name | None = Field(None, description="The order, transaction or transfer that it belongs to.")
    to_store_id: StoreId | None = Field(None, description="Of a TRANSFER: the store that it is sent to.")
    from_store_id: StoreId | None = Field(
        None, description="Of a TRANSFER: the store that sent it here. Written by the workers, not by producers."
    )
    actor: Name | None = Field(None, description="Who or what moved it: a pseudonym, a scanner, a system.")
    reason: Annotated[str, Field(max_length=256)] | None = Field(None, description="Why, in words.")


Box = Annotated[
    list[Annotated[float, Field(ge=0, le=100_000)]],
    Field(min_length=4, max_length=4, description="Left, top, right, bottom in pixels of the photo, held upright."),
]


class ShelfProduct(Event):
    """One product that a shelf photo shows."""

    box: Box
    confidence: Share
    row: Count | None = Field(None, description="Its row in ``rows``, from 0; null where it stands in none.")
    sku: Name | None = Field(None, description="What the planogram has in its place.")


class ShelfRow(Event):
    """The space over one board of one bay."""

    bay: Count = Field(description="Its bay, from the left, from 0.")
    outline: Annotated[list[Point], Field(min_length=4, max_length=4)] = Field(
        description="Its corners in the photo, from the upper left, clockwise."
    )
    facings: Count = Field(description="Products that stand on the board side by side; stacked ones count once.")


class ShelfGap(Event):
    """Empty space in a row, with room for one product or several."""

    row: Count = Field(description="Its row in ``rows``, from 0.")
    kind: Literal["BETWEEN", "END", "ROW"] = Field(description="Between products, at an end of the row, or all of it.")
    places: Annotated[list[Box], Field(min_length=1, max_length=500)] = Field(description="A box for each place.")
    skus: Annotated[list[Name | None], Field(max_length=500)] = Field(
        default_factory=list, description="What the planogram has in each place; empty without one."
    )
    confidence: Share


class ShelfScan(Event):
    """What a shelf photo showed."""

    event_id: EventId
    store_id: StoreId
    timestamp: Timestamp
    zone_id: Name | None = None
    scan_id: Name
    facings: dict[str, Count] = Field(default_factory=dict, description="Facings seen by SKU.")
    gaps: Count = Field(0, description="Empty places seen.")
    confidence: Share = Field(description="Mean confidence of the products seen, 0 where none is.")
    missing: dict[str, Count] = Field(default_factory=dict, description="Empty places by SKU of the planogram.")
    planogram_id: Name | None = Field(None, description="The planogram that named the SKUs.")
    image_width: Annotated[int, Field(ge=1, le=100_000)] | None = Field(None, description="Of the photo, pixels.")
    image_height: Annotated[int, Field(ge=1, le=100_000)] | None = Field(None, description="Of the photo, pixels.")
    products: Annotated[list[ShelfProduct], Field(max_length=3000)] = Field(default_factory=list)
    rows: Annotated[list[ShelfRow], Field(max_length=500)] = Field(
        default_factory=list, description="Bay by bay from the left, each from top to bottom."
    )
    empty: Annotated[list[ShelfGap], Field(max_length=1000)] = Field(default_factory=list)


class OrderLine(Event):
    """One line of an order to a supplier."""

    sku: Name
    quantity: Quantity
    unit_price: Money | None = None


class Order(Event):
    """An order to a supplier or, on the B2B platform, of a retailer to a vendor."""

    event_id: EventId
    store_id: StoreId
    order_id: Name
    timestamp: Timestamp
    supplier_id: Name
    status: Literal["PLACED", "CONFIRMED", "SHIPPED", "RECEIVED", "CANCELLED"]
    expected_at: Timestamp | None = None
    lines: Annotated[list[OrderLine], Field(max_length=5000)] = Field(default_factory=list)


class Product(Event):
    """An article of the catalogue, the same in all shops. Of several records of a SKU the one with the newest ``timestamp``
    holds, as a whole.
    """

    sku: Name
    timestamp: Timestamp = Field(description="When it was so.")
    name: Annotated[str, Field(pattern=NAME_PATTERN.replace("+$", "*$"), max_length=256)] = Field(
        "", description="What people call it."
    )
    category: Annotated[str, Field(pattern=NAME_PATTERN.replace("+$", "*$"), max_length=128)] = Field(
        "", description="The group of articles that it belongs to, such as Dairy."
    )
    gtin: Gtin | None = Field(None, description="GTIN-8, -12, -13 or -14 as digits.")
    unit: Annotated[str, Field(pattern=NAME_PATTERN, max_length=32)] = Field(
        "pcs", description="What quantities of it count: pcs, kg, l, ..."
    )
    pack: Annotated[Quantity, Field(gt=0)] = Field(
        Decimal(1), description="Units in a pack as it is ordered: orders are whole packs."
    )


class Price(Event):
    """The price of one SKU in one store from a time on."""

    event_id: EventId
    store_id: StoreId
    timestamp: Timestamp
    sku: Name
    price: Money
    currency: Currency
    source: Literal["LIST", "PROMOTION", "SHELF_LABEL", "COMPETITOR"] = "LIST"


Units = Annotated[float, Field(ge=0, le=10**9)]
MAX_HORIZON_DAYS = 90
DailyUnits = Annotated[list[Units], Field(min_length=1, max_length=MAX_HORIZON_DAYS)]


class ForecastQuantiles(Event):
    """Demand by day at each quantile: with the probability of the name (``q025`` is 2.5 %) it is at most so much. ``q100``
    to ``q900`` is the 80 % interval, ``q025`` to ``q975`` the 95 % one.
    """

    q025: DailyUnits
    q100: DailyUnits
    q250: DailyUnits
    q500: DailyUnits
    q750: DailyUnits
    q900: DailyUnits
    q975: DailyUnits


class DemandForecast(Event):
    """What is expected to be sold of one SKU in one store, day by day. Of several that name a day, the newest holds."""

    event_id: EventId
    store_id: StoreId
    timestamp: Timestamp = Field(description="When it was made.")
    sku: Name
    start: date = Field(description="First day that it is about, a business day of the store.")
    mean: DailyUnits = Field(description="Expected units of that day and of each that follows, at most 90.")
    quantiles: ForecastQuantiles = Field(description="As many days as ``mean``; none is below the one before it.")
    model: Name = Field(description="What made it.")
    model_version: Annotated[str, Field(max_length=64)] = Field("", description="Of a trained model: its version.")
    reason: Annotated[str, Field(max_length=500)] = Field("", description="Why this model, in a sentence.")
    history_end: date | None = Field(None, description="The last day of sales that it knows.")
    history_days: Count = Field(0, description="Days of history whose demand is known.")
    scale: Units = Field(
        0, description="Mean absolute error of 'as a week ago' on the history, units a day: what a MASE is divided by."
    )
    backtest_days: Annotated[int, Field(ge=0, le=MAX_HORIZON_DAYS)] = Field(
        0, description="Days of a window of the backtest, 0 without one."
    )
    backtest_errors: Annotated[list[Units], Field(max_length=366)] = Field(
        default_factory=list,
        description="Mean absolute error of each window when it was forecast from the days before it, oldest first.",
    )
    warnings: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=20)] = Field(
        default_factory=list, description="What to know before relying on it."
    )

    @model_validator(mode="after")
    def _days_agree(self) -> DemandForecast:
        before = [0.0] * len(self.mean)
        for name in ForecastQuantiles.model_fields:
            values = getattr(self.quantiles, name)
            if len(values) != len(self.mean):
                raise ValueError(f"quantiles.{name} must have as many days as mean")
            if any(lower > higher for lower, higher in zip(before, values, strict=True)):
                raise ValueError(f"quantiles.{name} is below the quantile before it")
            before = values
        return self


RISK_HOURS = 48


class OutlookLine(Event):
    """What is expected of one SKU in one store, and what to do about it today."""

    sku: Name
    shelf: Annotated[float, Field(ge=-(10**9), le=10**9)] = Field(description="On the shelf, as the ledger had it.")
    backroom: Annotated[float, Field(ge=-(10**9), le=10**9)] = Field(
        description="In the backroom, as the ledger had it."
    )
    in_transit: Units = Field(0, description="Sent here by other stores and not received yet.")
    on_order: Units = Field(0, description="Ordered of suppliers and not received yet.")
    fill_quantity: Units = Field(0, description="Units to bring from the back to the shelf now.")
    fill_reason: Annotated[str, Field(max_length=500)] = ""
    order_quantity: Units = Field(0, description="Units to order today, in whole packs.")
    packs: Count = Field(0, description="The same in packs.")
    pack: Annotated[float, Field(gt=0, le=10**9)] = Field(1, description="Units in a pack.")
    order_reason: Annotated[str, Field(max_length=500)] = ""
    safety_stock: Units
    reorder_point: Units = Field(description="At or below it, order.")
    order_up_to: Units
    demand_per_day: Units = Field(description="Expected units a day until the order after the next one arrives.")
    protected_days: Annotated[float, Field(ge=0, le=1000)] = Field(description="Days until then.")
    service_level: Share
    policy: Literal["sS", "RS"]
    supplier: Annotated[str, Field(max_length=128)] = ""
    category: Annotated[str, Field(max_length=128)] = ""
    expected_48h: Units = Field(description="Units that are expected to be asked for in the next 48 hours.")
    lost_48h: Units = Field(description="Those of them that will not be there, on the mean.")
    risk: Annotated[list[Share], Field(min_length=RISK_HOURS, max_length=RISK_HOURS)] = Field(
        description="Probability that nothing is left by the end of each of the next 48 hours; never falls."
    )
    runs_out_at: Timestamp | None = Field(
        None, description="When that probability reaches a half; null if it does not."
    )
    model: Annotated[str, Field(max_length=128)] = Field(description="What made the forecast.")


class StockOutlook(Event):
    """What some SKUs of a store need and when they may run out. Of several that name a SKU, the newest holds."""

    event_id: EventId
    store_id: StoreId
    timestamp: Timestamp = Field(description="The moment that it was made for: risks count from it.")
    lines: Annotated[list[OutlookLine], Field(min_length=1, max_length=400)]


class AccuracyLine(Event):
    """How the forecasts of one SKU, or of all of a store together, did on the last days. All errors are units a day."""

    sku: Name | None = Field(description="null: all of the store's SKUs, their errors added up.")
    days: Count = Field(0, description="Days that were compared; 0: nothing could be compared yet.")
    error: Units = Field(0, description="Mean absolute error of those days.")
    usual_error: Units = Field(0, description="The same in the backtest, the mean of its windows.")
    highest_error: Units = Field(0, description="The end of the backtest's range: beyond it, forecasts drift.")
    scale: Units = Field(0, description="The same of 'as a week ago' on the history.")
    bias: Annotated[float, Field(ge=-(10**9), le=10**9)] = Field(0, description="Predicted less sold.")
    outside: Count = Field(0, description="Days beyond the 95 % interval, of all SKUs together for the store.")
    chance: Share = Field(1, description="Probability of as many or more by chance.")
    drifts: bool = Field(False, description="The error has left the backtest's range by more than chance.")


class ForecastAccuracy(Event):
    """How a store's forecasts did. The line of the store ends a run: all before it is published."""

    event_id: EventId
    store_id: StoreId
    timestamp: Timestamp = Field(description="When it was worked out.")
    day: date = Field(description="The last day compared, a business day of the store.")
    forecasts: Count = Field(description="SKUs that the run has forecast.")
    lines: Annotated[list[AccuracyLine], Field(min_length=1, max_length=400)]


Severity = Literal["INFO", "WARN", "CRITICAL"]
AnomalyType = Literal[
    "QUEUE_SPIKE",
    "CONVERSION_DROP",
    "DEAD_ZONE",
    "ABANDONMENT_SPIKE",
    "CAMERA_DOWN",
    "STALE_FEED",
    "FOOTFALL_DROP",
    "FOOTFALL_SURGE",
    "STOCKOUT_RISK",
    "NEGATIVE_STOCK",
    "FORECAST_DRIFT",
]
AnomalyId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Alert(Event):
    """An anomaly opened, changed or closed: what the workers publish for people and programs to act on."""

    event_id: EventId
    store_id: StoreId
    timestamp: Timestamp = Field(description="Event time at which it was so.")
    type: AnomalyType
    subject: str = Field("", description="The zone, camera or SKU concerned; empty for the whole store.")
    state: Literal["OPENED", "CHANGED", "CLOSED"]
    severity: Severity
    message: str
    suggested_action: str
    value: float
    baseline: float
    anomaly_id: AnomalyId | None = Field(None, description="The anomaly, the same from its opening to its closing.")
    severity_reason: str = Field("", description="Why it is of this severity.")


def anomaly_id(store_id: str, type_: str, subject: str, detected_ms: int) -> str:
    """The name of an anomaly: 32 hexadecimal digits of the SHA-256 of what makes it one (ClickHouse computes the same).

    Args:
        detected_ms: when it opened, milliseconds since 1970.
    """
    import hashlib

    return hashlib.sha256(f"{store_id}\t{type_}\t{subject}\t{detected_ms}".encode()).hexdigest()[:32]


class Question(Event):
    """A question that somebody asked, and what was run for it: the record of who asked what."""

    event_id: EventId
    timestamp: Timestamp = Field(description="When it was asked.")
    asked_by: Name = Field(description="Who: a mark of the API key, page, or open where no key is needed.")
    question: Annotated[str, Field(max_length=500)] = Field(description="As it was asked.")
    shops: Annotated[list[StoreId], Field(max_length=10_000)] = Field(
        default=[], description="The only shops that the asker may know of; none: all."
    )
    outcome: Literal["ANSWERED", "REFUSED"]
    source: Literal["RULES", "MODEL", "SQL", "NONE"] = Field(
        description="Who understood it: the rules, a model into measures, a model that wrote SQL, or nobody."
    )
    understood: Annotated[str, Field(max_length=2000)] = Field(
        "", description="As it was understood, or why it was not."
    )
    sql: Annotated[str, Field(max_length=20_000)] = Field("", description="What was run.")
    parameters: Annotated[str, Field(max_length=20_000)] = Field("", description="Values of its parameters, as JSON.")
    rows: Count = Field(0, description="Rows of the answer.")
    took_ms: Annotated[int, Field(ge=0, le=86_400_000)] = Field(description="How long the answer took, milliseconds.")


class Acknowledgement(Event):
    """Somebody has seen an anomaly and sees to it: it shouts no more, but stays open until it is over. Of several, the one
    with the newest ``timestamp`` holds. An anomaly that opens anew is another one.
    """

    event_id: EventId
    store_id: StoreId
    anomaly_id: AnomalyId = Field(description="As the API and the alerts give it.")
    timestamp: Timestamp = Field(description="When it was acknowledged.")
    by: Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)] = Field(description="Who, as they want to be named.")
    note: Annotated[str, Field(pattern=NAME_PATTERN.replace("+$", "*$"), max_length=500)] = Field(
        "", description="What they do about it, one line."
    )
    until: Timestamp | None = Field(None, description="From then on it shouts again; null: not before it is over.")


CameraState = Literal["ONLINE", "DEGRADED", "FROZEN", "OFFLINE"]
FramesPerSecond = Annotated[float, Field(ge=0, le=10_000)]


class CameraHealth(Event):
    """How well a camera is: published when its state changes, now and then in between, and when nobody watches it any
    more.
    """

    event_id: EventId
    store_id: StoreId
    camera_id: Name
    timestamp: Timestamp = Field(description="When it was so; a recording's own time for a recording.")
    kind: Literal["CHANGE", "REPORT", "DAY", "END"] = Field(
        "CHANGE",
        description="CHANGE: the state is new. REPORT: it still holds. DAY: a business day is over, these are its counts. "
        "END: nobody watches the camera any more.",
    )
    state: CameraState = Field(
        description="ONLINE; DEGRADED: fewer frames than wanted; FROZEN: the same picture again and again; OFFLINE: no frames."
    )
    reason: Annotated[str, Field(max_length=256)] = Field("", description="Why it is not ONLINE, in words.")
    since: Timestamp | None = Field(None, description="When the state began.")
    last_frame_at: Timestamp | None = Field(None, description="When it last sent a picture unlike those before.")
    read_fps: FramesPerSecond = Field(0.0, description="Frames a second that it sent, over the last seconds.")
    processed_fps: FramesPerSecond = Field(0.0, description="Frames a second in which people were looked for.")
    skipped_fps: FramesPerSecond = Field(0.0, description="Frames a second that were not looked at.")
    tracks_broken: Count = Field(
        0, description="People lost from sight in the middle of the picture on this business day."
    )
    entries: Count = Field(0, description="ENTRY and REENTRY events on this business day.")
    exits: Count = Field(0, description="EXIT events on this business day.")
    entrance_balance: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = Field(
        0, description="Entries minus exits. Once the shop has closed it should be 0."
    )
    drift: float | None = Field(None, description="The balance as a share of the entries; null without entries.")


class Delivery(Event):
    """A record that could not be delivered to another system, and is to be delivered to that one again."""

    event_id: EventId
    store_id: StoreId
    timestamp: Timestamp = Field(description="When Kafka took the record.")
    target: Annotated[str, Field(pattern=r"^[a-z]+(:[a-z0-9-]+)+$", max_length=128)] = Field(
        description="To whom: webhook:ID, or connect:CONNECTOR:PUSH."
    )
    record_id: Name = Field(description="What names the record at the target, the same at every attempt.")
    topic: Name = Field(description="The topic that the record lay on.")
    body: Annotated[str, Field(max_length=1_048_576)] = Field(description="The record as it lay there.")


def dump(event: Event) -> bytes:
    """The event as the JSON that goes on the log."""
    return event.model_dump_json().encode()


def as_problem(error: Any) -> tuple[str, str]:
    """The first fault of a Pydantic error as (field, reason), in words for the person who sent it."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return field, str(first["msg"]).removeprefix("Value error, ")
