"""What the routes answer, made of rows: tasks in their order, and what will run out."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.database import Row
from schemas.events import Severity

Action = Literal["FILL_SHELF", "COUNT", "ORDER"]
ORDER: tuple[Action, ...] = ("FILL_SHELF", "COUNT", "ORDER")


class Task(BaseModel):
    """Something to do about one article."""

    sku: str
    action: Action
    since: datetime = Field(description="Since when it is so.")
    shelf: float
    backroom: float
    in_transit: float
    sales_per_hour: float = Field(description="Units at risk: sold in an hour of the last 28 days, on the mean.")
    reason: str
    quantity: float | None = Field(
        None,
        description="Units to bring to the shelf, or to order; null for a count, and where nothing was worked out yet.",
    )
    packs: int | None = Field(None, description="Of an order: the packs that hold them.")
    pack: float | None = Field(None, description="Of an order: units in a pack.")
    on_order: float = Field(0, description="Ordered of suppliers and not received yet.")
    supplier: str = Field("", description="Of whom it is ordered, where that is known.")
    stockout_probability: float | None = Field(
        None, description="That nothing is left in the shop within 48 hours, 0 to 1; null where that is not known."
    )


class Restock(BaseModel):
    """What to do in a shop now: shelves to fill, then counts, then orders; of each, that first which costs most sales."""

    store_id: str
    tasks: list[Task]


class StockoutAlert(BaseModel):
    """The alert that is open about it; ``/stores/{id}/anomalies`` has it too, and takes its acknowledgement."""

    anomaly_id: str
    severity: Severity
    detected_at: datetime


class Stockout(BaseModel):
    """An article that may run out."""

    sku: str
    probability: float = Field(description="That nothing is left in the shop by the end of the hours asked for.")
    hourly: list[float] = Field(
        description="The same for the end of each of the 48 hours from `made_at` on; it never falls."
    )
    made_at: datetime = Field(description="The moment from which the hours count.")
    runs_out_at: datetime | None = Field(
        description="When it is as likely as not that nothing is left; null if that is later, or already so."
    )
    shelf: float
    backroom: float
    in_transit: float
    on_order: float
    expected_48h: float = Field(description="Units expected to be asked for in 48 hours.")
    lost_48h: float = Field(description="Those of them that will not be there, on the mean.")
    order_quantity: float = Field(description="What to order today.")
    supplier: str
    category: str
    model: str = Field(description="What made the forecast.")
    alert: StockoutAlert | None


class Stockouts(BaseModel):
    """What may run out in a shop, that first which costs most sales."""

    store_id: str
    hours: int
    stockouts: list[Stockout]


def tasks(rows: list[Row]) -> list[Task]:
    """The tasks of rows, in the order in which they are to be done. An article may be both to be filled and to be ordered."""
    found = [task for row in rows for task in _tasks(row)]
    return sorted(found, key=lambda task: ORDER.index(task.action))


def _tasks(row: Row) -> list[Task]:
    made = []
    # Somebody may have filled the shelf since it was worked out.
    fills = row["is_known"] and row["fill_quantity"] > 0 and row["backroom"] > 0 and row["shelf"] <= row["shelf_then"]
    if row["gap"] == "FILL_SHELF" or fills:
        quantity = min(row["fill_quantity"], row["backroom"]) if fills else None
        reason = (
            row["fill_reason"] if fills else f"The shelf is empty and {row['backroom']:g} are in the back: fill it."
        )
        made.append(_task(row, "FILL_SHELF", reason, quantity))
    if row["gap"] == "COUNT":
        made.append(_task(row, "COUNT", _why_count(row), None))
    coming = row["in_transit"] + row["on_order"]
    if row["is_known"] and row["order_quantity"] > 0:
        made.append(_task(row, "ORDER", row["order_reason"], row["order_quantity"]))
    elif row["gap"] == "ORDER" and not (row["is_known"] and coming > 0):
        on_the_way = f"; {coming:g} are on their way" if coming > 0 else ""
        reason = f"Neither the shelf nor the back has any{on_the_way}: order it."
        made.append(_task(row, "ORDER", row["order_reason"] or reason, 0.0 if row["order_reason"] else None))
    return made


def _task(row: Row, action: Action, reason: str, quantity: float | None) -> Task:
    is_order = action == "ORDER" and bool(quantity)
    return Task(
        sku=row["sku"],
        action=action,
        since=row["gap_since"] if row["gap"] == action else row["made_at"],
        shelf=row["shelf"],
        backroom=row["backroom"],
        in_transit=row["in_transit"],
        sales_per_hour=row["sales_per_hour"],
        reason=reason,
        quantity=quantity,
        packs=row["packs"] if is_order else None,
        pack=row["pack"] if is_order else None,
        on_order=row["on_order"],
        supplier=row["supplier"],
        stockout_probability=round(row["risk_48h"], 3) if row["is_known"] else None,
    )


def _why_count(row: Row) -> str:
    if row["seen_missing"] and row["shelf"] > 0:
        return f"A photo of the shelf shows none, and the ledger holds {row['shelf']:g}: count it."
    return f"The ledger holds {min(row['shelf'], row['backroom']):g}, which cannot be: count it."


def stockout(row: Row, hours: int) -> Stockout:
    """What may run out, of a row of ``queries.stockouts``."""
    hourly = [round(value, 3) for value in row["risk"]]
    alert = None
    if row["anomaly_id"]:
        alert = StockoutAlert(anomaly_id=row["anomaly_id"], severity=row["severity"], detected_at=row["detected_at"])
    told = {name: row[name] for name in Stockout.model_fields if name in row}
    return Stockout(**told, probability=hourly[hours - 1], hourly=hourly, alert=alert)
