"""The history that a forecast is made from: sent with the request, or the shop's own."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from api.database import Database
from api.forecasts import queries
from api.forecasts.asked import PredictRequest
from api.forecasts.predictor import Predictor
from api.problems import ProblemError
from api.stores import queries as store_queries
from api.stores.known import Store
from schemas.layouts import StoreCalendar
from schemas.reading import epoch_ms

if TYPE_CHECKING:
    from forecasting.history import History
    from forecasting.service import Question


async def question(database: Database, predictor: Predictor, wanted: PredictRequest) -> Question:
    """What the models are asked.

    Raises:
        ProblemError: 404, the shop has never sold the product.
        UnavailableError: its sales are wanted and ClickHouse is away.
    """
    if wanted.history is not None:
        return await predictor.run(lambda: _sent(wanted))
    assert wanted.store_id is not None  # the request was checked
    return _asked(wanted, await shop_history(database, predictor, wanted.store_id, wanted.product_id))


async def shop_history(database: Database, predictor: Predictor, store_id: str, sku: str) -> History:
    """A shop's sales of a product until yesterday.

    Raises:
        ProblemError: 404, it has never sold any.
    """
    await predictor.ready()
    from forecasting import sales

    calendar = await calendar_of(database, store_id)
    today = calendar.business_day(epoch_ms(datetime.now(UTC)))
    bound = sales.bound(store_id, calendar.zone.key, today, sku)
    rows = await database.rows(sales.SALES, bound)
    opened = [row["day"] for row in await database.rows(sales.OPEN_DAYS, bound)]
    kinds = await database.rows(queries.CATEGORY, {"sku": sku})
    special = {day: one.name or "special day" for day, one in calendar.special_days.items()}
    categories = {sku: kinds[0]["category"]} if kinds else {}
    yesterday = today - timedelta(days=1)
    found = await predictor.run(
        lambda: sales.histories(rows, opened, yesterday, special_days=special, categories=categories)
    )
    if not found:
        raise ProblemError(
            404, "This shop has no sales of this product before today; check both, or send historicalData."
        )
    return found[0]


async def calendar_of(database: Database, store_id: str) -> StoreCalendar:
    """A shop's calendar. One that sends movements only has no layout and no events: its days are then those of UTC."""
    row = await store_queries.store(database, store_id)
    return Store.from_row(row).calendar if row else StoreCalendar(store_id)


async def today_of(database: Database, store_id: str) -> date:
    """The shop's business day of now."""
    return (await calendar_of(database, store_id)).business_day(epoch_ms(datetime.now(UTC)))


def _sent(wanted: PredictRequest) -> Question:
    from forecasting.history import Point, to_series

    points = [
        Point(one.date, one.quantity, one.promotion, one.price, bool(one.stock_out)) for one in wanted.history or ()
    ]
    return _asked(wanted, to_series(wanted.product_id, points, category=wanted.category))


def _asked(wanted: PredictRequest, history: History) -> Question:
    from forecasting.service import Question

    features = wanted.features
    warnings = history.warnings
    unknown = sorted(features.__pydantic_extra__ or ()) if features else []
    if unknown:
        warnings = (*warnings, f"features that are not known change nothing: {', '.join(unknown)[:200]}")
    return Question(
        history.series,
        wanted.forecast_horizon,
        season=(features.seasonality or "") if features else "",
        promotion=features.promotion_active if features else None,
        price=features.price if features else None,
        warnings=warnings,
    )
