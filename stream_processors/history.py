"""What the workers read back from ClickHouse: known ids, layouts, and the facts and rows of store days."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from sys import intern
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client

from schemas.events import AnomalyType, StoreLayout
from schemas.layouts import StoreCalendar
from schemas.reading import EVENT_RANK, VisitFact, epoch_ms, stored_layout
from stream_processors import day_tally
from stream_processors.anomalies import (
    ANNOUNCED_BEFORE,
    SETTLED_MS,
    DayFigures,
    Finding,
    OpenAnomaly,
    StoreFigures,
    mean_depth,
)
from stream_processors.baselines import ALL_WEEKDAYS, DAYS, Baseline, HourFigures, Past
from stream_processors.conversion import PURCHASE_WINDOW_MS
from stream_processors.store_day import Payment, StoreDay, Written, WrittenVisit

MAX_IDS_PER_QUERY = 5_000
# The more at once, the more of them share a granule.
MAX_EVENT_IDS_PER_QUERY = 50_000
# Days of stores are restored in portions of this size: what is read for them is some kilobytes an event for a moment.
FEW_DAYS = 8
MAX_DAYS_AT_ONCE = 5_000
MAX_EVENTS_AT_ONCE = 300_000
QUERY_SETTINGS = {"max_query_size": 16 * 2**20}

_IDS = re.compile("[0-9a-f,-]*")
_line_decoder = msgspec.json.Decoder()

_EVENT_COLUMNS = """store_id, toString(event_id), camera_id, visitor_id, event_type,
    toUnixTimestamp64Milli(timestamp) AS at, zone_id, dwell_ms, is_staff,
    JSONExtract(metadata, 'queue_depth', 'Nullable(Int64)'), JSONExtractUInt(metadata, 'session_seq')"""

_PAYMENT_COLUMNS = "store_id, transaction_id, toUnixTimestamp64Milli(timestamp), toString(basket_value), currency"
_FIGURE_COLUMNS = ", ".join(
    f"arrayMap(x -> toString(x), `{name}`)" if name == "receipts.revenue" else f"`{name}`" for name in day_tally.COLUMNS
)


class History:
    """Queries over one ClickHouse connection. All methods block; call them from a thread."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _rows(self, query: str, parameters: dict[str, Any]) -> Iterable[list[Any]]:
        settings = {**QUERY_SETTINGS, "output_format_json_quote_64bit_integers": 0}
        answer = self._client.raw_query(query, parameters=parameters, settings=settings, fmt="JSONCompactEachRow")
        return _line_decoder.decode_lines(answer)

    def stored_events(self, ids: Sequence[str]) -> set[str]:
        """Those of these event ids (lower case) that are stored already.

        Raises:
            ValueError: one is no id.
        """
        stored: set[str] = set()
        for chunk in chunks(ids, MAX_EVENT_IDS_PER_QUERY):
            # One literal, which ClickHouse parses ten times as fast as a list of them, and the client need not escape:
            # it can hold nothing but ids.
            text = ",".join(chunk)
            if not _IDS.fullmatch(text):
                raise ValueError("an event id that is no UUID in lower case")
            query = f"""SELECT toString(event_id) FROM event_ids
                WHERE event_id IN (SELECT arrayJoin(splitByChar(',', '{text}')::Array(UUID)))"""  # noqa: S608
            stored.update(row[0] for row in self._rows(query, {}))
        return stored

    def stored_transactions(self, identities: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Payment]:
        """Those of these (store_id, transaction_id) that are stored already, as they are stored."""
        stored: dict[tuple[str, str], Payment] = {}
        for chunk in chunks(identities):
            query = f"""SELECT {_PAYMENT_COLUMNS} FROM transactions
                WHERE (store_id, transaction_id) IN %(identities)s"""  # noqa: S608 - a constant list of columns
            for store_id, payment in map(_payment, self._rows(query, {"identities": chunk})):
                stored[store_id, payment.receipt[1]] = payment
        return stored

    def layouts(self, store_ids: Collection[str]) -> dict[str, StoreLayout]:
        """The layouts that hold for these stores; a store without one is absent."""
        query = "SELECT store_id, layout FROM store_layouts FINAL WHERE store_id IN %(stores)s"
        rows = self._rows(query, {"stores": tuple(store_ids)})
        return {store_id: stored_layout(layout) for store_id, layout in rows}

    def days_of(self, calendar: StoreCalendar, kept_since: date = date.min) -> set[date]:
        """Every business day on which a store has facts, and those beside them that an older layout may have made.

        Days whose facts have expired stay as they are. Facts of days before ``kept_since`` may have, in part: if the visits
        of these days were made from more events than there are, none of these days is among the answer.
        """
        query = """SELECT toUnixTimestamp(toDateTime(toDate(timestamp), 'UTC')) FROM events WHERE store_id = %(store)s
            UNION DISTINCT SELECT toUnixTimestamp(toDateTime(toDate(timestamp), 'UTC')) FROM transactions
            WHERE store_id = %(store)s"""
        days = set()
        for (midnight_utc,) in self._rows(query, {"store": calendar.store_id}):
            # A date in UTC touches two business days elsewhere.
            days.add(calendar.business_day(midnight_utc * 1000))
            days.add(calendar.business_day(midnight_utc * 1000 + 86_399_999))
        query = """SELECT toString(business_day) FROM visits WHERE store_id = %(store)s
            UNION DISTINCT SELECT toString(business_day) FROM queue_depth WHERE store_id = %(store)s
            UNION DISTINCT SELECT toString(business_day) FROM day_figures WHERE store_id = %(store)s"""
        written = {date.fromisoformat(row[0]) for row in self._rows(query, {"store": calendar.store_id})}
        days |= {day for day in written if {day - timedelta(days=1), day + timedelta(days=1)} & days}
        if any(day < kept_since for day in days):
            query = """SELECT (SELECT sum(events) FROM visits FINAL WHERE store_id = %(store)s AND business_day < %(since)s)
                > (SELECT count() FROM events FINAL WHERE store_id = %(store)s AND toDate(timestamp) <= %(since)s)"""
            keys = {"store": calendar.store_id, "since": kept_since.isoformat()}
            if any(expired for (expired,) in self._rows(query, keys)):
                days = {day for day in days if day >= kept_since}
        return days

    def events_of_visits(self, visits: Sequence[tuple[StoreDay, str]]) -> dict[tuple[StoreDay, str], list[VisitFact]]:
        """All stored events of some visits."""
        found: dict[tuple[StoreDay, str], list[VisitFact]] = {visit: [] for visit in visits}
        by_name: dict[tuple[str, str], list[StoreDay]] = defaultdict(list)
        keys = []
        for day, visitor_id in visits:
            by_name[day.calendar.store_id, visitor_id].append(day)
            keys += [(day.calendar.store_id, utc_date.isoformat(), visitor_id) for utc_date in _utc_dates(day)]
        for chunk in chunks(keys):
            query = f"""SELECT {_EVENT_COLUMNS} FROM events FINAL
                WHERE (store_id, toDate(timestamp), visitor_id) IN %(keys)s"""  # noqa: S608 - a constant list of columns
            for row in self._rows(query, {"keys": chunk}):
                fact = _fact(row)
                for day in by_name[fact.store_id, fact.visitor_id]:
                    if day.start <= fact.at < day.end:
                        found[day, fact.visitor_id].append(fact)
        return found

    def portions(self, days: Sequence[StoreDay]) -> list[list[StoreDay]]:
        """Days to restore, in portions whose events fit in memory at once, beside the state that they become."""
        if len(days) <= FEW_DAYS:
            return [list(days)]
        events: dict[tuple[str, str], int] = {}
        query = """SELECT store_id, toString(toDate(timestamp)), count() FROM events
            WHERE (store_id, toDate(timestamp)) IN %(keys)s GROUP BY 1, 2"""
        for keys in chunks(list({key for day in days for key in _utc_keys(day)})):
            events.update(((store_id, date_), count) for store_id, date_, count in self._rows(query, {"keys": keys}))
        portions: list[list[StoreDay]] = []
        room = 0
        for day in days:
            size = 1 + sum(events.get(key, 0) for key in _utc_keys(day))
            if size > room or len(portions[-1]) >= MAX_DAYS_AT_ONCE:
                portions.append([])
                room = max(size, MAX_EVENTS_AT_ONCE)
            portions[-1].append(day)
            room -= size
        return portions

    def restore(self, days: Sequence[StoreDay]) -> None:
        """Fill new store days from their facts, and compare them with the rows that are written."""
        by_store: dict[str, list[StoreDay]] = defaultdict(list)
        for day in days:
            by_store[day.calendar.store_id].append(day)
        facts: dict[StoreDay, list[VisitFact]] = defaultdict(list)
        receipts: dict[StoreDay, list[Payment]] = defaultdict(list)
        written: dict[StoreDay, Written] = defaultdict(Written)

        utc_keys = tuple({key for day in days for key in _utc_keys(day)})
        query = f"""SELECT {_EVENT_COLUMNS} FROM events FINAL
            WHERE (store_id, toDate(timestamp)) IN %(keys)s ORDER BY received_at LIMIT 1 BY event_id"""  # noqa: S608
        for row in self._rows(query, {"keys": utc_keys}):
            fact = _fact(row)
            for day in by_store[fact.store_id]:
                if day.start <= fact.at < day.end:
                    facts[day].append(fact)

        query = f"""SELECT {_PAYMENT_COLUMNS} FROM transactions FINAL
            WHERE store_id IN %(stores)s AND timestamp >= fromUnixTimestamp64Milli(%(first)s)
              AND timestamp <= fromUnixTimestamp64Milli(%(last)s)"""  # noqa: S608 - a constant list of columns
        span = {"first": min(day.start for day in days), "last": max(day.end for day in days) + PURCHASE_WINDOW_MS}
        for store_id, payment in map(_payment, self._rows(query, {"stores": tuple(by_store), **span})):
            for day in by_store[store_id]:
                if day.wants(payment.receipt[0]):
                    receipts[day].append(payment)

        by_key = {(day.calendar.store_id, day.day_text): day for day in days}
        self._read_written(tuple(by_key), by_key, written)
        for day in days:
            day.restore(facts[day], receipts[day], written[day])

    def _read_written(
        self,
        keys: tuple[tuple[str, str], ...],
        by_key: dict[tuple[str, str], StoreDay],
        written: dict[StoreDay, Written],
    ) -> None:
        query = """SELECT store_id, toString(business_day), visitor_id, events, is_staff, purchased,
            attributed_transaction_id, toUnixTimestamp64Milli(layout_at), rules
            FROM visits FINAL WHERE (store_id, business_day) IN %(keys)s"""
        for store_id, day, visitor_id, *columns in self._rows(query, {"keys": keys}):
            written[by_key[store_id, day]].visits[visitor_id] = WrittenVisit(*columns)
        query = """SELECT store_id, toString(business_day), visitor_id, max(ordinal) + 1 FROM zone_visits
            WHERE (store_id, business_day) IN %(keys)s GROUP BY 1, 2, 3"""
        for store_id, day, visitor_id, rows in self._rows(query, {"keys": keys}):
            written[by_key[store_id, day]].zone_rows[visitor_id] = rows
        query = """SELECT store_id, toString(business_day), toUnixTimestamp64Milli(timestamp), depth
            FROM queue_depth FINAL WHERE (store_id, business_day) IN %(keys)s"""
        for store_id, day, at, depth in self._rows(query, {"keys": keys}):
            written[by_key[store_id, day]].queue_depth[at] = depth
        query = f"""SELECT store_id, toString(business_day), version, {_FIGURE_COLUMNS}, queue_depth
            FROM day_figures FINAL WHERE (store_id, business_day) IN %(keys)s"""  # noqa: S608 - a constant list of columns
        for store_id, day, version, *figures, revenue, depth in self._rows(query, {"keys": keys}):
            found = written[by_key[store_id, day]]
            found.figures, found.figures_version = (*figures, list(map(Decimal, revenue)), depth), version

    def newest_facts(self) -> dict[str, int]:
        """By store: the time of its newest fact, milliseconds since 1970."""
        query = "SELECT store_id, toUnixTimestamp64Milli(max(last_event_timestamp)) FROM store_feed GROUP BY store_id"
        return {row[0]: row[1] for row in self._rows(query, {})}

    def calendars(self, store_ids: Collection[str]) -> dict[str, StoreCalendar]:
        """The calendars of these stores."""
        layouts = self.layouts(store_ids) if store_ids else {}
        return {store_id: StoreCalendar(store_id, layouts.get(store_id)) for store_id in store_ids}

    def open_anomalies(
        self, store_ids: Collection[str], types: Collection[AnomalyType]
    ) -> dict[str, list[OpenAnomaly]]:
        """By store: the anomalies of these types that are open, and those closed of which the world has not been told; the
        oldest first.
        """
        if not store_ids:
            return {}
        query = """SELECT store_id, toUnixTimestamp64Milli(detected_at) AS opened, toUnixTimestamp64Milli(calm_since),
            toUnixTimestamp64Milli(closed_at), announced, type, subject, severity, message, suggested_action, value, baseline,
            severity_reason, unusual, evidence
            FROM anomalies FINAL
            WHERE store_id IN %(stores)s AND type IN %(types)s AND (closed_at IS NULL OR announced NOT IN ('CLOSED', %(before)s))
            ORDER BY opened"""
        found: dict[str, list[OpenAnomaly]] = defaultdict(list)
        for row in self._rows(query, {"stores": tuple(store_ids), "types": tuple(types), "before": ANNOUNCED_BEFORE}):
            store_id, detected_at, calm_since, closed_at, announced, *columns = row
            found[store_id].append(OpenAnomaly(Finding(*columns), detected_at, calm_since, closed_at, announced))
        return found

    def baselines(self, days: Mapping[str, date]) -> dict[str, tuple[date | None, list[Baseline]]]:
        """By store: what is usual on the weekday of its business day, and for which day that was made; None without any."""
        found: dict[str, tuple[date | None, list[Baseline]]] = {name: (None, []) for name in days}
        if days:
            query = """SELECT store_id, toString(made_for), metric, subject, weekday, hour, usual, spread, days
                FROM baselines FINAL
                WHERE (store_id, weekday) IN %(keys)s AND (store_id, made_for) IN
                    (SELECT store_id, max(made_for) FROM baselines WHERE store_id IN %(stores)s GROUP BY store_id)"""
            keys = {(name, weekday) for name, day in days.items() for weekday in (ALL_WEEKDAYS, day.isoweekday())}
            for name, made_for, *columns in self._rows(query, {"keys": tuple(keys), "stores": tuple(days)}):
                rows = found[name][1]
                rows.append(Baseline._make((*columns, ())))
                found[name] = (date.fromisoformat(made_for), rows)
        return found

    def past(self, calendar: StoreCalendar, today: date) -> Past:
        """The days before a business day from which its baselines are made."""
        first = today - timedelta(days=DAYS)
        keys = {
            "store": calendar.store_id,
            "zone": calendar.zone.key,
            "first": first.isoformat(),
            "last": (today - timedelta(days=1)).isoformat(),
        }
        past = Past()
        depths: dict[tuple[str, int], int] = {}
        query = """SELECT toString(business_day), toHour(timestamp, %(zone)s) AS hour, max(depth) FROM queue_depth FINAL
            WHERE store_id = %(store)s AND business_day BETWEEN %(first)s AND %(last)s GROUP BY business_day, hour"""
        for day, hour, depth in self._rows(query, keys):
            depths[day, hour] = depth
        query = """SELECT toString(business_day), toHour(started_at, %(zone)s) AS hour, countIf(is_visitor),
                countIf(is_visitor AND purchased), countIf(joined_queue), countIf(abandoned_queue)
            FROM visits FINAL WHERE store_id = %(store)s AND business_day BETWEEN %(first)s AND %(last)s AND NOT is_staff
            GROUP BY business_day, hour"""
        for day, hour, *counts in self._rows(query, keys):
            figures = HourFigures._make((*counts, depths.get((day, hour), 0)))
            past.hours.setdefault(date.fromisoformat(day), {})[hour] = figures
        query = """SELECT toString(business_day), zone_id, toHour(started_at, %(zone)s) AS hour, uniqExact(toStartOfMinute(started_at))
            FROM zone_visits FINAL WHERE store_id = %(store)s AND business_day BETWEEN %(first)s AND %(last)s AND NOT is_staff
            GROUP BY business_day, zone_id, hour"""
        for day, zone, hour, count in self._rows(query, keys):
            past.zones.setdefault(date.fromisoformat(day), {}).setdefault(zone, {})[hour] = count
        # Those who come into view; a dwell says only that somebody is still there. Repeats change no count of minutes.
        query = """SELECT toString(toDate(timestamp, %(zone)s) AS day), camera_id, toHour(timestamp, %(zone)s) AS hour,
                uniqExact(toStartOfMinute(timestamp))
            FROM events WHERE store_id = %(store)s AND toDate(timestamp) BETWEEN toDate(%(first)s) - 1 AND toDate(%(last)s) + 1
              AND event_type IN ('ENTRY', 'REENTRY', 'EXIT', 'ZONE_ENTER', 'BILLING_QUEUE_JOIN') AND NOT is_staff
              AND day BETWEEN %(first)s AND %(last)s
            GROUP BY day, camera_id, hour"""
        for day, camera, hour, count in self._rows(query, keys):
            past.cameras.setdefault(date.fromisoformat(day), {}).setdefault(camera, {})[hour] = count
        return past

    def anomaly_figures(self, store_ids: Collection[str]) -> dict[str, StoreFigures]:
        """What the anomalies of these stores are judged by, at their newest facts, but for what is usual there."""
        newest = {name: at for name, at in self.newest_facts().items() if name in set(store_ids)}
        if not newest:
            return {}
        calendars = self.calendars(tuple(newest))
        today = {name: calendars[name].business_day(at) for name, at in newest.items()}
        days = self._day_figures(
            {name: [day - timedelta(days=back) for back in range(8)] for name, day in today.items()}
        )
        settled = self._settled(newest, today)
        keys = {"keys": tuple((name, day.isoformat()) for name, day in today.items())}
        zones: dict[str, dict[str, int]] = defaultdict(dict)
        zone_cameras: dict[str, dict[str, str]] = defaultdict(dict)
        cameras: dict[str, dict[str, int]] = defaultdict(dict)
        words: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        query = """SELECT store_id, zone_id, toUnixTimestamp64Milli(max(ended_at)), argMax(camera_id, ended_at)
            FROM zone_visits FINAL WHERE (store_id, business_day) IN %(keys)s AND NOT is_staff GROUP BY 1, 2"""
        for name, zone, at, camera in self._rows(query, keys):
            zones[name][zone] = at
            zone_cameras[name][zone] = camera
        query = """SELECT store_id, camera_id, toUnixTimestamp64Milli(max(last_event_timestamp)) FROM camera_health
            WHERE store_id IN %(stores)s GROUP BY 1, 2"""
        for name, camera, at in self._rows(query, {"stores": tuple(today)}):
            if at >= calendars[name].bounds(today[name])[0]:
                cameras[name][camera] = at
        query = """SELECT store_id, camera_id, state, toUnixTimestamp64Milli(timestamp) FROM camera_states_newest FINAL
            WHERE store_id IN %(stores)s AND kind != 'END'"""
        for name, camera, state, at in self._rows(query, {"stores": tuple(today)}):
            words[name][camera] = (state, at)
        query = """SELECT store_id, argMax(depth, timestamp) FROM queue_depth FINAL
            WHERE (store_id, business_day) IN %(keys)s GROUP BY 1"""
        depths: dict[str, int] = {row[0]: row[1] for row in self._rows(query, keys)}
        # What is usual matters only where the queue is long.
        usual = self._usual_depth({name: newest[name] for name, depth in depths.items() if depth > 5}, calendars)
        return {
            name: StoreFigures(
                calendar=calendars[name],
                newest=newest[name],
                today=days[name].get(day, DayFigures()),
                week=tuple(figures for date_, figures in days[name].items() if date_ != day),
                depth=depths.get(name, 0),
                usual_depth=usual.get(name, 0.0),
                zones_seen=zones[name],
                cameras_heard=cameras[name],
                settled=settled[name][0] if name in settled else DayFigures(),
                came_lately=settled[name][1] if name in settled else (0, 0, 0),
                zone_cameras=zone_cameras[name],
                camera_words=words[name],
            )
            for name, day in today.items()
        }

    def _settled(self, newest: dict[str, int], today: dict[str, date]) -> dict[str, tuple[DayFigures, tuple[int, ...]]]:
        """By store: the figures of today's visits that began ``SETTLED_MS`` before its newest fact or earlier, and how many
        visitors came in the last one, two and three hours before that fact.
        """
        query = """SELECT store_id, countIf(is_visitor AND old), countIf(is_visitor AND purchased AND old),
                countIf(joined_queue AND old), countIf(abandoned_queue AND old),
                countIf(is_visitor AND came > now - 3600000), countIf(is_visitor AND came > now - 7200000),
                countIf(is_visitor AND came > now - 10800000)
            FROM (
                SELECT store_id, is_visitor, purchased, joined_queue, abandoned_queue,
                    toUnixTimestamp64Milli(started_at) AS came,
                    transform(store_id, %(stores)s, %(newest)s, toInt64(0)) AS now,
                    came <= now - %(settled)s AS old
                FROM visits FINAL WHERE (store_id, business_day) IN %(keys)s AND NOT is_staff
            ) GROUP BY store_id"""
        parameters = {
            "stores": list(newest),
            "newest": list(newest.values()),
            "settled": SETTLED_MS,
            "keys": tuple((name, day.isoformat()) for name, day in today.items()),
        }
        return {name: (DayFigures(*counts[:4]), tuple(counts[4:])) for name, *counts in self._rows(query, parameters)}

    def _day_figures(self, wanted: dict[str, list[date]]) -> dict[str, dict[date, DayFigures]]:
        found: dict[str, dict[date, DayFigures]] = defaultdict(dict)
        keys = tuple((name, day.isoformat()) for name, days in wanted.items() for day in days)
        query = """SELECT store_id, toString(business_day), countIf(is_visitor), countIf(is_visitor AND purchased),
            countIf(joined_queue AND NOT is_staff), countIf(abandoned_queue AND NOT is_staff)
            FROM visits FINAL WHERE (store_id, business_day) IN %(keys)s GROUP BY 1, 2"""
        for name, day, *figures in self._rows(query, {"keys": keys}):
            found[name][date.fromisoformat(day)] = DayFigures(*figures)
        return found

    def _usual_depth(self, moments: dict[str, int], calendars: dict[str, StoreCalendar]) -> dict[str, float]:
        hours: dict[tuple[str, str], int] = {}
        for name, at in moments.items():
            local = datetime.fromtimestamp(at / 1000, calendars[name].zone)
            for weeks in range(1, 5):
                day = local.date() - timedelta(weeks=weeks)
                start = datetime.combine(day, clock_time(local.hour), calendars[name].zone)
                hours[name, day.isoformat()] = epoch_ms(start.astimezone(UTC))
        if not hours:
            return {}
        keys = {"keys": tuple(hours)}
        query = """SELECT DISTINCT store_id, toString(business_day) FROM visits FINAL
            WHERE (store_id, business_day) IN %(keys)s"""
        courses: dict[tuple[str, str], list[tuple[int, int]]] = {
            (row[0], row[1]): [] for row in self._rows(query, keys)
        }
        query = """SELECT store_id, toString(business_day), toUnixTimestamp64Milli(timestamp) AS at, depth
            FROM queue_depth FINAL WHERE (store_id, business_day) IN %(keys)s ORDER BY at"""
        for name, day, at, depth in self._rows(query, keys):
            courses.setdefault((name, day), []).append((at, depth))
        return {
            name: mean_depth((hours[key], course) for key, course in courses.items() if key[0] == name)
            for name in moments
        }


def chunks(items: Sequence[Any], size: int = MAX_IDS_PER_QUERY) -> Iterable[tuple[Any, ...]]:
    """The items in tuples that a query can take."""
    return (tuple(items[first : first + size]) for first in range(0, len(items), size))


def _utc_dates(day: StoreDay) -> list[date]:
    """The UTC dates that a business day touches."""
    first = datetime.fromtimestamp(day.start / 1000, UTC).date()
    last = datetime.fromtimestamp((day.end - 1) / 1000, UTC).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _utc_keys(day: StoreDay) -> list[tuple[str, str]]:
    """(store_id, UTC date) of the events that a day may hold."""
    return [(day.calendar.store_id, date_.isoformat()) for date_ in _utc_dates(day)]


def _payment(row: list[Any]) -> tuple[str, Payment]:
    """The store of a stored transaction, and the transaction as the rules read it."""
    store_id, transaction_id, at, value, currency = row
    return store_id, Payment((at, transaction_id), Decimal(value), currency)


def _fact(row: list[Any]) -> VisitFact:
    """A stored event as the rules read it."""
    store_id, event_id, camera_id, visitor_id, event_type, at, zone_id, dwell_ms, is_staff, queue_depth, seq = row
    return VisitFact(
        event_id=event_id,
        store_id=intern(store_id),
        camera_id=intern(camera_id),
        visitor_id=visitor_id,
        event_type=event_type,
        timestamp=None,  # type: ignore[arg-type] # rules read `at`
        confidence=0.0,
        zone_id=intern(zone_id) if zone_id else None,
        dwell_ms=dwell_ms,
        is_staff=is_staff,
        at=at,
        key=(at, seq, EVENT_RANK[event_type], event_id),
        queue_depth=queue_depth,
    )
