"""A chain of shops straight into ClickHouse, by SQL: facts and derived rows of months in minutes, without a worker.

What is faithful: every visit has its zone visits, its events, its queue and its receipt under the same names and times, with
counts that agree between the tables (``visits.events`` events, ``visits.zone_visits`` zone visits, one receipt a claim), and the
shares of the simulator (8 shops, a Friday: 11 events and 3 zone visits a visit, 31 % at the tills, 29 % buy, 9.5 % queue, 4 %
unmatched, three of the staff). The newest day is there in three versions, as workers leave it before ClickHouse merges.

What is not: purchases and claims are drawn, not derived, so ``purchased`` follows no receipt's time; queue depth is no walk; all shops
have the same zones and time zones without summer time; nobody comes twice; ``event_ids`` stays empty; rows come in large inserts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from producers.simulator.shops import HOUR_CURVE, WEEKDAY_FACTOR, Shop, make_shops

EVENTS_PER_SHOP, DAYS = 100_000, 30
EVENTS_PER_VISIT = 12.26
STAFF, EVENTS_OF_STAFF = 3, 151
ZONES = ("SKINCARE", "MAKEUP", "HAIRCARE", "FRAGRANCE", "SNACKS", "DRINKS", "NEW_IN")
CITIES = (
    ("Asia/Kolkata", "INR", 19_800),
    ("Asia/Dubai", "AED", 14_400),
    ("Asia/Singapore", "SGD", 28_800),
    ("Africa/Nairobi", "KES", 10_800),
    ("Asia/Tokyo", "JPY", 32_400),
)
TABLES = ("events", "transactions", "visits", "zone_visits", "queue_depth", "day_figures", "anomalies")
_PROGRESS = "CREATE TABLE IF NOT EXISTS generated (day Date, part String) ENGINE = MergeTree ORDER BY day"


@dataclass(frozen=True)
class Chain:
    """How many shops, and the days on which they were open."""

    shops: int
    days: tuple[date, ...]
    visits_a_day: float
    """Of a shop, on the mean day."""

    def store(self, index: int) -> str:
        """Id of a shop."""
        return f"ST{1001 + index}"

    @classmethod
    def of(cls, events: int, last: date) -> Chain:
        """A chain with about so many events up to a day; a shop has 100,000 of them in 30 days, as in the simulator."""
        shops = max(1, round(events / EVENTS_PER_SHOP))
        days = tuple(last - timedelta(days=back) for back in reversed(range(DAYS)))
        events_a_day = events / shops / DAYS - STAFF * EVENTS_OF_STAFF
        return cls(shops, days, max(1.0, events_a_day / EVENTS_PER_VISIT))

    def layouts(self) -> list[Shop]:
        """The shops, for their layouts."""
        return [
            replace(
                shop,
                shelves=ZONES[:-1],
                displays=ZONES[-1:],
                time_zone=CITIES[index % len(CITIES)][0],
                currency=CITIES[index % len(CITIES)][1],
            )
            for index, shop in enumerate(make_shops(self.shops, 1))
        ]


def _chance(number: int | str) -> str:
    """A number drawn evenly from 0 to 1, its own for every visit and every ``number``."""
    return f"((cityHash64(visit, {number}) % 1000000 + 0.5) / 1000000)"


def _cumulative_hours() -> list[float]:
    return [round(sum(HOUR_CURVE[: n + 1]) / sum(HOUR_CURVE), 6) for n in range(len(HOUR_CURVE) - 1)]


def visits_of(chain: Chain, day: date) -> str:
    """A query for the visits of a day with everything that was drawn for them; times are milliseconds since 1970."""
    busy = chain.visits_a_day * WEEKDAY_FACTOR[day.weekday()]
    most = round(1.3 * busy) + 1
    midnight = int(datetime.combine(day, datetime.min.time(), UTC).timestamp() * 1000)
    offsets = [offset for _, _, offset in CITIES]
    return f"""
    SELECT
        *,
        arrayMap(i -> if(i = zones AND has_billing, 'BILLING', {list(ZONES)}[cityHash64(visit, 100 + i) % {len(ZONES)} + 1]),
                 range(1, zones + 1)) AS zone_ids,
        arrayMap(i -> toUInt32(if(i = zones AND has_billing, 25000 - 85000 * log({_chance("200 + i")}),
                                  4000 - 52000 * log({_chance("200 + i")}))), range(1, zones + 1)) AS dwells,
        arrayMap((i, total) -> toInt64(start + 9000 * i + total - dwells[i]),
                 range(1, zones + 1), arrayCumSum(dwells)) AS starts,
        toInt64(starts[-1] + dwells[-1] + 6000) AS end,
        2 - is_unmatched + 2 * zones + joined + arraySum(x -> intDiv(x, 30000), dwells) AS events
    FROM (
        SELECT
            number % {chain.shops} AS shop,
            intDiv(number, {chain.shops}) AS nth,
            concat('ST', toString(1001 + shop)) AS store_id,
            toDate('{day}') AS business_day,
            concat(store_id, '-{day:%m%d}-', leftPad(toString(nth), 5, '0')) AS visitor_id,
            cityHash64(shop, nth, '{day}') AS visit,
            nth < {STAFF} AS is_staff,
            NOT is_staff AND {_chance(1)} < 0.044 AS is_unmatched,
            {_chance(4)} AS fate,
            NOT is_staff AND fate < 0.31 AS has_billing,
            NOT is_staff AND fate < 0.095 AS joined,
            NOT is_staff AND fate < 0.003 AS abandoned,
            has_billing AND fate >= 0.006 AS purchased,
            has_billing AND fate >= 0.02 AS claimed,
            if(claimed, concat('T-', visitor_id), '') AS transaction_id,
            toUInt32(if(is_staff, 45, least(9, 1 + floor(-2 * log({_chance(5)})))) + has_billing) AS zones,
            toInt64({midnight} + 32400000 - 1000 * {offsets}[shop % {len(CITIES)} + 1]
                + 3600000 * (arrayCount(x -> x < {_chance(2)}, {_cumulative_hours()}) + {_chance(3)})) AS start
        FROM numbers({chain.shops * most})
        WHERE nth < {STAFF} + {busy} * (0.7 + cityHash64(shop) % 600 / 1000)
    )"""


def _at(milliseconds: str) -> str:
    return f"fromUnixTimestamp64Milli({milliseconds}, 'UTC')"


def _events(visits: str) -> str:
    return f"""INSERT INTO events SELECT
        reinterpretAsUUID(concat(reinterpretAsString(cityHash64(visit, seq)), reinterpretAsString(cityHash64(seq, visit)))),
        store_id, multiIf(event.1 IN ('ENTRY', 'EXIT'), 'CAM_ENTRY', event.3 = 'BILLING', 'CAM_BILLING',
            concat('CAM_FLOOR_', toString(intDiv(indexOf({list(ZONES)}, event.3) - 1, 2) + 1))),
        visitor_id, event.1, {_at("event.2")}, event.3, event.4, is_staff, 0.6 + cityHash64(visit, seq, 7) % 400 / 1000,
        concat('{{"queue_depth":null,"sku_zone":null,"session_seq":', toString(seq), '}}'), {_at("event.2 + 400")}
    FROM (SELECT *, arrayConcat(
            if(is_unmatched, [], [('ENTRY', start, '', toUInt32(0))]),
            arrayFlatten(arrayMap((zone, at, dwell) -> arrayConcat(
                [('ZONE_ENTER', at, zone, toUInt32(0))],
                if(joined AND zone = 'BILLING', [('BILLING_QUEUE_JOIN', at + 500, zone, toUInt32(0))], []),
                arrayMap(n -> ('ZONE_DWELL', at + 30000 * n, zone, toUInt32(30000 * n)), range(1, intDiv(dwell, 30000) + 1)),
                [(if(abandoned AND zone = 'BILLING', 'BILLING_QUEUE_ABANDON', 'ZONE_EXIT'), at + dwell, zone, dwell)]
            ), zone_ids, starts, dwells)),
            [('EXIT', end, '', toUInt32(0))]) AS all FROM ({visits}))
    ARRAY JOIN all AS event, arrayEnumerate(all) AS seq"""


_PRICES = """1 + cityHash64(visit, 9) % 5 AS items,
    arrayMap(n -> toDecimal64([49, 99, 149, 199, 349.5, 599][cityHash64(visit, n, 1) % 6 + 1], 4), range(items)) AS prices"""


def _transactions(visits: str) -> str:
    return f"""INSERT INTO transactions
    SELECT store_id, transaction_id, {_at("end - 6000")}, arraySum(prices), '', ['card', 'cash', 'upi'][visit % 3 + 1],
        arrayMap(n -> concat('SKU-', leftPad(toString(cityHash64(visit, n) % 60), 4, '0')), range(items)), arrayResize([''], items, ''),
        arrayResize([toDecimal64(1, 4)], items, toDecimal64(1, 4)), prices, {_at("end - 5600")}
    FROM (SELECT *, {_PRICES} FROM ({visits})) WHERE claimed"""


def _visits(visits: str, version: int) -> str:
    return f"""INSERT INTO visits (* EXCEPT(rules)) SELECT store_id, business_day, visitor_id, is_staff, NOT is_staff AND NOT is_unmatched,
        {_at("if(is_unmatched, starts[1], start)")}, {_at("end")}, NOT is_unmatched, zones, has_billing, joined,
        abandoned, purchased, transaction_id, events, {_at("0")}, {version}, 0, {_at("end + 900")} FROM ({visits})"""


def _zone_visits(visits: str, version: int) -> str:
    return f"""INSERT INTO zone_visits SELECT store_id, business_day, visitor_id, ordinal - 1, zone,
        if(zone = 'BILLING', 'CAM_BILLING', concat('CAM_FLOOR_', toString(intDiv(indexOf({list(ZONES)}, zone) - 1, 2) + 1))),
        zone = 'BILLING', is_staff, {_at("at")}, {_at("at + dwell")}, 0, dwell, {version}, 0, {_at("end + 900")}
    FROM ({visits}) ARRAY JOIN zone_ids AS zone, starts AS at, dwells AS dwell, arrayEnumerate(zone_ids) AS ordinal"""


def _queue_depth(visits: str, version: int) -> str:
    return f"""INSERT INTO queue_depth SELECT store_id, business_day, {_at("at")}, cityHash64(visit, at) % 4, {version}, 0,
        {_at("end + 900")} FROM ({visits}) ARRAY JOIN [starts[-1], starts[-1] + dwells[-1]] AS at WHERE has_billing"""


def _day_figures(visits: str, version: int) -> str:
    return f"""INSERT INTO day_figures SELECT store_id, business_day, countIf(is_visitor), countIf(is_unmatched), countIf(is_staff),
        countIf(is_visitor), countIf(is_visitor AND has_billing), countIf(is_visitor AND purchased), countIf(is_visitor AND claimed),
        countIf(joined), countIf(abandoned),
        (sumMapIf(zone_ids, arrayMap(_ -> toUInt32(1), zone_ids), arrayMap(dwell -> toUInt64(dwell), dwells), NOT is_staff) AS stays).1,
        stays.2, stays.3,
        [''], [countIf(claimed)], [sumIf(toDecimal128(arraySum(prices), 4), claimed)],
        argMaxIf(cityHash64(visit, left_at) % 4, left_at, has_billing), {version}, 0, {_at("max(end) + 900")}
    FROM (SELECT *, NOT is_staff AND NOT is_unmatched AS is_visitor, starts[-1] + dwells[-1] AS left_at, {_PRICES} FROM ({visits}))
    GROUP BY store_id, business_day"""


def _anomalies(chain: Chain, day: date, *, newest: bool) -> str:
    return f"""INSERT INTO anomalies (store_id, type, subject, detected_at, business_day, severity, message, suggested_action, value,
        baseline, closed_at, version, updated_at)
    SELECT concat('ST', toString(1001 + number)), kind, if(kind = 'DEAD_ZONE', 'SNACKS', ''), at, toDate('{day}'), 'WARN',
        'Out of the ordinary.', 'Look at it.', 8, 3, if({int(newest)} AND cityHash64(number, kind) % 4 = 0, NULL, at + 1800), 1, at
    FROM (SELECT number, arrayJoin(['QUEUE_SPIKE', 'DEAD_ZONE']) AS kind, toDateTime64('{day} 12:00:00', 3, 'UTC') AS at
          FROM numbers({chain.shops})) WHERE {int(newest)} OR cityHash64(number, kind, '{day}') % 4 = 0"""


def generate(client: Client, events: int, last: date, *, report: Callable[[str], None] = print) -> Chain:
    """Fill a migrated database with about so many events up to a day.

    Cut short and called again, it goes on where it was, with the days of the first call; rows made twice are the same rows.
    """
    client.command(_PROGRESS)
    client.command(f"INSERT INTO generated SELECT '{last}', 'chain' WHERE (SELECT count() FROM generated) = 0")
    chain = Chain.of(events, client.query("SELECT day FROM generated WHERE part = 'chain'").result_rows[0][0])
    known = {tuple(row) for row in client.query("SELECT toString(day), part FROM generated").result_rows}
    made = datetime.combine(chain.days[0] - timedelta(days=1), datetime.min.time(), UTC)
    layouts: list[list[Any]] = [
        [shop.store_id, made, shop.name, shop.time_zone, shop.currency, shop.layout(made).decode(), made]
        for shop in chain.layouts()
    ]
    names = ["store_id", "timestamp", "name", "time_zone", "currency", "layout", "received_at"]
    client.insert("store_layouts", layouts, column_names=names)
    for day in chain.days:
        newest = day == chain.days[-1]
        visits = visits_of(chain, day)
        steps = {
            "events": [_events(visits)],
            "transactions": [_transactions(visits)],
            "anomalies": [_anomalies(chain, day, newest=newest)],
        }
        derived = (
            *(("visits", _visits), ("zone_visits", _zone_visits), ("queue_depth", _queue_depth)),
            ("day_figures", _day_figures),
        )
        for name, rows in derived:
            steps[name] = [rows(visits, version) for version in ((1, 2, 3) if newest else (1,))]
        for part, statements in steps.items():
            if (str(day), part) not in known:
                for statement in statements:
                    # A day of a large chain is a few parts of a million rows.
                    client.command(statement, settings={"max_threads": 1, "max_partitions_per_insert_block": 0})
                client.insert("generated", [[day, part]], column_names=["day", "part"])
        report(f"{day}: there")
    return chain
