"""What a forecast is asked with, and how it is read."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from api.problems import ProblemError
from schemas.events import MAX_HORIZON_DAYS, Name, StoreId

MOST_POINTS = 10_000
MOST_DAYS = 2_000
MOST_PRODUCTS = 500
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_BATCH_BYTES = 16 * 1024 * 1024
MOST_FAULTS = 20
_EARLIEST, _LATEST = dt.date(2000, 1, 1), dt.date(2099, 12, 31)


def _whole(value: object) -> object:
    """7.0 is a whole number too, and in JSON the same as 7."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class SalesPoint(_Asked):
    """What was sold on a day. Several points of one day are added up; other keys are ignored."""

    date: Annotated[dt.date, Field(json_schema_extra={"examples": ["2026-03-01"]})]
    quantity: float = Field(ge=-(10**9), le=10**9, description="Units sold; negative for what came back.")
    promotion: bool | None = Field(
        None,
        validation_alias=AliasChoices("promotion", "promotion_active"),
        description="Whether it was promoted that day; also as `promotion_active`.",
    )
    price: float | None = Field(None, gt=0, le=10**9, description="Price of a unit that day.")
    stock_out: bool | None = Field(
        None, description="The shelf was empty for some of the day: what was sold is less than what was wanted."
    )

    @field_validator("date")
    @classmethod
    def _within_reason(cls, value: dt.date) -> dt.date:
        if not _EARLIEST <= value <= _LATEST:
            raise ValueError("must lie between 2000-01-01 and 2099-12-31")
        return value


class Features(_Asked):
    """What is known of the days to come."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    seasonality: Annotated[str, Field(max_length=64)] | None = Field(
        None,
        description="`peak` or `off-peak`: the season of the days to come. Other words change nothing, with a warning.",
    )
    promotion_active: bool | None = Field(
        None, description="Whether the days to come are promoted; absent: as often as the last eight weeks were."
    )
    price: float | None = Field(
        None, gt=0, le=10**9, description="Price of a unit in the days to come; absent: the last one of the history."
    )


class PredictRequest(_Asked):
    """A product, its sales so far, and for how many days its demand is wanted."""

    product_id: Name = Field(alias="productId", description="The product; the SKU of published forecasts.")
    history: Annotated[list[SalesPoint], Field(min_length=1, max_length=MOST_POINTS)] | None = Field(
        None,
        alias="historicalData",
        description=f"Sales in any order, of at most {MOST_DAYS:,} days. Without it, `store_id` says whose sales are meant.",
    )
    features: Features | None = None
    forecast_horizon: Annotated[
        int, BeforeValidator(_whole), Field(ge=1, le=MAX_HORIZON_DAYS, description="Days to forecast.")
    ] = 7
    store_id: StoreId | None = Field(
        None, description="A shop: with no historicalData, its own sales of the product, as ClickHouse has them."
    )
    category: Annotated[str, Field(max_length=128)] = Field("", description="The product's category.")
    model: Annotated[str, Field(max_length=64)] = Field(
        "", description="One of `GET /api/v1/models`; empty leaves the choice to the product's own backtest."
    )
    publish: bool = Field(False, description="Also publish it on the topic `forecasts`, for the shop `store_id`.")

    @model_validator(mode="after")
    def _makes_sense(self) -> PredictRequest:
        if self.history is None and self.store_id is None:
            raise _Fault("historicalData", "is needed, or the store_id of a shop whose sales of the product are known")
        if self.publish and self.store_id is None:
            raise _Fault("store_id", "is needed to publish a forecast: it belongs to a shop")
        if self.history and (days := len({point.date for point in self.history})) > MOST_DAYS:
            raise _Fault("historicalData", f"covers {days:,} days; send the newest {MOST_DAYS:,} at most")
        return self


class _Fault(ValueError):
    """A fault of a field that its own limits cannot say."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class BatchRequest(BaseModel):
    """Many products at once; each is judged alone."""

    requests: Annotated[list[PredictRequest], Field(min_length=1, max_length=MOST_PRODUCTS)]


class Fault(BaseModel):
    """Why a product of a batch got no forecast."""

    index: int = Field(ge=0, description="Its position in the request.")
    product_id: str | None = Field(alias="productId", description="Its id, if it could be read.")
    field: str = Field(description="Where the fault is; empty for the whole item.")
    reason: str


def read(body: bytes) -> PredictRequest:
    """A request.

    Raises:
        ProblemError: 400, not JSON; 422, with every field at fault.
    """
    try:
        return PredictRequest.model_validate_json(body)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise not_json(error) from None
        found = faults(error)
        detail = "; ".join(f"{one['field']}: {one['reason']}" if one["field"] else one["reason"] for one in found)
        raise ProblemError(422, detail, errors=found) from None


def not_json(error: ValidationError) -> ProblemError:
    """The problem of a body that is no JSON."""
    reason = error.errors(include_url=False, include_input=False)[0]["msg"]
    return ProblemError(400, f"The body is not JSON: {reason}"[:300])


def faults(error: ValidationError) -> list[dict[str, str]]:
    """What is wrong, field by field, in words for the person who sent it."""
    found = []
    for one in error.errors(include_url=False, include_input=False)[:MOST_FAULTS]:
        cause = one.get("ctx", {}).get("error")
        where = cause.field if isinstance(cause, _Fault) else ".".join(map(str, one["loc"]))
        found.append({"field": where[:200], "reason": str(one["msg"]).removeprefix("Value error, ")[:300]})
    return found
