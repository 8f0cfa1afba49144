"""What the stock workers only bring to ClickHouse: facts whose rows follow from one record alone.

The tables replace rows of one key, so a record that comes again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import ROUND_HALF_UP
from typing import Any, NamedTuple

from schemas import topics
from schemas.events import DemandForecast, ForecastQuantiles, Product
from schemas.reading import MONEY_STEP, epoch_ms

Row = tuple[Any, ...]


class Kept(NamedTuple):
    """Where the records of a topic go. ``rows`` makes rows of one event and the moment in which Kafka took it, milliseconds
    since 1970.
    """

    table: str
    columns: tuple[str, ...]
    rows: Callable[[Any, int], list[Row]]


QUANTILES = tuple(ForecastQuantiles.model_fields)
FORECAST_COLUMNS = (
    *("event_id", "store_id", "sku", "day", "made_at", "mean", *QUANTILES, "model", "model_version", "reason"),
    *("history_end", "history_days", "scale", "backtest_days", "backtest_errors", "warnings", "received_at"),
)


def forecast_rows(forecast: DemandForecast, arrived: int) -> list[Row]:
    """A forecast as rows of ``forecasts``, one a day."""
    quantiles = [getattr(forecast.quantiles, name) for name in QUANTILES]
    # A forecast that does not say what it knows is taken to know all days before it.
    known_until = forecast.history_end or forecast.start - timedelta(days=1)
    return [
        (
            *(forecast.event_id.lower(), forecast.store_id, forecast.sku),
            (forecast.start + timedelta(days=number)).isoformat(),
            *(epoch_ms(forecast.timestamp) / 1000, mean, *(values[number] for values in quantiles)),
            *(forecast.model, forecast.model_version, forecast.reason, known_until.isoformat()),
            *(forecast.history_days, forecast.scale, forecast.backtest_days, forecast.backtest_errors),
            *(forecast.warnings, arrived / 1000),
        )
        for number, mean in enumerate(forecast.mean)
    ]


PRODUCT_COLUMNS = ("sku", "name", "category", "gtin", "unit", "pack", "timestamp", "received_at")


def product_rows(product: Product, arrived: int) -> list[Row]:
    """An article of the catalogue as a row of ``products``."""
    pack = product.pack.quantize(MONEY_STEP, rounding=ROUND_HALF_UP)
    return [
        (
            *(product.sku, product.name, product.category, product.gtin or "", product.unit, f"{pack:f}"),
            *(epoch_ms(product.timestamp) / 1000, arrived / 1000),
        )
    ]


KEPT: dict[str, Kept] = {
    topics.FORECASTS.name: Kept("forecasts", FORECAST_COLUMNS, forecast_rows),
    topics.PRODUCTS.name: Kept("products", PRODUCT_COLUMNS, product_rows),
}
"""By topic."""
