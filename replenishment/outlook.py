"""What one article of a shop needs, and when it may run out, as a line of a ``StockOutlook``. Rules without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from forecasting.series import Forecast
from replenishment.demand import courses_of, demand_of
from replenishment.policy import OnHand, Terms, recommend
from replenishment.stockouts import asked_for, clock, lost_units, stockout_risk
from schemas.events import OutlookLine

LIKELY = 0.5
"""An article is said to run out when it is as likely as not."""


@dataclass(frozen=True)
class Article:
    """What is known of an article at a moment."""

    sku: str
    shelf: float
    backroom: float
    in_transit: float = 0.0
    orders: Sequence[tuple[datetime | None, float]] = field(default=())
    """Open orders of suppliers: when each should arrive, None where nobody said, and units that have not come yet."""
    whole_units: bool = True


def outlook_line(
    article: Article, forecast: Forecast, terms: Terms, profile: Sequence[float], at: datetime
) -> OutlookLine:
    """The outlook of an article.

    An order arrives when it is said to; one that is late, or of which nobody said, is taken to arrive after its lead time from
    now: what is not here cannot be sold.

    Args:
        article: what there is of it.
        forecast: demand by day, from the shop's day of ``at`` on.
        terms: how it is supplied and kept.
        profile: share of a day's sales by hour of the day.
        at: the moment, by the shop's clock.
    """
    hour = at.hour + at.minute / 60 + at.second / 3600
    ahead, left = clock(profile, hour)
    courses = courses_of(forecast, ahead.horizon_days, first_share=left, whole_units=article.whole_units)
    on_order = sum(units for _, units in article.orders)
    position = OnHand(article.shelf, article.backroom, article.in_transit, on_order)
    arrivals = [(_hours_until(due, at, terms), units) for due, units in article.orders]
    risk = stockout_risk(courses, ahead, position.here, arrivals)
    asked = asked_for(courses, ahead)
    coming = sum(units for hours, units in arrivals if hours < len(risk))
    found = recommend(position, demand_of(forecast), terms, at.isoweekday(), left)
    likely = np.flatnonzero(risk >= LIKELY)
    runs_out = at + timedelta(hours=int(likely[0]) + 1) if len(likely) and position.here > 0 else None
    return OutlookLine(
        sku=article.sku,
        shelf=article.shelf,
        backroom=article.backroom,
        in_transit=max(0.0, article.in_transit),
        on_order=on_order,
        fill_quantity=found.fill,
        fill_reason=found.fill_reason,
        order_quantity=found.order,
        packs=found.packs,
        pack=terms.pack,
        order_reason=found.order_reason,
        safety_stock=round(found.levels.safety_stock, 3),
        reorder_point=round(found.levels.reorder_point, 3),
        order_up_to=round(found.levels.order_up_to, 3),
        demand_per_day=round(found.levels.demand_per_day, 4),
        protected_days=found.levels.protected_days,
        service_level=terms.service_level,
        policy=terms.policy,
        supplier=terms.supplier[:128],
        category=terms.category[:128],
        expected_48h=round(float(asked.mean()), 3),
        lost_48h=round(lost_units(asked, position.here, coming), 3),
        risk=[round(float(value), 4) for value in risk],
        runs_out_at=runs_out,
        model=forecast.model[:128],
    )


def _hours_until(due: datetime | None, at: datetime, terms: Terms) -> float:
    if due is None or due <= at:
        return terms.lead_time_days * 24
    return (due - at).total_seconds() / 3600
