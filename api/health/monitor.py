"""Whether the parts work: Kafka, ClickHouse and the workers, and how fresh each store is."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Literal

from confluent_kafka import KafkaException
from pydantic import BaseModel, Field

from aisleflow import log
from aisleflow.settings import Settings
from api.database import Database
from api.problems import UnavailableError
from api.progress import Progress, behind
from api.stores import queries
from api.stores.known import Store
from schemas import topics
from schemas.reading import epoch_ms

STALE_AFTER_S = 10 * 60
# At the slowest pace we promise (2,000 events/s) this takes ten seconds to catch up.
LAG_WORTH_SAYING = 20_000
REMEMBERED_S = 1.0


logger = log.get(__name__)


class Part(BaseModel):
    """One part of the system."""

    status: Literal["up", "down", "behind"]
    detail: str


class Freshness(BaseModel):
    """How fresh one store is."""

    last_event_timestamp: datetime | None
    lag_minutes: int | None = Field(description="Whole minutes since then; null without events.")


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
    checked_at: datetime


def stale(store: Store, now: datetime) -> StaleFeed | None:
    """A warning if the store is open (by its layout, else always) and its newest fact over 10 minutes old."""
    if store.last_event is None or (now - store.last_event).total_seconds() <= STALE_AFTER_S:
        return None
    if store.calendar.open_since(epoch_ms(now)) is None:
        return None
    minutes = lag_minutes(store.last_event, now)
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
        self._settings = settings
        self._database = database
        self._progress = progress
        self._looking = asyncio.Lock()
        self._last: tuple[float, Health] | None = None

    async def health(self) -> Health:
        """The state of everything, at most a second old."""
        async with self._looking:
            if self._last is None or time.monotonic() - self._last[0] > REMEMBERED_S:
                self._last = (time.monotonic(), await self._look())
            return self._last[1]

    async def _look(self) -> Health:
        now = datetime.now(UTC)
        (kafka, workers, lag), (clickhouse, stores) = await asyncio.gather(self._kafka(), self._clickhouse())
        warnings = [warning for store in stores if (warning := stale(store, now)) is not None]
        away = "down" in (kafka.status, clickhouse.status)
        return Health(
            status="unhealthy" if away else "degraded" if warnings or workers.status != "up" else "healthy",
            stores={
                store.store_id: Freshness(
                    last_event_timestamp=store.last_event,
                    lag_minutes=None if store.last_event is None else lag_minutes(store.last_event, now),
                )
                for store in stores
            },
            warnings=warnings,
            parts=Parts(kafka=kafka, clickhouse=clickhouse, workers=workers),
            worker_lag_records=lag,
            checked_at=now,
        )

    async def _clickhouse(self) -> tuple[Part, list[Store]]:
        try:
            rows = await queries.stores(self._database)
        except UnavailableError:
            return Part(status="down", detail="does not answer"), []
        return Part(status="up", detail=f"answers; {len(rows)} stores known"), [Store.from_row(row) for row in rows]

    async def _kafka(self) -> tuple[Part, Part, int | None]:
        prefix = self._settings.topic_prefix
        try:
            ends = await self._progress.ends([prefix + topics.VISIT_EVENTS.name, prefix + topics.TRANSACTIONS.name])
        except KafkaException as error:
            logger.warning("kafka_away", error=str(error))
            return _down("does not answer"), _down("unknown while Kafka is away"), None
        if not ends:
            return _down("its topics are missing; `aisleflow topics` makes them"), _down("unknown without topics"), None
        kafka = Part(status="up", detail="answers")
        try:
            committed, members = await asyncio.gather(self._progress.committed(ends), self._progress.members())
        except KafkaException as error:  # a broker that has just started knows no groups for a moment
            logger.warning("group_unknown", error=str(error))
            return kafka, _down("Kafka does not tell about their group"), None
        lag = behind(ends, committed)
        status: Literal["up", "down", "behind"] = (
            "down" if not members else "behind" if lag > LAG_WORTH_SAYING else "up"
        )
        return kafka, Part(status=status, detail=f"{members} in the group, {lag} records behind"), lag


def _down(detail: str) -> Part:
    return Part(status="down", detail=detail)
