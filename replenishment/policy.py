"""When to order, how much, and what to bring from the back to the shelf: the rules, without I/O. See ``docs/restocking.md``.

The formulas are those of Silver, Pyke and Thomas, Inventory and Production Management in Supply Chains, 4th edition (2017; by
Silver, Pyke and Peterson before), chapters 4 and 6: what was ordered last must last until the next order could arrive.
"""

from __future__ import annotations

import math
from calendar import day_name
from dataclasses import dataclass, field
from typing import Literal

from replenishment.demand import Demand

Policy = Literal["sS", "RS"]
WEEK = (1, 2, 3, 4, 5, 6, 7)


@dataclass(frozen=True)
class Terms:
    """How an article is supplied and kept. Quantities in units, times in days.

    ``order_days`` are the weekdays (1 Monday to 7 Sunday) on which an order may be placed. ``policy`` ``sS``: on such a day order
    up to S when the inventory position is at or below s. ``RS``: on each such day, the reviews, order up to S.
    """

    lead_time_days: float = 2.0
    lead_time_sd_days: float = 0.5
    pack: float = 1.0
    min_order: float = 0.0
    shelf_capacity: float | None = None
    max_stock: float | None = None
    """The most that shelf and back may hold together."""
    service_level: float = 0.95
    """Wanted probability that what is there lasts until the next delivery."""
    waste_share: float = 0.0
    """Share of what is received that is thrown away."""
    shelf_life_days: float | None = None
    """Order no more than sells in so many days."""
    cover_days: float = 7.0
    """With ``sS`` and without costs: an order covers so many days."""
    order_cost: float | None = None
    unit_cost: float | None = None
    holding_share: float = 0.25
    """Cost of holding a unit for a year, as a share of ``unit_cost``."""
    order_days: tuple[int, ...] = WEEK
    policy: Policy = "sS"
    supplier: str = ""
    category: str = ""

    def __post_init__(self) -> None:
        if not 0.5 <= self.service_level < 1:
            raise ValueError("service_level must be at least 0.5 and below 1")
        if self.pack <= 0 or not math.isfinite(self.pack):
            raise ValueError("pack must be more than 0")
        if not 0 <= self.waste_share < 1:
            raise ValueError("waste_share must be at least 0 and below 1")
        if not self.order_days or not set(self.order_days) <= set(WEEK):
            raise ValueError("order_days must name at least one day, 1 (Monday) to 7 (Sunday)")
        for name in ("lead_time_days", "lead_time_sd_days", "min_order", "cover_days", "holding_share"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more")
        for name in ("shelf_capacity", "max_stock", "shelf_life_days", "order_cost", "unit_cost"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be more than 0")

    def days_to_next_review(self, weekday: int) -> int:
        """Days from this weekday (1 to 7) to the next on which an order may be placed, 1 to 7."""
        return min((day - weekday - 1) % 7 + 1 for day in self.order_days)


@dataclass(frozen=True)
class OnHand:
    """What there is of an article. Less than nothing, which the ledger may hold, counts as nothing."""

    shelf: float = 0.0
    backroom: float = 0.0
    in_transit: float = 0.0
    """Sent by other shops and not received yet."""
    on_order: float = 0.0
    """Ordered of suppliers and not received yet."""

    @property
    def here(self) -> float:
        """On the shelf and in the back."""
        return max(0.0, self.shelf) + max(0.0, self.backroom)

    @property
    def inventory_position(self) -> float:
        """What is here or will come without another order."""
        return self.here + max(0.0, self.in_transit) + max(0.0, self.on_order)


@dataclass(frozen=True)
class Levels:
    """Between which levels the stock of an article is kept, in units."""

    safety_stock: float
    reorder_point: float
    """s: at or below it, order."""
    order_up_to: float
    """S: never below s."""
    demand_per_day: float
    """What must come in to sell a day's demand, waste included."""
    protected_days: float
    """From an order until the next one could arrive."""


@dataclass(frozen=True)
class Recommendation:
    """What to do about an article today, and why."""

    levels: Levels
    fill: float = 0.0
    """Units to bring from the back to the shelf now."""
    order: float = 0.0
    """Units to order today, whole packs."""
    packs: int = 0
    fill_reason: str = ""
    order_reason: str = ""
    position: OnHand = field(default_factory=OnHand)


def safety_stock(z: float, days: float, sd: float, mean: float, lead_time_sd: float) -> float:
    """z * sqrt((L + R) * sigma_d^2 + d^2 * sigma_L^2): what guards against demand above the forecast and late deliveries.

    Silver, Pyke and Thomas (2017), section 6.10.3 (lead time and demand both vary, independently); ``days`` is L + R, since
    with reviews R apart an order placed now must last until the one after it arrives (section 6.9).

    Args:
        z: quantile of the standard normal distribution at the service level (section 6.7.5).
        days: lead time plus time to the next review.
        sd: standard deviation of a day's demand, units.
        mean: mean of a day's demand, units.
        lead_time_sd: standard deviation of the lead time, days.
    """
    return z * math.sqrt(days * sd**2 + mean**2 * lead_time_sd**2)


def levels(demand: Demand, terms: Terms, weekday: int) -> Levels:
    """s and S of an article on a weekday (1 Monday to 7 Sunday).

    s is the mean demand until the delivery after the next one, and the safety stock. Where that demand varies by more than half of
    its mean, a normal distribution would have much of it below zero: then s is the same quantile of a gamma distribution with its
    mean and standard deviation (section 6.7.14 of the same book; Burgin 1975).
    """
    from scipy.special import gammaincinv, ndtri

    days = terms.lead_time_days + terms.days_to_next_review(weekday)
    mean, sd = (figure / (1 - terms.waste_share) for figure in demand.over(days))
    expected = mean * days
    z = float(ndtri(terms.service_level))
    safety = safety_stock(z, days, sd, mean, terms.lead_time_sd_days)
    spread = safety_stock(1.0, days, sd, mean, terms.lead_time_sd_days)
    if expected > 0 and spread > 0.5 * expected:
        shape = (expected / spread) ** 2
        safety = max(0.0, float(gammaincinv(shape, terms.service_level)) / shape * expected - expected)
    s = expected + safety
    batch = 0.0
    if terms.policy == "sS":
        batch = max(_economic_quantity(mean, terms), terms.pack, terms.min_order)
    top = s + batch
    if terms.shelf_life_days is not None:
        top = max(s, min(top, mean * terms.shelf_life_days))
    if terms.max_stock is not None:
        top = min(top, terms.max_stock)
        s = min(s, top)
    return Levels(safety, s, top, mean, days)


def _economic_quantity(mean: float, terms: Terms) -> float:
    """sqrt(2 A D / (v r)), section 4.1 of the same book, where the costs are known; else what covers ``cover_days``."""
    if terms.order_cost is None or terms.unit_cost is None or terms.holding_share == 0:
        return mean * terms.cover_days
    return math.sqrt(2 * terms.order_cost * mean * 365 / (terms.unit_cost * terms.holding_share))


def in_packs(units: float, terms: Terms, room: float = math.inf) -> int:
    """Packs that hold so many units and no less than the smallest order, but no more than there is room for."""
    if units <= 0:
        return 0
    packs = math.ceil(max(units, terms.min_order) / terms.pack - 1e-9)
    fitting = math.floor(room / terms.pack + 1e-9) if math.isfinite(room) else packs
    packs = min(packs, fitting)
    return packs if packs > 0 and packs * terms.pack >= terms.min_order - 1e-9 else 0


def recommend(position: OnHand, demand: Demand, terms: Terms, weekday: int, left_today: float = 1.0) -> Recommendation:
    """What to bring to the shelf, and what to order, with the reasons in words.

    Args:
        position: what there is.
        demand: from today on.
        terms: how the article is supplied.
        weekday: today's, 1 Monday to 7 Sunday.
        left_today: share of today's sales still to come.
    """
    found = levels(demand, terms, weekday)
    fill, fill_reason = _fill(position, demand, terms, left_today)
    packs, order_reason = _order(position, found, terms, weekday)
    return Recommendation(found, fill, packs * terms.pack, packs, fill_reason, order_reason, position)


def _fill(position: OnHand, demand: Demand, terms: Terms, left_today: float) -> tuple[float, str]:
    """From the back to the shelf: when the shelf will not last until tomorrow evening as surely as ``service_level`` says."""
    from scipy.special import ndtri

    shelf, back = max(0.0, position.shelf), max(0.0, position.backroom)
    mean, sd = demand.over(2.0)
    days = left_today + 1
    expected = mean * days
    enough = expected + float(ndtri(terms.service_level)) * sd * math.sqrt(days)
    room = math.inf if terms.shelf_capacity is None else max(0.0, terms.shelf_capacity - shelf)
    # A shelf that is half full or more waits: fillers do not walk for a piece.
    is_low = shelf < enough and (terms.shelf_capacity is None or shelf <= terms.shelf_capacity / 2)
    if not back or not room or not (is_low or shelf == 0):
        return 0.0, ""
    wanted = room if terms.shelf_capacity is not None else max(1.0, math.ceil(enough) - shelf)
    fill = min(back, wanted)
    holds = f"The shelf holds {shelf:g}" if shelf else "The shelf is empty"
    return (
        fill,
        f"{holds}, {expected:.3g} are expected to sell until tomorrow evening: bring {fill:g} of {back:g} in the back.",
    )


def _order(position: OnHand, found: Levels, terms: Terms, weekday: int) -> tuple[int, str]:
    has, coming = position.inventory_position, position.inventory_position - position.here
    there = f"{position.here:g} here" + (f" and {coming:g} on the way" if coming else "")
    until = (
        f"until the order after this one arrives, in {found.protected_days:.3g} days"
        f" ({found.demand_per_day * found.protected_days:.3g} expected, {found.safety_stock:.3g} for safety)"
    )
    if has >= found.order_up_to or (terms.policy == "sS" and has > found.reorder_point):
        return 0, ""
    if weekday not in terms.order_days:
        next_day = day_name[(weekday - 1 + terms.days_to_next_review(weekday)) % 7]
        return 0, f"{there}, {found.reorder_point:.3g} are needed {until}: to be ordered on {next_day}."
    room = math.inf if terms.max_stock is None else terms.max_stock - has
    packs = in_packs(found.order_up_to - has, terms, room)
    if not packs:
        why = (
            "there is no room for a pack" if room < max(terms.pack, terms.min_order) else "nothing is expected to sell"
        )
        return 0, f"{there}, {found.reorder_point:.3g} are needed {until}, but {why}."
    packed = f"{packs * terms.pack:g}" + (f" ({packs} packs of {terms.pack:g})" if terms.pack != 1 else "")
    return packs, f"{there}, {found.reorder_point:.3g} are needed {until}: order {packed}."
