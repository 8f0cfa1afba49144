"""Anomalies over time: opened once, kept current, closed; written to ClickHouse and published as alerts."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Producer

from aisleflow import log
from aisleflow.clients import partition_of, raise_on
from aisleflow.settings import Settings
from schemas import topics
from schemas.events import Alert, dump
from schemas.layouts import StoreCalendar
from stream_processors.anomalies import Finding, Identity, OpenAnomaly, detect, stale_feed
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.history import History

logger = log.get(__name__)

COLUMNS = (
    *("store_id", "type", "subject", "detected_at", "business_day", "severity", "message", "suggested_action"),
    *("value", "baseline", "closed_at", "version"),
)
PAUSE_S = 1.0
STALE_CHECK_S = 15.0
ALERT_NAMESPACE = uuid.UUID("8d1f0d0e-6a0a-5b44-9c59-6a1c5f5ad6a1")


@dataclass(frozen=True)
class Change:
    """What became of an anomaly."""

    finding: Finding
    detected_at: int
    state: str
    """OPENED, CHANGED, UPDATED (figures only, no alert) or CLOSED."""


def changes(
    open_now: dict[Identity, OpenAnomaly], findings: Iterable[Finding], types: Collection[str], at: int
) -> list[Change]:
    """What a new look changes: opened, changed in severity, updated in figures, closed.

    Args:
        open_now: the store's open anomalies.
        findings: what is found now.
        types: the types that were looked for; others stay as they are.
        at: event time of the look, milliseconds since 1970.
    """
    found = {finding.identity: finding for finding in findings}
    result = []
    for identity, finding in found.items():
        held = open_now.get(identity)
        if held is None:
            result.append(Change(finding, at, "OPENED"))
        elif held.finding.severity != finding.severity:
            result.append(Change(finding, held.detected_at, "CHANGED"))
        elif (held.finding.value, held.finding.baseline) != (finding.value, finding.baseline):
            result.append(Change(finding, held.detected_at, "UPDATED"))
    for identity, held in open_now.items():
        if identity not in found and identity[0] in types:
            result.append(Change(held.finding, held.detected_at, "CLOSED"))
    return result


class AnomalyWatch:
    """Looks at stores that have new facts, and now and then at all of this worker's stores for silence."""

    def __init__(
        self,
        settings: Settings,
        sink: ClickHouseSink,
        history: History,
        producer: Producer,
        touched: set[str],
        read_until: Callable[[], float | None] = time.time,
    ) -> None:
        """``touched`` are the stores with new facts, which this takes out; ``read_until`` tells up to when (seconds since
        1970) everything on the log is derived, None while that is not known.
        """
        self._settings = settings
        self._sink = sink
        self._history = history
        self._producer = producer
        self._touched = touched
        self._read_until = read_until

    async def run(self, partitions: Callable[[], set[int]]) -> None:
        """Look for ever. ``partitions`` tells which store partitions this worker holds."""
        checked_silence = time.monotonic()
        while True:
            await asyncio.sleep(PAUSE_S)
            stores = set(self._touched)
            self._touched.difference_update(stores)
            try:
                if stores:
                    await self._sink.until_answered(self.look, stores)
                if time.monotonic() - checked_silence > STALE_CHECK_S and (until := self._read_until()) is not None:
                    checked_silence = time.monotonic()
                    await self._sink.until_answered(self.look_for_silence, partitions(), int(until * 1000))
            except Exception:
                self._touched |= stores
                raise

    def look(self, stores: Collection[str]) -> None:
        """Judge these stores at their newest facts."""
        known = self._history.anomaly_figures(tuple(stores))
        types = ("QUEUE_SPIKE", "CONVERSION_DROP", "ABANDONMENT_SPIKE", "DEAD_ZONE", "CAMERA_DOWN")
        self._settle(
            {name: (figures.newest, figures.calendar, detect(figures)) for name, figures in known.items()}, types
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
        self._settle(
            {name: (now, calendars[name], stale_feed(calendars[name], newest, now)) for name, newest in feeds.items()},
            ("STALE_FEED",),
        )

    def _settle(self, looks: dict[str, tuple[int, StoreCalendar, list[Finding]]], types: Collection[str]) -> None:
        held = self._history.open_anomalies(tuple(looks))
        rows = []
        version = time.time_ns() // 1_000_000
        for name, (at, calendar, findings) in looks.items():
            for change in changes(held.get(name, {}), findings, types, at):
                rows.append(_row(name, calendar, change, at, version))
                if change.state != "UPDATED":
                    alert = _alert(name, change, at)
                    self._producer.produce(
                        self._settings.topic_prefix + topics.ALERTS.name,
                        dump(alert),
                        name.encode(),
                        on_delivery=lambda error, _: raise_on(error),
                    )
        # Alerts first: written rows are not looked at again, so a crash between the two must repeat an alert rather
        # than lose it.
        self._producer.flush()
        if rows:
            self._sink.insert_blocking("anomalies", COLUMNS, rows, str(uuid.uuid4()))


def _row(store_id: str, calendar: StoreCalendar, change: Change, at: int, version: int) -> tuple[Any, ...]:
    finding = change.finding
    return (
        *(store_id, finding.type, finding.subject, change.detected_at / 1000),
        *(
            calendar.business_day(change.detected_at).isoformat(),
            finding.severity,
            finding.message,
            finding.suggested_action,
        ),
        *(finding.value, finding.baseline, at / 1000 if change.state == "CLOSED" else None, version),
    )


def _alert(store_id: str, change: Change, at: int) -> Alert:
    finding = change.finding
    name = f"{store_id}|{finding.type}|{finding.subject}|{change.detected_at}|{change.state}|{finding.severity}"
    return Alert(
        event_id=str(uuid.uuid5(ALERT_NAMESPACE, name)),
        store_id=store_id,
        timestamp=datetime.fromtimestamp(at / 1000, UTC),
        type=finding.type,
        subject=finding.subject,
        state=change.state,  # type: ignore[arg-type] # UPDATED publishes nothing
        severity=finding.severity,
        message=finding.message,
        suggested_action=finding.suggested_action,
        value=finding.value,
        baseline=finding.baseline,
    )
