"""What the stock workers only bring to ClickHouse: facts whose rows follow from one record alone.

The tables replace rows of one key, so a record that comes again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import ROUND_HALF_UP
from typing import Any, NamedTuple

from schemas import topics
from schemas.events import (
    AccuracyLine,
    DemandForecast,
    ForecastAccuracy,
    ForecastQuantiles,
    Order,
    OutlookLine,
    Product,
    Question,
    StockOutlook,
)
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


ACCURACY_FIELDS = tuple(name for name in AccuracyLine.model_fields if name != "sku")
ACCURACY_COLUMNS = ("store_id", "sku", "day", "made_at", "forecasts", *ACCURACY_FIELDS, "received_at")


def accuracy_rows(accuracy: ForecastAccuracy, arrived: int) -> list[Row]:
    """How forecasts did, as rows of ``forecast_accuracy``, one an article and one for the shop."""
    return [
        (
            *(accuracy.store_id, line.sku or "", accuracy.day.isoformat(), epoch_ms(accuracy.timestamp) / 1000),
            *(accuracy.forecasts, *(getattr(line, name) for name in ACCURACY_FIELDS), arrived / 1000),
        )
        for line in accuracy.lines
    ]


ORDER_COLUMNS = (
    *("event_id", "store_id", "order_id", "timestamp", "supplier_id", "status", "expected_at", "sku", "quantity"),
    *("unit_price", "received_at"),
)


def order_rows(order: Order, arrived: int) -> list[Row]:
    """What is said of an order, as a row of ``orders``."""
    expected = None if order.expected_at is None else epoch_ms(order.expected_at) / 1000
    return [
        (
            *(order.event_id.lower(), order.store_id, order.order_id, epoch_ms(order.timestamp) / 1000),
            *(order.supplier_id, order.status, expected),
            [line.sku for line in order.lines],
            [f"{line.quantity:.4f}" for line in order.lines],
            [None if line.unit_price is None else f"{line.unit_price:.4f}" for line in order.lines],
            arrived / 1000,
        )
    ]


OUTLOOK_FIELDS = tuple(name for name in OutlookLine.model_fields if name != "runs_out_at")
OUTLOOK_COLUMNS = ("store_id", "made_at", *OUTLOOK_FIELDS, "runs_out_at", "received_at")


def outlook_rows(outlook: StockOutlook, arrived: int) -> list[Row]:
    """An outlook as rows of ``stock_outlook``, one an article."""
    made_at = epoch_ms(outlook.timestamp) / 1000
    return [
        (
            *(outlook.store_id, made_at, *(getattr(line, name) for name in OUTLOOK_FIELDS)),
            None if line.runs_out_at is None else epoch_ms(line.runs_out_at) / 1000,
            arrived / 1000,
        )
        for line in outlook.lines
    ]


QUESTION_COLUMNS = (
    *("event_id", "timestamp", "asked_by", "question", "shops", "outcome", "source", "understood", "sql", "parameters"),
    *("rows", "took_ms", "received_at"),
)


def question_rows(asked: Question, arrived: int) -> list[Row]:
    """A question as a row of ``question_log``."""
    return [
        (
            *(asked.event_id.lower(), epoch_ms(asked.timestamp) / 1000, asked.asked_by, asked.question, asked.shops),
            *(asked.outcome, asked.source, asked.understood, asked.sql, asked.parameters, asked.rows, asked.took_ms),
            arrived / 1000,
        )
    ]


KEPT: dict[str, Kept] = {
    topics.FORECASTS.name: Kept("forecasts", FORECAST_COLUMNS, forecast_rows),
    topics.FORECAST_ACCURACY.name: Kept("forecast_accuracy", ACCURACY_COLUMNS, accuracy_rows),
    topics.PRODUCTS.name: Kept("products", PRODUCT_COLUMNS, product_rows),
    topics.QUESTIONS.name: Kept("question_log", QUESTION_COLUMNS, question_rows),
    topics.ORDERS.name: Kept("orders", ORDER_COLUMNS, order_rows),
    topics.STOCK_OUTLOOK.name: Kept("stock_outlook", OUTLOOK_COLUMNS, outlook_rows),
}
"""By topic."""
