"""The forecasts of every shop and article, once its day is over; and how the ones before did. ``aisleflow forecast``.

Sales come out of ClickHouse, forecasts go on the log, and the workers bring them to ClickHouse. The run of a shop ends with its
accuracy: a shop whose newest accuracy knows of yesterday is done. So a run that was cut off is made again.
"""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaError, KafkaException

from aisleflow import log
from aisleflow.clients import LastingProducer, clickhouse_client, kafka_producer, produce, raise_on
from aisleflow.settings import Settings
from forecasting import drift, sales
from forecasting.drift import Accuracy, Live
from forecasting.publishing import event_of
from forecasting.series import Series
from forecasting.service import Question
from forecasting.serving import Serving
from schemas import topics
from schemas.events import AccuracyLine, ForecastAccuracy, dump
from schemas.layouts import StoreCalendar
from schemas.reading import epoch_ms, stored_layout

HORIZON = 28
"""Days from today on that are forecast."""
AT_ONCE = 200
"""Series that a model is asked for at once: enough for its speed, few enough for memory."""
LOOK_EVERY_S = 60.0
LINES = 400
SETTLING = timedelta(minutes=30)
"""After midnight, what tills send late may still come."""
ACCURACY_NAMESPACE = uuid.UUID("2d1f6f0e-7f3a-5b0e-8a52-6c1b7f1f3d11")

logger = log.get(__name__)

_STORES = """
SELECT sold.store_id AS store_id, layouts.layout AS layout
FROM (SELECT DISTINCT store_id FROM stock_movements WHERE kind = 'SALE') AS sold
LEFT JOIN (SELECT store_id, layout FROM store_layouts FINAL) AS layouts USING (store_id)
ORDER BY store_id
"""
_CATEGORIES = "SELECT sku, category FROM products FINAL WHERE category != ''"
_DONE = "SELECT store_id, max(day) AS day FROM forecast_accuracy WHERE sku = '' GROUP BY store_id"
_DRIFTING = """
SELECT sku, argMax(drifts, made_at) AS drifts FROM forecast_accuracy
WHERE store_id = {store_id:String} AND day >= {since:Date} GROUP BY sku HAVING drifts
"""
# The forecast that was made just before the window: of those that knew no day of it, the one that knew most.
_PUBLISHED = """
SELECT sku, groupArray((day_number, told.1, told.2, told.3)) AS days, any(told.4) AS scale, any(told.5) AS errors
FROM (
    SELECT sku, toUInt16(day) AS day_number,
        argMax((mean, q025, q975, forecasts.scale, backtest_errors), (history_end, made_at)) AS told
    FROM forecasts
    WHERE store_id = {store_id:String} AND day >= {first:Date} AND day <= {last:Date} AND history_end < {first:Date}
      AND backtest_days = {window:UInt8}
    GROUP BY sku, day_number
    ORDER BY sku, day_number
)
GROUP BY sku
"""


@dataclass(frozen=True)
class Run:
    """What a shop's run did."""

    store_id: str
    last_day: date
    forecasts: int
    drifting: int
    seconds: float

    @property
    def told(self) -> str:
        """The same in a line for people."""
        drifting = f", {self.drifting} of them drift" if self.drifting else ""
        return f"{self.store_id}: {self.forecasts:,} articles forecast from sales until {self.last_day} in {self.seconds:.1f} s{drifting}"


def due(
    client: Client, now: datetime, *, again: bool = False, only: str | None = None
) -> Iterator[tuple[StoreCalendar, date]]:
    """Shops to forecast, with their business day of today: those of which no run knows yesterday.

    Args:
        now: the present moment.
        again: also those that are done.
        only: this shop alone.
    """
    done = _pairs(client, _DONE)
    for store_id, layout in client.query(_STORES).result_rows:
        if only is not None and store_id != only:
            continue
        calendar = StoreCalendar(store_id, stored_layout(layout) if layout else None)
        today = calendar.business_day(epoch_ms(now - SETTLING))
        opened = _open_days(client, sales.bound(store_id, calendar.zone.key, today))
        if not opened or (today - opened[-1]).days > sales.LONG_SILENT_DAYS:
            continue
        if again or done.get(store_id, date.min) < today - timedelta(days=1):
            yield calendar, today


def run(
    settings: Settings,
    client: Client,
    producer: LastingProducer,
    serving: Serving,
    calendar: StoreCalendar,
    today: date,
    horizon: int = HORIZON,
    model: str = "",
) -> Run:
    """Forecast all that a shop sells and publish it; then say how the forecasts of a week ago did.

    Raises:
        KafkaException: Kafka did not take a forecast; run again.
    """
    began, made_at = time.monotonic(), datetime.now(UTC)
    store_id = calendar.store_id
    bound = sales.bound(store_id, calendar.zone.key, today)
    opened = _open_days(client, bound)
    yesterday = today - timedelta(days=1)
    found = sales.histories(
        _rows(client, sales.SALES, bound),
        opened,
        yesterday,
        special_days={day: one.name or "special day" for day, one in calendar.special_days.items()},
        categories=_pairs(client, _CATEGORIES),
    )
    published = 0
    for number in range(0, len(found), AT_ONCE):
        part = found[number : number + AT_ONCE]
        questions = [Question(one.series, horizon, warnings=one.warnings) for one in part]
        for history, answer in zip(part, serving.answer(questions, model, thorough=True), strict=True):
            _publish(
                settings,
                producer,
                topics.FORECASTS.name,
                store_id,
                dump(event_of(answer, store_id, history.series.key, made_at)),
            )
            published += 1
    accuracies = _accuracies(client, store_id, [one.series for one in found], yesterday)
    for event in accuracy_events(store_id, yesterday, made_at, accuracies, published):
        _publish(settings, producer, topics.FORECAST_ACCURACY.name, store_id, dump(event))
    if left := producer.flush(30):
        raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, f"Kafka did not take {left} records in 30 s"))
    drifting = sum(one.drifts for one in accuracies.values())
    done = Run(store_id, yesterday, published, drifting, time.monotonic() - began)
    logger.info(
        "forecasts_published", store_id=store_id, last_day=str(done.last_day), forecasts=published, drifting=drifting
    )
    return done


def accuracy_events(
    store_id: str, day: date, made_at: datetime, accuracies: Mapping[str, Accuracy], forecasts: int
) -> Iterator[ForecastAccuracy]:
    """Events of the accuracies by SKU, the shop's own ("") in the last one, which comes even if there is nothing to tell."""
    lines = [line_of(sku, one) for sku, one in sorted(accuracies.items()) if sku]
    shop = line_of("", accuracies[""]) if "" in accuracies else AccuracyLine(sku=None)
    lines.append(shop)
    for number in range(0, len(lines), LINES):
        yield ForecastAccuracy(
            event_id=str(uuid.uuid5(ACCURACY_NAMESPACE, f"{store_id}|{day}|{epoch_ms(made_at)}|{number}")),
            store_id=store_id,
            timestamp=made_at.replace(microsecond=made_at.microsecond // 1000 * 1000),
            day=day,
            forecasts=forecasts,
            lines=lines[number : number + LINES],
        )


def line_of(sku: str, one: Accuracy) -> AccuracyLine:
    """An accuracy as a line of its event."""
    return AccuracyLine(
        sku=sku or None,
        days=one.days,
        error=round(one.error, 4),
        usual_error=round(one.usual, 4),
        highest_error=round(one.highest, 4),
        scale=round(one.scale, 4),
        bias=round(one.bias, 4),
        outside=one.outside,
        chance=min(one.chance, 1.0),
        drifts=one.drifts,
    )


def live_of(
    series: Series, rows: Sequence[tuple[int, float, float, float]], scale: float, errors: Sequence[float]
) -> Live:
    """What was forecast (day as days since 1970, mean and 95 % interval) beside what was sold."""
    epoch = date(1970, 1, 1)
    at = [(epoch + timedelta(days=day) - series.start).days for day, *_ in rows]
    sold = [series.quantity[place] if 0 <= place < len(series.quantity) else np.nan for place in at]
    mean, low, high = np.array([row[1:] for row in rows], dtype=float).T
    return Live(mean, low, high, np.array(sold, dtype=float), tuple(errors), scale)


def _accuracies(client: Client, store_id: str, found: Sequence[Series], last: date) -> dict[str, Accuracy]:
    """By SKU, and "" for the shop: how the forecasts made before the last seven days did."""
    by_sku = {one.key: one for one in found}
    bound = {
        "store_id": store_id,
        "first": last - timedelta(days=drift.WINDOW - 1),
        "last": last,
        "window": drift.WINDOW,
    }
    lives = {
        row["sku"]: live_of(by_sku[row["sku"]], row["days"], row["scale"], row["errors"])
        for row in _rows(client, _PUBLISHED, bound)
        if row["sku"] in by_sku
    }
    since = last - timedelta(days=2 * drift.WINDOW)
    drifting = {row["sku"] for row in _rows(client, _DRIFTING, {"store_id": store_id, "since": since})}
    judged = {sku: drift.of_product(live, len(lives), sku in drifting) for sku, live in lives.items()}
    told = {sku: one for sku, one in judged.items() if one is not None}
    shop = drift.of_shop(lives, told, "" in drifting)
    return told if shop is None else {**told, "": shop}


def _open_days(client: Client, bound: Mapping[str, Any]) -> list[date]:
    return [row[0] for row in client.query(sales.OPEN_DAYS, dict(bound)).result_rows]


def _pairs(client: Client, query: str) -> dict[str, Any]:
    rows: Any = client.query(query).result_rows
    return dict(rows)


def _rows(client: Client, query: str, bound: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(client.query(query, dict(bound)).named_results())


def _publish(settings: Settings, producer: LastingProducer, topic: str, store_id: str, value: bytes) -> None:
    produce(producer, settings.topic_prefix + topic, value, store_id, on_delivery=lambda error, _: raise_on(error))
    producer.poll(0)


def forecast(
    settings: Settings,
    horizon: int = HORIZON,
    *,
    again: bool = False,
    only: str | None = None,
    model: str = "",
    report: Callable[[Run], None] = lambda _: None,
) -> list[Run]:
    """Run every shop that is due; ``report`` hears of each as it is done.

    Raises:
        ClickHouseError, KafkaException: a part is away; what was done stays done.
        LookupError: there is no such model.
    """
    runs = []
    with clickhouse_client(settings) as client:
        found = list(due(client, datetime.now(UTC), again=again, only=only))
        if found:
            serving, producer = Serving(settings.models), kafka_producer(settings)
            for calendar, today in found:
                runs.append(run(settings, client, producer, serving, calendar, today, horizon, model))
                report(runs[-1])
    return runs


def follow(settings: Settings, command: list[str], stop: threading.Event) -> None:
    """Look every minute whether a shop is due, and then run ``command``, so that what a night takes is free again by day."""
    while not stop.is_set():
        try:
            with clickhouse_client(settings) as client:
                is_due = next(iter(due(client, datetime.now(UTC))), None) is not None
            if is_due:
                subprocess.run(command, check=False)  # noqa: S603 - ourselves
        except (ClickHouseError, OSError, ValueError) as error:
            logger.warning("forecasts_wait", error=str(error)[:300])
        stop.wait(LOOK_EVERY_S)
