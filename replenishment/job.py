"""``aisleflow restock``: reads what shops have and expect to sell, works out what they need, and publishes it.

Nothing is kept: what it publishes on ``stock-outlook`` the stock workers bring to ClickHouse, where the API, the pages and the
alerts read it. An article is worked out anew when its stock or an order of it has changed, and every half hour.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException
from urllib3.exceptions import HTTPError

from aisleflow import log
from aisleflow.clients import LastingProducer, produce, raise_on
from aisleflow.settings import Settings
from forecasting.champion import Champion
from forecasting.series import QUANTILES, Forecast, Series
from replenishment.outlook import Article, outlook_line
from replenishment.terms import TermsBook
from schemas import topics
from schemas.events import OutlookLine, StockOutlook, dump
from schemas.layouts import StoreCalendar
from schemas.reading import epoch_ms, stored_layout

AGAIN = timedelta(minutes=30)
"""Risks count from a moment: they are worked out anew so often though nothing has changed."""
FORECASTS_AGAIN_S = 600.0
ARCHIVE = timedelta(days=2)
"""A shop from which nothing has come for so long is an archive: its newest movement is its present."""
HORIZON = 28
HISTORY_DAYS = 400
PROFILE_DAYS = 56
LINES = 200
NAMESPACE = uuid.UUID("6c0f6a3e-7c55-5d0b-9f0e-3d0b5f3c9a41")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = log.get(__name__)

_SHOPS = """
SELECT store_id, newest, greatest(changed, ordered), layout
FROM (
    SELECT store_id, toUnixTimestamp64Milli(max(moved_at)) AS newest, toUnixTimestamp64Milli(max(updated_at)) AS changed
    FROM stock_positions GROUP BY store_id
) AS shops
LEFT JOIN (
    SELECT store_id, toUnixTimestamp64Milli(max(received_at)) AS ordered FROM orders GROUP BY store_id
) AS orders USING (store_id)
LEFT JOIN (SELECT store_id, layout FROM store_layouts FINAL) AS layouts USING (store_id)
ORDER BY store_id
"""
# Only what is known: elsewhere the ledger tells what has moved, not what is there.
_POSITIONS = """
SELECT sku, toFloat64(shelf), toFloat64(if(backroom_known, backroom, 0)), toFloat64(in_transit), category, toFloat64(pack)
FROM (SELECT * FROM stock_positions FINAL WHERE store_id = {store_id:String} AND shelf_known) AS positions
LEFT JOIN (SELECT sku, category, pack FROM products FINAL) AS products USING (sku)
ORDER BY sku
"""
_ORDERS = """
WITH open AS (
    SELECT order_id, argMax(status, place) AS status, argMaxIf(expected_at, place, expected_at IS NOT NULL) AS due,
        argMaxIf(arrayZip(sku, quantity), place, notEmpty(sku)) AS lines
    FROM (SELECT *, (timestamp, event_id) AS place FROM orders FINAL WHERE store_id = {store_id:String})
    GROUP BY order_id
    HAVING status IN ('PLACED', 'CONFIRMED', 'SHIPPED')
)
SELECT ordered.sku AS sku, due, toFloat64(ordered.units) - toFloat64(received.units) AS units
FROM (SELECT order_id, due, line.1 AS sku, sum(line.2) AS units FROM open ARRAY JOIN lines AS line GROUP BY order_id, due, sku) AS ordered
LEFT JOIN (
    SELECT reference AS order_id, sku, sum(quantity) AS units
    FROM stock_movements FINAL
    WHERE store_id = {store_id:String} AND kind = 'RECEIVE' AND reference IN (SELECT order_id FROM open)
    GROUP BY order_id, sku
) AS received USING (order_id, sku)
WHERE units > 0
ORDER BY sku, due
"""
_BY_QUANTILE = ", ".join(f"groupArray(toFloat64(q{level * 1000:03.0f}))" for level in QUANTILES)
_FORECASTS = f"""
SELECT sku, groupArray(toUInt16(day)), groupArray(toFloat64(mean)), {_BY_QUANTILE}, any(model), any(reason)
FROM (
    SELECT * FROM forecasts_newest
    WHERE store_id = {{store_id:String}} AND day >= {{today:Date}} AND day < {{today:Date}} + {HORIZON} ORDER BY sku, day
)
GROUP BY sku
"""  # noqa: S608 - constants
_SALES = """
SELECT sku, groupArray(day), groupArray(units), min(whole)
FROM (
    SELECT sku, toUInt16(toDate(timestamp, {zone:String})) AS day, toFloat64(sum(quantity)) AS units,
        min(quantity = round(quantity)) AS whole
    FROM stock_movements FINAL
    WHERE store_id = {store_id:String} AND kind = 'SALE' AND timestamp >= {since:DateTime64(3, 'UTC')}
    GROUP BY sku, day ORDER BY sku, day
)
GROUP BY sku
"""
_PROFILE = """
SELECT toHour(timestamp, {zone:String}) AS hour, count() AS sales
FROM stock_movements FINAL
WHERE store_id = {store_id:String} AND kind = 'SALE' AND timestamp >= {since:DateTime64(3, 'UTC')}
  AND timestamp < {until:DateTime64(3, 'UTC')}
GROUP BY hour
"""


class Shop(NamedTuple):
    """A shop, the moment that it is looked at (its present), and a number that grows with its stock and orders."""

    calendar: StoreCalendar
    now: datetime
    changed: int


@dataclass
class _Expected:
    """What a shop expects to sell from a day on."""

    day: date
    read_at: float
    forecasts: dict[str, Forecast]
    whole: dict[str, bool]
    profile: list[float]


class _Said(NamedTuple):
    """What was said of a shop: when of all its articles, by what state of its stock, and what each article's was made from."""

    all_at: datetime
    changed: int
    articles: dict[str, tuple[Any, ...]]


class Restock:
    """Works out what shops need, and remembers what it has said."""

    def __init__(self, client: Client, book: TermsBook, publish: Callable[[StockOutlook], None]) -> None:
        """``publish`` brings an outlook onto the log."""
        self._client = client
        self._book = book
        self._publish = publish
        self._said: dict[str, _Said] = {}
        self._expected: dict[str, _Expected] = {}

    def forget(self) -> None:
        """Say everything anew: what was said may not have arrived."""
        self._said.clear()

    def shops(self, now: datetime, only: str | None = None) -> list[Shop]:
        """The shops that keep stock, or the one that is named."""
        found = []
        for store_id, newest, changed, layout in self._client.query(_SHOPS).result_rows:
            if only is not None and store_id != only:
                continue
            calendar = StoreCalendar(store_id, stored_layout(layout) if layout else None)
            last = EPOCH + timedelta(milliseconds=newest)
            found.append(Shop(calendar, now if now - last < ARCHIVE else last, changed))
        return found

    def look(self, shop: Shop) -> int:
        """Work out what is due in a shop, and publish it; the number of articles.

        Raises:
            ClickHouseError, KafkaException: ``forget``, and look again.
        """
        name = shop.calendar.store_id
        said = self._said.get(name)
        if said is not None and shop.now - said.all_at < AGAIN:
            if said.changed == shop.changed:
                return 0
            said = said._replace(changed=shop.changed)
        else:
            said = _Said(shop.now, shop.changed, {})
        lines = list(self._lines(shop, said.articles))
        moment = shop.now.replace(microsecond=shop.now.microsecond // 1000 * 1000)
        for number in range(0, len(lines), LINES):
            part = lines[number : number + LINES]
            what = f"{name}|{epoch_ms(moment)}|{part[0].sku}|{len(part)}"
            event_id = str(uuid.uuid5(NAMESPACE, what))
            self._publish(StockOutlook(event_id=event_id, store_id=name, timestamp=moment, lines=part))
        self._said[name] = said
        return len(lines)

    def lines(self, shop: Shop) -> list[OutlookLine]:
        """The outlook of every article of a shop, published or not."""
        return list(self._lines(shop, {}))

    def _lines(self, shop: Shop, said: dict[str, tuple[Any, ...]]) -> Iterator[OutlookLine]:
        """The outlooks of articles whose stock or orders are not as when they were ``said``, which learns of them."""
        name = shop.calendar.store_id
        orders: dict[str, list[tuple[datetime | None, float]]] = defaultdict(list)
        for sku, due, units in self._client.query(_ORDERS, {"store_id": name}).result_rows:
            orders[sku].append((None if due is None else due.replace(tzinfo=UTC), units))
        expected = None
        local = shop.now.astimezone(shop.calendar.zone)
        for sku, *position, category, pack in self._client.query(_POSITIONS, {"store_id": name}).result_rows:
            made_from = (*position, *orders[sku])
            if said.get(sku) == made_from:
                continue
            said[sku] = made_from
            if expected is None:
                expected = self._expects(shop, local.date())
            shelf, backroom, in_transit = position
            article = Article(sku, shelf, backroom, in_transit, orders[sku], expected.whole.get(sku, True))
            terms = self._book.terms(name, sku, category, pack or 1.0)
            forecast = expected.forecasts.get(sku) or _nothing(sku, local.date())
            yield outlook_line(article, forecast, terms, expected.profile, local)

    def _expects(self, shop: Shop, today: date) -> _Expected:
        """What the shop expects to sell: forecasts as they are published; where there are none, forecast here."""
        name, zone = shop.calendar.store_id, shop.calendar.zone.key
        held = self._expected.get(name)
        if held is not None and held.day == today and time.monotonic() - held.read_at < FORECASTS_AGAIN_S:
            return held
        forecasts = {}
        for sku, days, mean, *quantiles, model, reason in self._client.query(
            _FORECASTS, {"store_id": name, "today": today}
        ).result_rows:
            # Days in a row from today on; a forecast that begins later says nothing of today.
            if days[0] == (today - EPOCH.date()).days and days[-1] - days[0] == len(days) - 1:
                values = dict(zip(QUANTILES, map(np.array, quantiles), strict=True))
                forecasts[sku] = Forecast(sku, today, np.array(mean), values, model, reason)
        since = _text(shop.now - timedelta(days=HISTORY_DAYS))
        sold = self._client.query(_SALES, {"store_id": name, "zone": zone, "since": since}).result_rows
        series = [
            one for sku, days, units, _ in sold if sku not in forecasts if (one := _series(sku, days, units, today))
        ]
        forecasts |= {made.key: made for made in Champion().forecast(series, HORIZON)}
        bound = {
            "store_id": name,
            "zone": zone,
            "since": _text(shop.now - timedelta(days=PROFILE_DAYS)),
            "until": _text(shop.now),
        }
        profile = [0.0] * 24
        for hour, sales in self._client.query(_PROFILE, bound).result_rows:
            profile[hour] = float(sales)
        found = _Expected(today, time.monotonic(), forecasts, {sku: bool(whole) for sku, *_, whole in sold}, profile)
        self._expected[name] = found
        return found


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _series(sku: str, days: Sequence[int], units: Sequence[float], today: date) -> Series | None:
    """Whole days up to yesterday; days without a sale are zeros."""
    first, end = days[0], (today - EPOCH.date()).days
    if first >= end:
        return None
    quantity = np.zeros(end - first)
    for day, sold in zip(days, units, strict=True):
        if day < end:
            quantity[day - first] = max(0.0, sold)
    return Series(sku, EPOCH.date() + timedelta(days=first), quantity)


def _nothing(sku: str, today: date) -> Forecast:
    zeros = np.zeros(1)
    return Forecast(sku, today, zeros, dict.fromkeys(QUANTILES, zeros), "never sold")


def publisher(settings: Settings, producer: LastingProducer) -> Callable[[StockOutlook], None]:
    """What publishes outlooks; whoever calls it flushes the producer."""
    topic = settings.topic_prefix + topics.STOCK_OUTLOOK.name

    def publish(outlook: StockOutlook) -> None:
        produce(producer, topic, dump(outlook), outlook.store_id, on_delivery=lambda error, _: raise_on(error))
        producer.poll(0)

    return publish


def follow(restock: Restock, producer: LastingProducer, every_s: float) -> None:
    """Look at all shops for ever. What ClickHouse or Kafka could not do is tried again at the next look."""
    while True:
        began = time.monotonic()
        try:
            told = sum(restock.look(shop) for shop in restock.shops(datetime.now(UTC)))
            producer.flush()
            if told:
                logger.info("outlook_published", articles=told, seconds=round(time.monotonic() - began, 2))
        except (ClickHouseError, OSError, HTTPError, KafkaException) as error:
            restock.forget()
            logger.warning("outlook_not_published", error=str(error)[:300], retry_in_s=every_s)
        time.sleep(max(0.0, every_s - (time.monotonic() - began)))
