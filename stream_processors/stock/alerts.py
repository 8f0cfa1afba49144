"""What is wrong with the stock of a shop: the rules, without I/O. See ``docs/restocking.md``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from schemas.events import Severity
from schemas.layouts import StoreCalendar
from stream_processors.anomalies import Finding

#: A stock-out is announced when it is as likely as not within 48 hours, and over when it is less than half as likely as that.
OPENS_AT, CLOSES_AT = 0.5, 0.25
#: A warning when it is nearly certain before the same time tomorrow, again with a gap between the two, of what sells fast. The rest
#: are notes: of thousands of articles some are always about to run out, and a wall that is always red tells nothing.
WARNS_AT, CALMS_AT = 0.8, 0.6
FAST = 10.0
"""Units in 48 hours."""
#: And of one shop only so many at a time, those that lose most.
MOST = 20
#: Of what sells less than this in 48 hours nobody is warned: every shop has hundreds of articles that are down to their last one.
WORTH_SAYING = 1.0


class Negative(NamedTuple):
    """An article of which the ledger holds less than nothing, where stock is known."""

    sku: str
    shelf: float
    backroom: float


class AtRisk(NamedTuple):
    """An article that may run out, as the outlook has it."""

    sku: str
    on_hand: float
    """On the shelf and in the back."""
    coming: float
    """On order or on its way from another shop."""
    expected_48h: float
    lost_48h: float
    risk_24h: float
    risk_48h: float
    runs_out_at: int | None
    """When it has run out with a probability of a half, milliseconds since 1970."""
    order_quantity: float
    packs: int
    supplier: str


class Drift(NamedTuple):
    """Forecasts of an article, or of all of a shop together (no SKU), whose error has left its backtest's range. Errors are
    units a day.
    """

    sku: str
    days: int
    error: float
    usual: float
    highest: float
    scale: float
    bias: float
    outside: int


def detect(
    calendar: StoreCalendar,
    negative: Iterable[Negative],
    at_risk: Iterable[AtRisk],
    drifting: Iterable[Drift],
    held: Collection[tuple[str, Severity]],
) -> list[Finding]:
    """Everything that is wrong with a shop's stock.

    Args:
        calendar: the shop's, for times in words.
        negative: articles of which the ledger holds less than nothing.
        at_risk: articles that may run out.
        drifting: forecasts that do worse than they should.
        held: the SKUs of stock-outs that are announced already, and how severe they are said to be.
    """
    known = dict(held)
    # Those that are told stay told until they are over.
    ranked = sorted(at_risk, key=lambda one: (one.sku not in known, -one.lost_48h, one.sku))
    found = [finding for one in ranked if (finding := _stockout(calendar, one, known.get(one.sku))) is not None]
    return [*map(_negative, negative), *found[: max(MOST, len(known))], *map(_drift, drifting)]


def _drift(one: Drift) -> Finding:
    what = f"forecasts of {one.sku}" if one.sku else "forecasts of this shop"
    way = "too high" if one.bias > 0 else "too low"
    worse = 0 < one.scale < one.error
    return Finding(
        "FORECAST_DRIFT",
        one.sku,
        "CRITICAL" if worse and not one.sku else "WARN",
        f"The {what} were wrong by {one.error:.3g} a day in the last {one.days} days, usual is {one.usual:.3g} and at most "
        f"{one.highest:.3g}; on the mean they were {abs(one.bias):.3g} {way}.",
        (
            "Look for a new price, a promotion, a missing delivery or wrong counts; order by hand until it is explained."
            if one.sku
            else "Look at what has changed in the shop: hours, prices, a competitor, missing receipts; then train anew "
            "(aisleflow train)."
        ),
        round(one.error, 2),
        round(one.highest, 2),
        "worse than repeating the week before" if worse else "the error has left the range of the backtest",
        evidence={
            "error": round(one.error, 3),
            "usual_error": round(one.usual, 3),
            "highest_error": round(one.highest, 3),
            "bias": round(one.bias, 3),
            "days_outside": float(one.outside),
        },
    )


def _negative(one: Negative) -> Finding:
    places = [
        f"{held:g} {where}" for held, where in ((one.shelf, "on the shelf"), (one.backroom, "in the back")) if held < 0
    ]
    return Finding(
        "NEGATIVE_STOCK",
        one.sku,
        "INFO",
        f"The ledger holds {' and '.join(places)} of {one.sku}, which cannot be.",
        "Count it; then look for a delivery or a filled shelf that nobody wrote down.",
        min(one.shelf, one.backroom),
        0.0,
        "something was not written down, or was counted wrongly",
        evidence={"shelf": one.shelf, "backroom": one.backroom},
    )


def _stockout(calendar: StoreCalendar, one: AtRisk, held: Severity | None) -> Finding | None:
    if one.expected_48h < WORTH_SAYING or one.risk_48h < (OPENS_AT if held is None else CLOSES_AT):
        return None
    warns = one.expected_48h >= FAST and one.risk_24h >= (CALMS_AT if held == "WARN" else WARNS_AT)
    coming = f"; {one.coming:g} are on the way" if one.coming > 0 else ""
    if one.on_hand <= 0:
        words = (
            f"{one.sku} has run out{coming}; {one.expected_48h:.3g} are expected to be asked for in the next 48 hours."
        )
    else:
        words = (
            f"{one.sku} will have run out within 48 hours with a probability of {one.risk_48h:.0%}{_when(calendar, one)}: "
            f"{one.on_hand:g} are left, {one.expected_48h:.3g} are expected to sell{coming}."
        )
    of_whom = f" of {one.supplier}" if one.supplier else ""
    order = (
        f"Order {one.order_quantity:g} today{of_whom}, or" if one.order_quantity else "Nothing more is to be ordered:"
    )
    return Finding(
        "STOCKOUT_RISK",
        one.sku,
        "WARN" if warns else "INFO",
        words,
        f"{order} ask another shop for some, or put something else in its place.",
        # In steps: a row and a message for every per cent would tell nobody anything.
        round(one.risk_48h * 20) / 20,
        OPENS_AT,
        f"within 24 hours with a probability of {one.risk_24h:.0%}",
        evidence={
            "on_hand": one.on_hand,
            "coming": one.coming,
            "expected_48h": round(one.expected_48h, 2),
            "lost_48h": round(one.lost_48h, 2),
            "risk_24h": round(one.risk_24h, 3),
            "risk_48h": round(one.risk_48h, 3),
        },
    )


def _when(calendar: StoreCalendar, one: AtRisk) -> str:
    if one.runs_out_at is None:
        return ""
    local = datetime.fromtimestamp(one.runs_out_at / 1000, calendar.zone)
    return f", as likely as not by {local:%A %H:%M}"
