"""What a forecast says."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from api.forecasts.asked import Fault

if TYPE_CHECKING:
    from forecasting.service import Answer
    from forecasting.service import Backtest as Tested


class Quantiles(BaseModel):
    """Demand of a day with its probability: with that of the name (``q025`` is 2.5 %) it is at most so much."""

    q025: float
    q100: float
    q250: float
    q500: float
    q750: float
    q900: float
    q975: float


class DailyPrediction(BaseModel):
    """One day."""

    date: dt.date
    predicted_quantity: float = Field(ge=0, description="Expected units.")
    quantiles: Quantiles = Field(description="q100 to q900 is the 80 % interval, q025 to q975 the 95 % one.")


class EffectAnswer(BaseModel):
    """Something that changes demand, and by how much."""

    name: str = Field(description="`promotion`, `price` or `seasonality`.")
    factor: float = Field(gt=0, description="A day under it sells so many times what it would otherwise.")
    units: float = Field(description="By how many units it changes the predicted total.")
    shown: bool = Field(description="Whether the history shows it at all; if not, the factor is 1.")
    history_days: int = Field(ge=0, description="Days of history that it rests on.")
    note: str = Field(description="The same in words.")


class Backtest(BaseModel):
    """How the same model did on this product's own past, each window forecast from the days before it only."""

    windows: int = Field(ge=1)
    days: int = Field(ge=1, description="Days of a window.")
    mae: float = Field(ge=0, description="Mean absolute error, units a day.")
    mase: float | None = Field(description="The same over that of 'as a week ago' on the history; below 1 is better.")
    wape: float | None = Field(description="Absolute errors over units sold; null if nothing was sold.")
    bias: float | None = Field(description="Predicted less sold, over sold: above 0 it predicts too much.")
    coverage_80: float | None = Field(
        description="Share of days within the 80 % interval; null if too few windows were left to see."
    )
    coverage_95: float | None = Field(
        description="Share of days within the 95 % interval; null if too few windows were left to see."
    )

    @classmethod
    def of(cls, tested: Tested) -> Backtest:
        """As the answer has it."""
        return cls(
            windows=len(tested.errors()),
            days=tested.days,
            mae=round(tested.mae, 4),
            mase=None if tested.mase is None else round(tested.mase, 4),
            wape=None if tested.wape is None else round(tested.wape, 4),
            bias=None if tested.bias is None else round(tested.bias, 4),
            coverage_80=None if tested.coverage_80 is None else round(tested.coverage_80, 4),
            coverage_95=None if tested.coverage_95 is None else round(tested.coverage_95, 4),
        )


class PredictResponse(BaseModel):
    """Demand of a product, day by day, with its uncertainty, and what to know of it."""

    product_id: str = Field(alias="productId")
    predicted_total_quantity: float = Field(ge=0, description="Expected units of all days: the sum of the days below.")
    forecast_range_start: dt.date = Field(description="The first day: the one after the last day of the history.")
    forecast_range_end: dt.date = Field(description="The last day.")
    confidence_score: float = Field(
        ge=0,
        le=1,
        description="Probability that the total sold will be within 20 % (or one unit) of predicted_total_quantity: the share of "
        "backtest windows in which it was, what the forecast's spread says counting as twelve more.",
    )
    daily_predictions: list[DailyPrediction]
    model: str = Field(description="What made the forecast.")
    model_version: str = Field(description="Its version, if it is a trained model; else empty.")
    reason: str = Field(description="Why this model.")
    effects: list[EffectAnswer] = Field(
        description="What was known of the days to come, and by how much it changes them."
    )
    backtest: Backtest | None = Field(description="Null where the history is too short for one.")
    warnings: list[str] = Field(description="What to know before relying on it.")
    published: str | None = Field(description="event_id on the topic `forecasts`, if it was published.")

    @classmethod
    def of(cls, product_id: str, answer: Answer, published: str | None) -> PredictResponse:
        """The answer as it is sent: figures with two decimals, so that the days add up to the total."""
        forecast = answer.forecast
        means = [round(float(value), 2) for value in forecast.mean]
        levels = list(zip(*(forecast.quantiles[level] for level in sorted(forecast.quantiles)), strict=True))
        names = list(Quantiles.model_fields)
        return cls(
            productId=product_id,
            predicted_total_quantity=round(sum(means), 2),
            forecast_range_start=forecast.start,
            forecast_range_end=forecast.start + dt.timedelta(days=len(means) - 1),
            confidence_score=round(answer.confidence, 2),
            daily_predictions=[
                DailyPrediction(
                    date=forecast.start + dt.timedelta(days=number),
                    predicted_quantity=mean,
                    quantiles=Quantiles(
                        **{name: round(float(value), 2) for name, value in zip(names, levels[number], strict=True)}
                    ),
                )
                for number, mean in enumerate(means)
            ],
            model=forecast.model,
            model_version=answer.version,
            reason=forecast.reason,
            effects=[
                EffectAnswer(
                    name="seasonality" if moved.effect.name == "season" else moved.effect.name,
                    factor=round(moved.effect.factor, 4),
                    units=round(moved.units, 2),
                    shown=moved.effect.shown,
                    history_days=moved.effect.days,
                    note=moved.effect.note,
                )
                for moved in answer.moved
            ],
            backtest=None if answer.backtest is None else Backtest.of(answer.backtest),
            warnings=list(answer.warnings),
            published=published,
        )


class BatchResponse(BaseModel):
    """The forecasts of a batch in the order of its requests, and what was refused."""

    predictions: list[PredictResponse]
    errors: list[Fault]


class ServedModel(BaseModel):
    """A model that answers."""

    name: str
    kind: Literal["statistical", "trained"]
    version: str | None = Field(description="Of a trained model.")
    served_since: dt.datetime = Field(
        description="When it was promoted; for one that is not trained, when this server began."
    )
    trained_at: dt.datetime | None
    horizon: int = Field(ge=1, description="Days ahead, at most.")
    scores: dict[str, float] = Field(
        description="On the window held out from its training, by name; empty if it is not trained."
    )
    trained_on: dict[str, str | int] = Field(description="Fingerprint, series, days, first and last day of its sales.")


class Models(BaseModel):
    """What is served now."""

    models: list[ServedModel]
    warnings: list[str] = Field(description="Why a trained model is not served, where one should be.")
