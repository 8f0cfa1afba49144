"""A question as it was understood: a measure, by what, of what, when, and how many of the largest or smallest."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Dimension = Literal["shop", "day", "weekday", "hour", "zone", "sku", "category"]
Action = Literal["FILL_SHELF", "ORDER", "COUNT"]
MOST_ROWS = 1000

Names = Annotated[tuple[Annotated[str, Field(max_length=256)], ...], Field(max_length=500)]


class Query(BaseModel):
    """What is asked of the measures. Whoever makes one (the parser, or a model) gives nothing else to the SQL.

    Days are business days: each shop's own, both included. ``at`` is for balances only: the moment at which they are asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: str = Field(description="Name of the measure.")
    by: Annotated[tuple[Dimension, ...], Field(max_length=2)] = Field((), description="One row for each of these.")
    stores: Names = Field((), description="Only these shops, by store_id; empty: all.")
    skus: Names = Field((), description="Only these articles, by SKU.")
    categories: Names = Field((), description="Only articles of these categories.")
    zones: Names = Field((), description="Only these zones, by zone_id.")
    action: Action | None = Field(None, description="Of what is to be done: only this.")
    from_day: date | None = Field(None, description="First business day.")
    to_day: date | None = Field(None, description="Last business day.")
    from_hour: Annotated[int, Field(ge=0, le=23)] | None = Field(None, description="From this hour of the day on.")
    to_hour: Annotated[int, Field(ge=1, le=24)] | None = Field(None, description="Before this hour of the day.")
    since: datetime | None = Field(None, description="Instead of days: from this moment on, to now.")
    at: datetime | None = Field(None, description="Balances as of this moment; empty: now.")
    ahead_hours: Annotated[int, Field(ge=1, le=48)] | None = Field(
        None, description="Of what will run out: within so many hours from now."
    )
    order: Literal["most", "least"] | None = Field(None, description="Largest or smallest first.")
    top: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = Field(None, description="Only so many.")
    count: bool = Field(False, description="Of a list: how many there are, not which.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.from_day is None) != (self.to_day is None):
            raise ValueError("from_day and to_day belong together")
        if self.from_day is not None and self.to_day is not None and self.from_day > self.to_day:
            raise ValueError("from_day lies after to_day")
        if (self.from_hour is None) != (self.to_hour is None):
            raise ValueError("from_hour and to_hour belong together")
        if self.from_hour is not None and self.to_hour is not None and self.from_hour >= self.to_hour:
            raise ValueError("from_hour lies after to_hour")
        if self.since is not None and (self.from_day is not None or self.from_hour is not None):
            raise ValueError("since stands instead of days and hours")
        for moment in (self.since, self.at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("a moment needs an offset")
        if len(set(self.by)) != len(self.by):
            raise ValueError("by names something twice")
        return self
