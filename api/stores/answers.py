"""From counts to answers: rates, means and the shapes that the API promises. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from schemas.events import AnomalyType, Severity

# Under so many zone visits a zone's figures say little.
CONFIDENT_FREQUENCY = 20

Row = dict[str, Any]


class Span(BaseModel):
    """From ``from`` (included) to ``to`` (excluded)."""

    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")


class Metrics(BaseModel):
    """The key figures of a store in a window. Staff are left out of all but ``staff_visits``."""

    unique_visitors: int = Field(ge=0, description="Visits that began with the entrance camera: one a visitor and day.")
    conversion_rate: float = Field(
        ge=0, le=1, description="Visitors who purchased over unique_visitors; 0 without any."
    )
    avg_dwell_ms: int = Field(ge=0, description="Mean time of a zone visit, milliseconds.")
    queue_depth_current: int = Field(ge=0, description="People waiting to pay at the end of the window.")
    abandonment_rate: float = Field(
        ge=0, le=1, description="Left the queue without purchase over joined; 0 without any."
    )
    staff_visits: int = Field(ge=0)
    unmatched_visitors: int = Field(ge=0, description="Seen inside, but not by the entrance camera: how good is it?")
    attributed_conversion_rate: float = Field(
        ge=0, le=1, description="As conversion_rate, but each transaction claims at most one visit."
    )
    transactions: int = Field(ge=0, description="Till receipts.")
    revenue: float = Field(description="Their sum in ``currency``.")
    currency: str | None = Field(description="ISO 4217; null when neither the till nor the layout names one.")
    revenue_by_currency: dict[str, float] = Field(description="By ISO 4217 code; XXX where none is known.")
    business_day: date | None = Field(description="The store's business day, when the window is exactly one.")
    window: Span
    updated_at: datetime | None = Field(description="When the newest figure was derived; null without any.")
    behind_seconds: int | None = Field(
        description="How much older than now the figures may be, because events of the store wait for the workers: 0 "
        "while they are current, null if that is not known. In the header Aisleflow-Behind-Seconds of every answer too."
    )


class Funnel(BaseModel):
    """How far visitors came; each step holds a part of the one before."""

    entry: int = Field(ge=0)
    zone_visit: int = Field(ge=0)
    billing_queue: int = Field(ge=0)
    purchased: int = Field(ge=0)


class ZoneHeat(BaseModel):
    """One zone of the heat map."""

    frequency: int = Field(ge=0, description="Zone visits.")
    avg_dwell_ms: int = Field(ge=0, description="Mean time of a zone visit, milliseconds.")
    normalized: int = Field(ge=0, le=100, description="Share of the busiest zone, which is 100.")
    data_confidence: Literal["LOW", "HIGH"] = Field(description=f"LOW under {CONFIDENT_FREQUENCY} zone visits.")


class Acknowledged(BaseModel):
    """Who has seen an anomaly, and what they do about it."""

    event_id: str = Field(description="UUID of the fact.")
    by: str = Field(description="As they want to be named.")
    note: str
    at: datetime
    until: datetime | None = Field(description="From then on it shouts again; null: not before it is over.")


class Anomaly(BaseModel):
    """Something out of the ordinary, and what to do about it."""

    anomaly_id: str = Field(
        "", description="Its name: 32 hexadecimal digits, the same from its opening to its closing."
    )

    type: AnomalyType
    subject: str = Field(description="The zone or camera concerned; empty for the whole store.")
    severity: Severity
    message: str
    suggested_action: str
    detected_at: datetime
    value: float
    baseline: float
    closed_at: datetime | None = Field(description="Null while it is open.")
    severity_reason: str = Field("", description="Why it is of this severity.")
    unusual: str = Field("", description="How often it was so on comparable days; empty when that is not known.")
    evidence: dict[str, float] = Field({}, description="The counts behind it.")
    calm_since: datetime | None = Field(
        None, description="Since when it is over, while it waits to be closed; null while it lasts."
    )
    acknowledged: Acknowledged | None = Field(None, description="Who has seen it; null while nobody has.")

    def shouts(self, now: datetime) -> bool:
        """Whether somebody should look at it now: it lasts, and nobody has seen it, or what they asked for is over."""
        seen = self.acknowledged
        return self.calm_since is None and (seen is None or (seen.until is not None and seen.until <= now))


class Anomalies(BaseModel):
    """The anomalies of a store, the worst first."""

    store_id: str
    anomalies: list[Anomaly]


def rate(part: int, whole: int) -> float:
    """A share to four decimals, half up; 0 of nothing."""
    return (20_000 * part + whole) // (2 * whole) / 10_000 if whole else 0.0


def mean_ms(total: int, count: int) -> int:
    """A mean to whole milliseconds, half up; 0 of nothing."""
    return (2 * total + count) // (2 * count) if count else 0


def funnel(visits: Row) -> Funnel:
    """The funnel, from counts over visits."""
    return Funnel(
        entry=visits["unique_visitors"],
        zone_visit=visits["zone_visitors"],
        billing_queue=visits["billing_visitors"],
        purchased=visits["purchasers"],
    )


def heatmap(zones: Sequence[Row]) -> dict[str, ZoneHeat]:
    """The heat map by zone, the busiest first."""
    busiest = max((zone["frequency"] for zone in zones), default=0)
    return {
        zone["zone_id"]: ZoneHeat(
            frequency=zone["frequency"],
            avg_dwell_ms=mean_ms(zone["dwell_ms"], zone["frequency"]),
            normalized=(200 * zone["frequency"] + busiest) // (2 * busiest),
            data_confidence="HIGH" if zone["frequency"] >= CONFIDENT_FREQUENCY else "LOW",
        )
        for zone in zones
    }


def revenue(transactions: Sequence[Row], store_currency: str | None) -> tuple[dict[str, float], str | None]:
    """Revenue by currency, and the store's main currency: its layout's, or else that of most receipts.

    A receipt without a currency is in the layout's.
    """
    amounts: dict[str, float] = {}
    counts: dict[str, int] = {}
    for row in transactions:
        currency = row["currency"] or store_currency or "XXX"
        amounts[currency] = amounts.get(currency, 0) + float(row["revenue"])
        counts[currency] = counts.get(currency, 0) + row["transactions"]
    most = min(counts, key=lambda code: (-counts[code], code), default="XXX")
    main = store_currency or most
    return {code: round(amount, 4) for code, amount in sorted(amounts.items())}, None if main == "XXX" else main
