"""What the wall shows: one look at all shops every second and a half, shared by every browser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from aisleflow import log
from api.database import Row
from api.deps import Parts
from api.health.monitor import Log, stale
from api.problems import UnavailableError
from api.stores import answers
from api.stores.answers import Anomaly, Funnel, ZoneHeat
from api.stores.known import known_stores
from api.stores.windows import of_day
from api.wall import queries
from schemas.reading import epoch_ms

REFRESH_S = 1.5
# A page must be built within three seconds, or NiceGUI gives it up for good.
FIRST_LOOK_S = 1.5
# A look that takes longer is waited for, but the wall says so meanwhile.
PATIENCE_S = 6.0
QUARTER = timedelta(minutes=15)

logger = log.get(__name__)


# Cameras report every five minutes: after three missed reports nobody watches them.
UNHEARD = timedelta(minutes=16)


@dataclass(frozen=True)
class CameraNow:
    """What a camera said of itself last."""

    camera_id: str
    kind: str
    state: str
    reason: str
    since: datetime
    entries: int
    entrance_balance: int
    received_at: datetime

    def trouble(self, now: datetime) -> tuple[str, datetime] | None:
        """What is wrong with it, in a word, and since when; None if it is well, or its recording is over."""
        if self.state != "ONLINE":
            return self.state.lower(), self.since
        if self.kind != "END" and now - self.received_at > UNHEARD:
            return "unheard", self.received_at
        return None


@dataclass(frozen=True)
class Shop:
    """One shop on the wall, on the business day of its newest fact."""

    store_id: str
    name: str
    day: date
    zone: ZoneInfo
    last_event: datetime | None
    is_stale: bool
    behind_s: int | None
    """How much older than now its figures may be, because its records wait for the workers; None if unknown."""
    visitors: int
    conversion: float
    attributed: float
    abandonment: float
    unmatched: int
    staff: int
    avg_dwell_ms: int
    transactions: int
    revenue: float
    currency: str | None
    funnel: Funnel
    zones: dict[str, ZoneHeat]
    queue: int
    queue_before: int
    """Depth a quarter of an hour before the newest fact."""
    trend: list[tuple[datetime, int]]
    """Deepest queue of each quarter of an hour, from the day's first reading to its newest fact."""
    anomalies: list[Anomaly] = field(default_factory=list)
    cameras: list[CameraNow] = field(default_factory=list)


@dataclass(frozen=True)
class Snapshot:
    """Everything on the wall at one moment. With a ``problem`` the shops are those of ``taken_at``, and say so; ``log``,
    what Kafka tells of the workers, is always new.
    """

    shops: tuple[Shop, ...] = ()
    taken_at: datetime | None = None
    problem: str | None = None
    log: Log | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything has been looked at yet."""
        return self.taken_at is not None or self.problem is not None


def trend(rows: Sequence[Row], until: datetime) -> list[tuple[datetime, int]]:
    """Depths by quarter of an hour without gaps: where nothing changed, the last depth held on."""
    steps: list[tuple[datetime, int]] = []
    held = 0
    for row in rows:
        while steps and steps[-1][0] + QUARTER < row["quarter"]:
            steps.append((steps[-1][0] + QUARTER, held))
        steps.append((row["quarter"], max(row["deepest"], held if steps else 0)))
        held = row["last"]
    while steps and steps[-1][0] + QUARTER <= until:
        steps.append((steps[-1][0] + QUARTER, held))
    return steps


def depth_at(rows: Sequence[Row], moment: datetime) -> int:
    """The depth at the end of the last quarter of an hour that began by a moment."""
    return next((int(row["last"]) for row in reversed(rows) if row["quarter"] <= moment), 0)


async def look(parts: Parts, log: Log) -> tuple[Shop, ...]:
    """All shops now, by name. ``log`` must not be newer than what is looked at: it tells what has been read by then.

    Raises:
        UnavailableError: ClickHouse is away.
    """
    database, now = parts.database, datetime.now(UTC)
    stores = await known_stores(database)
    if not stores:
        return ()
    windows = {s.store_id: of_day(s.calendar, s.calendar.business_day(epoch_ms(s.last_event or now))) for s in stores}
    heard = {store.store_id: windows[store.store_id] for store in stores if store.last_event is not None}
    figures, queues, anomalies, cameras = await asyncio.gather(
        queries.days(database, heard),
        queries.queues(database, heard),
        queries.open_anomalies(database),
        queries.cameras(database),
    )
    shops = []
    for store in stores:
        store_id = store.store_id
        counts = figures.get(store_id, queries.NOTHING)
        store_queue = queues.get(store_id, [])
        amounts, currency = answers.revenue(counts["transactions"], store.currency)
        visitors = counts["unique_visitors"]
        shops.append(
            Shop(
                store_id=store_id,
                name=store.name or store_id,
                day=windows[store_id].last_day,
                zone=store.calendar.zone,
                last_event=store.last_event,
                is_stale=stale(store, log.complete_until(store_id)) is not None,
                behind_s=log.behind_seconds(store_id),
                visitors=visitors,
                conversion=answers.rate(counts["purchasers"], visitors),
                attributed=answers.rate(counts["attributed_visitors"], visitors),
                abandonment=answers.rate(counts["abandoned"], counts["joined"]),
                unmatched=counts["unmatched_visitors"],
                staff=counts["staff_visits"],
                avg_dwell_ms=answers.mean_ms(
                    sum(zone["dwell_ms"] for zone in counts["zones"]),
                    sum(zone["frequency"] for zone in counts["zones"]),
                ),
                transactions=sum(row["transactions"] for row in counts["transactions"]),
                revenue=amounts.get(currency or "XXX", 0.0),
                currency=currency,
                funnel=answers.funnel(counts),
                zones=answers.heatmap(counts["zones"]),
                queue=store_queue[-1]["last"] if store_queue else 0,
                queue_before=depth_at(store_queue, (store.last_event or now) - QUARTER),
                trend=trend(store_queue, store.last_event or now),
                anomalies=[Anomaly(**row) for row in anomalies.get(store_id, [])],
                cameras=[
                    CameraNow(**{name: value for name, value in row.items() if name != "store_id"})
                    for row in cameras.get(store_id, [])
                ],
            )
        )
    return tuple(sorted(shops, key=lambda shop: (shop.name.casefold(), shop.store_id)))


class Live:
    """Looks while somebody watches, and tells every watcher. Keeps the last figures when ClickHouse is away, and says
    so.
    """

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts
        self._watchers: set[Callable[[Snapshot], None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._look: asyncio.Task[tuple[Shop, ...]] | None = None
        self._looked = asyncio.Event()
        self.snapshot = Snapshot()

    async def first_look(self) -> None:
        """Return when there is something to show, or after a moment: then the first look will tell the watchers."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._looked.wait(), FIRST_LOOK_S)

    def watch(self, watcher: Callable[[Snapshot], None]) -> None:
        """Tell this watcher of every look from now on."""
        self._watchers.add(watcher)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def leave(self, watcher: Callable[[Snapshot], None]) -> None:
        """Tell this watcher no more."""
        self._watchers.discard(watcher)

    async def _run(self) -> None:
        while self._watchers:
            await self.refresh()
            for watcher in list(self._watchers):
                try:
                    watcher(self.snapshot)
                except Exception:  # one browser's page must not stop the others'
                    logger.exception("wall_watcher_failed")
                    self._watchers.discard(watcher)
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> Snapshot:
        """Look once. A ClickHouse that does not answer soon is not asked a second time meanwhile."""
        parts = self._parts()
        try:
            log = await parts.monitor.log()
            looking = self._look = self._look or asyncio.create_task(look(parts, log))
            await asyncio.wait({looking}, timeout=PATIENCE_S)
            if looking.done():
                self._look = None
                self.snapshot = Snapshot(looking.result(), datetime.now(UTC), log=log)
            else:
                self.snapshot = replace(self.snapshot, problem="The database (ClickHouse) is slow to answer", log=log)
        except UnavailableError:
            self.snapshot = replace(self.snapshot, problem="The database (ClickHouse) does not answer", log=log)
        except Exception:  # the wall goes on: it shows that it has failed, and tries again
            logger.exception("wall_refresh_failed")
            self.snapshot = replace(self.snapshot, problem="The figures cannot be read; the log says why")
        self._looked.set()
        return self.snapshot
