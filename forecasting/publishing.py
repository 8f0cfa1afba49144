"""An answer as the event that goes on the topic ``forecasts``."""

from __future__ import annotations

import uuid
from datetime import datetime

import numpy as np

from forecasting.drift import WINDOW, WINDOWS
from forecasting.series import Days
from forecasting.service import Answer
from schemas.events import DemandForecast, ForecastQuantiles
from schemas.reading import epoch_ms

NAMESPACE = uuid.UUID("0b9a5a3a-44c5-5f0c-9c1e-31d1ad0cf9a6")

MOST = 1e9
"""Units a day that an event may hold."""


def event_of(answer: Answer, store_id: str, sku: str, made_at: datetime) -> DemandForecast:
    """The event. Of one shop, article and moment there is one: made again it has the same id."""
    forecast, tested = answer.forecast, answer.backtest
    moment = made_at.replace(microsecond=made_at.microsecond // 1000 * 1000)
    levels = (forecast.quantiles[level] for level in sorted(forecast.quantiles))
    return DemandForecast(
        event_id=str(uuid.uuid5(NAMESPACE, f"{store_id}|{sku}|{epoch_ms(moment)}")),
        store_id=store_id,
        timestamp=moment,
        sku=sku,
        start=forecast.start,
        mean=_rounded(forecast.mean),
        quantiles=ForecastQuantiles(
            **{name: _rounded(values) for name, values in zip(ForecastQuantiles.model_fields, levels, strict=True)}
        ),
        model=forecast.model[:128],
        model_version=answer.version,
        reason=forecast.reason[:500],
        history_end=answer.history_end,
        history_days=answer.history_days,
        scale=0.0 if tested is None else round(tested.scale, 4),
        backtest_days=0 if tested is None else min(WINDOW, tested.days),
        backtest_errors=[] if tested is None else [round(error, 4) for error in tested.errors(WINDOW)[-WINDOWS:]],
        warnings=[warning[:300] for warning in answer.warnings[:20]],
    )


def _rounded(values: Days) -> list[float]:
    return [float(value) for value in np.round(np.clip(values, 0.0, MOST), 4)]
