"""Anomalies over time: opened once, kept current, closed; written to ClickHouse and published as alerts.

The order of a look makes it exact (``docs/anomalies.md``): read what is open, judge, write what changed, publish what the
world does not know yet, and only then write that it knows. After a crash between any two steps the next look goes on from
the rows: an anomaly that is written keeps its name, so an alert that is published again has the same ``event_id``.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from aisleflow import log
from aisleflow.clients import Failures, LastingProducer, partition_of
from aisleflow.settings import Settings
from schemas import topics
from schemas.events import Alert, AnomalyType, anomaly_id, dump
from schemas.layouts import StoreCalendar
from stream_processors import baselines
from stream_processors.anomalies import SHOP_TYPES, Finding, OpenAnomaly, detect, follow, stale_feed
from stream_processors.baselines import Baselines
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.history import History

logger = log.get(__name__)

COLUMNS = (
    *("store_id", "type", "subject", "detected_at", "business_day", "severity", "message", "suggested_action"),
    *("value", "baseline", "severity_reason", "unusual", "evidence", "calm_since", "closed_at", "announced", "version"),
)
BASELINE_COLUMNS = (
    *("store_id", "metric", "subject", "weekday", "hour", "usual", "spread", "days", "figures", "made_for"),
)
JUDGED_AT_FACTS = frozenset(
    (
        *("QUEUE_SPIKE", "CONVERSION_DROP", "ABANDONMENT_SPIKE", "DEAD_ZONE", "CAMERA_DOWN"),
        *("FOOTFALL_DROP", "FOOTFALL_SURGE"),
    )
)
PAUSE_S = 1.0
# Looks may take this share of the time: what an anomaly follows from changes in minutes, and where a look takes long (many shops, a
# backlog, a busy machine), cycles need the machine more. No later than the longest pause for that.
LOOKING_SHARE = 0.2
LONGEST_PAUSE_S = 5.0
STALE_CHECK_S = 15.0
# Of the stores that came with a partition so many get their look at once, some 1 ms each, beside those with new facts.
TAKEN_OVER_AT_ONCE = 200
# A shop that nothing comes from for so long gets no more looks at its facts; what is over there is closed by the clock.
QUIET_MS = 20 * 60_000
# So many stores' baselines are made in one look, some 0.1 s each: at midnight those of a thousand take their turns.
MADE_AT_ONCE = 3
ALERT_NAMESPACE = uuid.UUID("8d1f0d0e-6a0a-5b44-9c59-6a1c5f5ad6a1")


@dataclass(frozen=True)
class Change:
    """An anomaly that is no longer as its row says."""

    store_id: str
    business_day: date
    anomaly: OpenAnomaly
    at: int
    """Event time of the look that found it so."""


def pause_s(took_s: float) -> float:
    """How long to wait, in seconds, after a look that took so long."""
    return max(PAUSE_S, min(took_s / LOOKING_SHARE - took_s, LONGEST_PAUSE_S))


def changes(
    held: Iterable[OpenAnomaly], findings: Iterable[Finding], types: Collection[str], at: int
) -> list[OpenAnomaly]:
    """What a look changes of one store's anomalies, or has still to announce.

    Args:
        held: those that are open or not announced as closed, the oldest first.
        findings: what is found now.
        types: the types that were looked for; others stay as they are.
        at: event time of the look, milliseconds since 1970.
    """
    found = {finding.identity: finding for finding in findings}
    after: list[OpenAnomaly] = []
    seen = set()
    for one in held:
        identity = one.finding.identity
        if one.closed_at is not None or one.finding.type not in types:
            after += [] if one.is_announced else [one]
        elif identity in seen:
            # Two workers opened it in the moment when the store went from one to the other: the older one stays.
            after.append(replace(one, calm_since=one.detected_at, closed_at=one.detected_at))
        else:
            now = follow(one, found.get(identity), at)
            assert now is not None  # what is held stays, if only to be closed
            after += [now] if _differs(one, now) or not now.is_announced else []
        if one.closed_at is None:
            seen.add(identity)
    opened = [follow(None, finding, at) for identity, finding in found.items() if identity not in seen]
    return [*after, *(one for one in opened if one is not None)]


def _differs(before: OpenAnomaly, now: OpenAnomaly) -> bool:
    """Whether the row must be written again. Words may change without a figure: they are not worth a row."""
    figures = [
        (one.finding.severity, one.finding.value, one.finding.baseline, one.calm_since, one.closed_at)
        for one in (before, now)
    ]
    return figures[0] != figures[1]


class AlertBook:
    """Anomalies of some types over time, as rows and as alerts. Of one store's one type there is one book at a time: that
    of the worker which holds the store's partition.
    """

    def __init__(
        self,
        settings: Settings,
        sink: ClickHouseSink,
        history: History,
        producer: LastingProducer,
        keeps: Collection[AnomalyType],
    ) -> None:
        """``keeps`` are the types that this book is about; others are another's."""
        self._topic = settings.topic_prefix + topics.ALERTS.name
        self._sink = sink
        self._history = history
        self._producer = producer
        self._keeps = keeps

    def settle(
        self,
        looks: dict[str, tuple[int, StoreCalendar, list[Finding]]],
        types: Collection[str],
        quiet: Collection[str] = (),
    ) -> None:
        """Write and publish what the looks change. In ``quiet`` stores, what is over is closed by the clock, too."""
        held = self._history.open_anomalies(tuple(looks), self._keeps) if looks else {}
        found = []
        for name, (at, calendar, findings) in looks.items():
            mine = held.get(name, [])
            if name in quiet:
                mine = [_closed_by_the_clock(one, at) if one.finding.type not in types else one for one in mine]
            found += [
                Change(name, calendar.business_day(one.detected_at), one, at)
                for one in changes(mine, findings, types, at)
            ]
        version = time.time_ns() // 1_000_000
        self._write(found, version)
        news = [change for change in found if not change.anomaly.is_announced]
        failures = Failures()
        for change in news:
            self._producer.produce(self._topic, dump(_alert(change)), change.store_id.encode(), on_delivery=failures)
        self._producer.flush()
        failures.raise_first()
        told = [replace(news, anomaly=replace(news.anomaly, announced=news.anomaly.says)) for news in news]
        self._write(told, version + 1)

    def _write(self, found: Collection[Change], version: int) -> None:
        if found:
            rows = [_row(change, version) for change in found]
            self._sink.insert_blocking("anomalies", COLUMNS, rows, str(uuid.uuid4()))


class AnomalyWatch:
    """Looks at stores that have new facts, and now and then at all of this worker's stores for silence.

    Who had a partition before may have derived a store's newest facts and left before looking at them. So whoever takes a
    partition over, or starts, looks once at every store of it.
    """

    def __init__(
        self,
        settings: Settings,
        sink: ClickHouseSink,
        history: History,
        producer: LastingProducer,
        touched: set[str],
        read_until: Callable[[], float | None] = time.time,
    ) -> None:
        """``touched`` are the stores with new facts, which this takes out; ``read_until`` tells up to when (seconds since
        1970) everything on the log is derived, None while that is not known.
        """
        self._settings = settings
        self._sink = sink
        self._history = history
        self._book = AlertBook(settings, sink, history, producer, SHOP_TYPES)
        self._touched = touched
        self._read_until = read_until
        self._usual: dict[str, tuple[date, Baselines | None]] = {}
        """By store: what is usual on a business day."""
        self._made = 0

    async def run(self, partitions: Callable[[], set[int]]) -> None:
        """Look for ever. ``partitions`` tells which store partitions this worker holds."""
        checked_silence = time.monotonic()
        count = self._settings.store_partitions
        held: set[int] = set()
        taken_over: list[str] = []
        took_s = 0.0
        while True:
            await asyncio.sleep(PAUSE_S if taken_over else pause_s(took_s))
            began = time.monotonic()
            stores = set(self._touched)
            self._touched.difference_update(stores)
            mine = partitions()
            if gained := mine - held:
                known = await self._sink.until_answered(self._history.newest_facts)
                taken_over += [name for name in known if partition_of(name, count) in gained]
            held = mine
            stores.update(taken_over[:TAKEN_OVER_AT_ONCE])
            del taken_over[:TAKEN_OVER_AT_ONCE]
            # A store that another worker has taken over is looked at there, and by nobody else.
            stores = {name for name in stores if partition_of(name, count) in mine}
            try:
                if stores:
                    await self._sink.until_answered(self.look, stores)
                if time.monotonic() - checked_silence > STALE_CHECK_S and (until := self._read_until()) is not None:
                    checked_silence = time.monotonic()
                    await self._sink.until_answered(self.look_for_silence, mine, int(until * 1000))
            except Exception:
                self._touched |= stores
                raise
            took_s = time.monotonic() - began

    def look(self, stores: Collection[str]) -> None:
        """Judge these stores at their newest facts."""
        known = self._history.anomaly_figures(tuple(stores))
        usual = self._usual_on(
            {name: (figures.calendar, figures.calendar.business_day(figures.newest)) for name, figures in known.items()}
        )
        self._book.settle(
            {
                name: (figures.newest, figures.calendar, detect(replace(figures, baselines=usual[name])))
                for name, figures in known.items()
            },
            JUDGED_AT_FACTS,
        )

    def look_for_silence(self, partitions: set[int], now: int) -> None:
        """Look for stale feeds among the stores of these partitions, at the moment (``now``, milliseconds since 1970) up
        to which everything on the log has been read: who is behind must not take what waits there for silence.
        """
        count = self._settings.store_partitions
        feeds = {
            name: newest
            for name, newest in self._history.newest_facts().items()
            if partition_of(name, count) in partitions
        }
        calendars = self._history.calendars(tuple(feeds))
        silent = {name for name, newest in feeds.items() if stale_feed(calendars[name], newest, now)}
        usual = self._usual_on({name: (calendars[name], calendars[name].business_day(now)) for name in silent})
        self._book.settle(
            {
                name: (now, calendars[name], stale_feed(calendars[name], newest, now, usual.get(name)))
                for name, newest in feeds.items()
            },
            ("STALE_FEED",),
            {name for name, newest in feeds.items() if now - newest > QUIET_MS},
        )

    def _usual_on(self, days: dict[str, tuple[StoreCalendar, date]]) -> dict[str, Baselines | None]:
        """What is usual in these stores on these business days: from memory, else from ClickHouse, else made now, of a
        few stores in one look; the others have to do with what was made for them last.
        """
        missing = {name: day for name, (_, day) in days.items() if self._usual.get(name, (None,))[0] != day}
        found: dict[str, Baselines | None] = {}
        made = 0
        for name, (made_for, rows) in self._history.baselines(missing).items():
            calendar, day = days[name]
            if made_for != day:
                if made == MADE_AT_ONCE:
                    found[name] = Baselines.read(day.isoweekday(), rows) if rows else None
                    continue
                made += 1
                rows = baselines.make(self._history.past(calendar, day), calendar, day)
                if rows:
                    written = [(name, *row, day.isoformat()) for row in rows]
                    self._sink.insert_blocking("baselines", BASELINE_COLUMNS, written, str(uuid.uuid4()))
            self._usual[name] = (day, Baselines.read(day.isoweekday(), rows) if rows else None)
        return {name: found[name] if name in found else self._usual[name][1] for name in days}


def _closed_by_the_clock(anomaly: OpenAnomaly, now: int) -> OpenAnomaly:
    """What is over in a shop that nothing comes from, closed once it has been calm for long enough."""
    closed = None if anomaly.calm_since is None else follow(anomaly, None, now)
    return anomaly if closed is None or closed.closed_at is None else closed


def _row(change: Change, version: int) -> tuple[Any, ...]:
    one, finding = change.anomaly, change.anomaly.finding
    return (
        *(change.store_id, finding.type, finding.subject, one.detected_at / 1000, change.business_day.isoformat()),
        *(finding.severity, finding.message, finding.suggested_action, finding.value, finding.baseline),
        *(finding.severity_reason, finding.unusual, dict(finding.evidence)),
        None if one.calm_since is None else one.calm_since / 1000,
        None if one.closed_at is None else one.closed_at / 1000,
        *(one.announced, version),
    )


def _alert(change: Change) -> Alert:
    one, finding = change.anomaly, change.anomaly.finding
    state = "CLOSED" if one.closed_at is not None else "CHANGED" if one.announced else "OPENED"
    name = f"{change.store_id}|{finding.type}|{finding.subject}|{one.detected_at}|{state}|{finding.severity}"
    return Alert(
        event_id=str(uuid.uuid5(ALERT_NAMESPACE, name)),
        store_id=change.store_id,
        timestamp=datetime.fromtimestamp(change.at / 1000, UTC),
        type=finding.type,
        subject=finding.subject,
        state=state,  # type: ignore[arg-type] # one of the three
        severity=finding.severity,
        message=finding.message,
        suggested_action=finding.suggested_action,
        value=finding.value,
        baseline=finding.baseline,
        anomaly_id=anomaly_id(change.store_id, finding.type, finding.subject, one.detected_at),
        severity_reason=finding.severity_reason,
    )
