"""Whether the parts work: Kafka, ClickHouse and the workers, and how fresh each store is.

A store that is silent and a worker that is slow look the same in ClickHouse: nothing new. The log tells them apart, so
silence is judged at the moment up to which all of the store's records have been read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from confluent_kafka import KafkaException
from pydantic import BaseModel, Field

from aisleflow import log
from aisleflow.settings import Settings
from api.database import Database
from api.health.backlog import Backlog, BacklogWatch, Look, describe
from api.problems import UnavailableError
from api.progress import Progress
from api.stores.known import Store, known_stores
from api.words import number
from schemas.reading import epoch_ms

STALE_AFTER_S = 10 * 60
REMEMBERED_S = 1.0
ANSWER_WITHIN_S = 3.0
# Thousands of shops take a while to judge: other requests go on after so many.
JUDGED_AT_ONCE = 100
# Answers do not wait for a look at the log: an older one is as good.
GOOD_ENOUGH_S = 10.0

logger = log.get(__name__)


class Part(BaseModel):
    """One part of the system."""

    status: Literal["up", "down", "behind"]
    detail: str


class Freshness(BaseModel):
    """How fresh one store is."""

    last_event_timestamp: datetime | None
    lag_minutes: int | None = Field(description="Whole minutes since then; null without events.")
    behind_seconds: int | None = Field(
        description="How much older than now the store's figures may be, because records wait for the workers; "
        "0 while they are current, null if Kafka does not tell."
    )


class StaleFeed(BaseModel):
    """A store that should be sending, and is not."""

    type: Literal["STALE_FEED"] = "STALE_FEED"
    store_id: str
    lag_minutes: int
    message: str


class Parts(BaseModel):
    """Each part on its own."""

    kafka: Part
    clickhouse: Part
    workers: Part


class Health(BaseModel):
    """``unhealthy``: Kafka or ClickHouse is away; ``degraded``: workers are away or behind, or a feed is stale."""

    status: Literal["healthy", "degraded", "unhealthy"]
    stores: dict[str, Freshness]
    warnings: list[StaleFeed]
    parts: Parts
    worker_lag_records: int | None = Field(
        description="Records on the log that no worker has confirmed; null if unknown."
    )
    backlog: Backlog | None = Field(description="How far behind the workers are; null if Kafka does not tell.")
    checked_at: datetime


@dataclass(frozen=True)
class Log:
    """What Kafka tells: of itself, of the workers, and of what waits for them (None if it does not tell)."""

    kafka: Part
    workers: Part
    look: Look | None = None

    def complete_until(self, store_id: str) -> datetime | None:
        """Up to when everything about a store has been read; None if unknown."""
        return None if self.look is None else self.look.complete_until(store_id)

    def behind_seconds(self, store_id: str) -> int | None:
        """By how much the figures of a store may lag; None if unknown."""
        return None if self.look is None else self.look.behind_seconds(store_id)


def stale(store: Store, complete_until: datetime | None) -> StaleFeed | None:
    """A warning if the store was open (by its layout, else always) and its newest fact over 10 minutes old at the moment
    up to which all of its records are read. Nobody can tell if that is not known (None).
    """
    if complete_until is None or store.last_event is None:
        return None
    if (complete_until - store.last_event).total_seconds() <= STALE_AFTER_S:
        return None
    if store.calendar.open_since(epoch_ms(complete_until)) is None:
        return None
    minutes = lag_minutes(store.last_event, complete_until)
    return StaleFeed(
        store_id=store.store_id,
        lag_minutes=minutes,
        message=f"Nothing has come from {store.store_id} for {minutes} minutes; check its network and gateway.",
    )


def lag_minutes(last: datetime, now: datetime) -> int:
    """Whole minutes from the one to the other, never below zero."""
    return max(0, int((now - last).total_seconds() // 60))


class Monitor:
    """Looks at the parts when asked, at most once a second."""

    def __init__(self, settings: Settings, database: Database, progress: Progress) -> None:
        self._database = database
        self._progress = progress
        self._backlog = BacklogWatch(settings, progress)
        self._looking, self._asking = asyncio.Lock(), asyncio.Lock()
        self._last: tuple[float, Health] | None = None
        self._last_log: tuple[float, Log] | None = None
        self._refresh: asyncio.Task[Log] | None = None
        self._stores: asyncio.Task[list[Store]] | None = None

    async def health(self) -> Health:
        """The state of everything, at most a second old."""
        async with self._looking:
            if self._last is None or time.monotonic() - self._last[0] > REMEMBERED_S:
                self._last = (time.monotonic(), await self._look())
            return self._last[1]

    async def log(self) -> Log:
        """The state of Kafka and the workers, at most a second old."""
        async with self._asking:
            if self._last_log is None or time.monotonic() - self._last_log[0] > REMEMBERED_S:
                self._last_log = (time.monotonic(), await self._look_at_log())
            return self._last_log[1]

    def behind_seconds(self, store_id: str) -> int | None:
        """By how much the figures of a store may lag, as last seen; None if that is not known. Never waits: a new look
        begins for those who ask later.
        """
        age = float("inf") if self._last_log is None else time.monotonic() - self._last_log[0]
        if age > REMEMBERED_S and (self._refresh is None or self._refresh.done()):
            self._refresh = asyncio.create_task(self.log())
        if self._last_log is None or age > GOOD_ENOUGH_S:
            return None
        return self._last_log[1].behind_seconds(store_id)

    async def close(self) -> None:
        """Close what it holds."""
        for task in (self._refresh, self._stores):
            if task is not None:
                task.cancel()
        await self._backlog.close()

    async def _look(self) -> Health:
        # The log first: what it says has been read is in ClickHouse by the time that is asked.
        log = await self.log()
        clickhouse, stores = await self._clickhouse()
        now = datetime.now(UTC)
        freshness: dict[str, dict[str, Any]] = {}
        warnings: list[StaleFeed] = []
        for judged, store in enumerate(stores, 1):
            freshness[store.store_id] = {
                "last_event_timestamp": store.last_event,
                "lag_minutes": None if store.last_event is None else lag_minutes(store.last_event, now),
                "behind_seconds": log.behind_seconds(store.store_id),
            }
            if (warning := stale(store, log.complete_until(store.store_id))) is not None:
                warnings.append(warning)
            if judged % JUDGED_AT_ONCE == 0:
                await asyncio.sleep(0)
        away = "down" in (log.kafka.status, clickhouse.status)
        backlog = log.look.backlog if log.look else None
        return Health.model_validate(
            {
                "status": "unhealthy" if away else "degraded" if warnings or log.workers.status != "up" else "healthy",
                "stores": freshness,
                "warnings": warnings,
                "parts": Parts(kafka=log.kafka, clickhouse=clickhouse, workers=log.workers),
                "worker_lag_records": backlog.records if backlog else None,
                "backlog": backlog,
                "checked_at": now,
            }
        )

    async def _clickhouse(self) -> tuple[Part, list[Store]]:
        # Who asks whether the parts work wants to know soon; one question at a time is out, however slow the answer.
        self._stores = self._stores or asyncio.create_task(known_stores(self._database))
        await asyncio.wait({self._stores}, timeout=ANSWER_WITHIN_S)
        if not self._stores.done():
            return _down(f"has not answered within {ANSWER_WITHIN_S:g} s"), []
        asked, self._stores = self._stores, None
        try:
            stores = asked.result()
        except UnavailableError:
            return _down("does not answer"), []
        return Part(status="up", detail=f"answers; {len(stores)} stores known"), stores

    async def _look_at_log(self) -> Log:
        try:
            ends = await self._backlog.topic_ends()
        except KafkaException as error:
            logger.warning("kafka_away", error=str(error))
            return Log(_down("does not answer"), _down("unknown while Kafka is away"))
        if not ends:
            return Log(_down("its topics are missing; `aisleflow topics` makes them"), _down("unknown without topics"))
        kafka = Part(status="up", detail="answers")
        try:
            look, members = await asyncio.gather(self._backlog.look(ends), self._progress.members())
        except KafkaException as error:  # a broker that has just started knows no groups for a moment
            logger.warning("group_unknown", error=str(error))
            return Log(kafka, _down("Kafka does not tell about their group"))
        return Log(kafka, _workers(members, look.backlog), look)


def _workers(members: int, backlog: Backlog) -> Part:
    status: Literal["up", "down", "behind"] = "down" if not members else "behind" if backlog.since else "up"
    detail = f"{members} in the group, {number(backlog.records)} records behind"
    if backlog.since is not None:
        detail = f"{members} in the group, {describe(backlog)}"
    return Part(status=status, detail=detail)


def _down(detail: str) -> Part:
    return Part(status="down", detail=detail)
