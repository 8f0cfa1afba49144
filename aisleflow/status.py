"""How a system is: what ``aisleflow status`` shows and prints as JSON.

Each source (``run.json``, Kafka, ClickHouse, the disk) is asked on its own, at once and for some seconds at most. One that
does not answer leaves its part of the answer null and is named among the problems.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from aisleflow import running
from aisleflow.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ANSWER_WITHIN_S = 8.0
#: A cycle and its commit take under a second; what waits longer than this is a problem.
BEHIND_MS = 60_000
#: A worker writes a row every 10 s; with none for so long it is gone.
SILENT_S = 35
FULL_BYTES = 2 * 1024**3
SHOPS_TOLD = 100
ANOMALIES_TOLD = 100
Verdict = Literal["well", "wrong", "unknown"]


class Part(BaseModel):
    """A process on this machine, or a server elsewhere (without pid)."""

    name: str
    state: str = Field(
        description="ready, starting, restarting, stopped, gone (its process ended and nobody restarted it); "
        "up or down of servers elsewhere."
    )
    pid: int | None
    uptime_s: float | None
    restarts: int | None = Field(description="Since its supervisor started; null of servers elsewhere.")


class TopicLag(BaseModel):
    """What waits on one topic for the workers of one kind."""

    topic: str
    derives: str = Field(description="What these workers derive: visits or stock.")
    records: int = Field(description="Records that no worker has confirmed, as Kafka tells.")
    behind_ms: int | None = Field(description="Age of the oldest as the workers told last; null if they do not.")


class Worker(BaseModel):
    """What a worker told of itself in the last minute, from its rows in worker_health and topic_lag."""

    name: str
    told_s: float = Field(description="Seconds since its newest row.")
    partitions: int
    lag_records: int
    behind_ms: int
    records_per_s: float
    rows_per_s: float
    duplicates_per_s: float
    invalid_per_s: float
    cycle_p50_ms: int
    cycle_max_ms: int
    retries: int
    open_visits: int
    rss_bytes: int


class Rates(BaseModel):
    """Of all workers together."""

    arriving_per_s: float | None = Field(description="Records that Kafka took in the last minute, a second.")
    records_per_s: float | None = Field(description="Records that workers read.")
    rows_per_s: float | None = Field(description="Rows that workers wrote to ClickHouse.")


class NewestLetter(BaseModel):
    """The newest dead letter that waits."""

    topic: str
    at: datetime
    error: str
    message: str
    store_id: str


class DeadLetters(BaseModel):
    """Records that could not be read and that nobody has replayed or dropped."""

    waiting: int
    last_hour: int
    newest: NewestLetter | None


class Shop(BaseModel):
    """How fresh a shop is."""

    store_id: str
    last_event: datetime
    age_s: float


class Disk(BaseModel):
    """Room, and what takes it. Growth is that of the last hour, for a day; null if unknown."""

    path: str | None = Field(description="The data directory, if there is one on this machine.")
    free_bytes: int | None
    total_bytes: int | None
    kafka_bytes: int | None = Field(description="null of a Kafka elsewhere: it does not tell.")
    kafka_bytes_per_day: int | None
    clickhouse_bytes: int | None
    clickhouse_bytes_per_day: int | None


class Anomaly(BaseModel):
    """An open anomaly."""

    store_id: str
    type: str
    subject: str
    severity: str
    detected_at: datetime
    message: str


class Status(BaseModel):
    """The answer of ``aisleflow status --json``. It only grows."""

    at: datetime
    verdict: Verdict = Field(description="well, wrong (`problems` says what), or unknown: there is nothing to look at.")
    problems: list[str]
    notes: list[str] = Field(description="What is worth a look and no fault of the system.")
    parts: list[Part]
    lag: list[TopicLag] | None
    workers: list[Worker] | None
    rates: Rates
    dead_letters: DeadLetters | None
    shops: list[Shop] | None = Field(description=f"The {SHOPS_TOLD} least fresh, worst first.")
    shops_known: int | None
    anomalies: list[Anomaly] | None = Field(description=f"The {ANOMALIES_TOLD} newest of those open, worst first.")
    anomalies_open: int | None
    disk: Disk


@dataclass
class _Kafka:
    lag: list[TopicLag]
    arriving_per_s: float
    members: dict[str, int]
    """Workers by what they derive."""
    records: int
    arrived_last_hour: int


@dataclass
class _ClickHouse:
    workers: list[Worker]
    behind_ms: dict[tuple[str, str], int]
    """By topic and what is derived."""
    dead_letters: DeadLetters
    shops: list[Shop]
    shops_known: int
    anomalies: list[Anomaly]
    anomalies_open: int
    bytes: int
    rows: int
    rows_last_hour: int


class Look:
    """Looks at one system as often as it is asked; keeps its connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="status")
        self._busy: dict[str, Any] = {}
        self._client: Client | None = None
        self._admin: Any = None
        self._readers: dict[str, Any] = {}

    def look(self) -> Status:
        """How the system is now; takes some seconds at most."""
        settings = self._settings
        local = running.parts(settings.data_dir)
        kafka_dir = settings.data_dir / "kafka" / "log"
        own_kafka_dir = kafka_dir if settings.kafka is None and kafka_dir.is_dir() else None
        deadline = time.monotonic() + ANSWER_WITHIN_S
        asked = {
            "kafka": self._ask("kafka", self._kafka),
            "clickhouse": self._ask("clickhouse", self._clickhouse),
            "disk": self._ask("disk", lambda: folder_bytes(own_kafka_dir) if own_kafka_dir else None),
        }
        answers, why = {}, {}
        for name, future in asked.items():
            try:
                answers[name] = future.result(max(0.05, deadline - time.monotonic()))
                self._busy.pop(name, None)
            except TimeoutError:
                why[name] = f"does not answer within {ANSWER_WITHIN_S:g} s"
            except Exception as error:
                self._busy.pop(name, None)
                why[name] = reason(error)
                if name == "clickhouse":
                    self._client = None
        return _put_together(settings, local, answers, why)

    def _ask(self, name: str, question: Callable[[], Any]) -> Any:
        # One question at a time to a part that hangs.
        if name not in self._busy:
            self._busy[name] = self._pool.submit(question)
        return self._busy[name]

    # --- Kafka -----------------------------------------------------------------------------------------------------

    def _kafka(self) -> _Kafka:
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

        from aisleflow.clients import group_members
        from schemas.topics import DERIVED_TOPICS, STOCK_TOPICS

        admin = self._connected()
        prefix = self._settings.topic_prefix
        known = admin.list_topics(timeout=ANSWER_WITHIN_S).topics
        read = {
            derives: [prefix + topic for topic in names if prefix + topic in known]
            for derives, names in (("visits", DERIVED_TOPICS), ("stock", STOCK_TOPICS))
        }
        # Each once: two kinds of workers read the receipts.
        topics = dict.fromkeys(topic for names in read.values() for topic in names)
        places = [TopicPartition(name, number) for name in topics for number in known[name].partitions]
        if not places:
            raise LookupError("has no topics of Aisleflow's; `aisleflow topics` makes them")

        def offsets(spec: Any) -> dict[tuple[str, int], int]:
            answers = admin.list_offsets(dict.fromkeys(places, spec), request_timeout=ANSWER_WITHIN_S)
            return {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}

        now = int(time.time() * 1000)
        ends, begins = offsets(OffsetSpec.latest()), offsets(OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        minute, hour = (offsets(OffsetSpec.for_timestamp(now - ms)) for ms in (60_000, 3_600_000))
        lag: defaultdict[tuple[str, str], int] = defaultdict(int)
        members = {}
        for derives, group in (("visits", self._settings.consumer_group), ("stock", self._settings.stock_group)):
            for place in self._reader(group).committed(places, timeout=ANSWER_WITHIN_S):
                key = (place.topic, place.partition)
                lag[place.topic, derives] += max(0, ends[key] - max(place.offset, begins[key]))
            members[derives] = group_members(admin, group, ANSWER_WITHIN_S)

        def since(moment: dict[tuple[str, int], int]) -> int:  # -1: nothing is as new as that
            return sum(ends[place] - offset for place, offset in moment.items() if offset >= 0)

        return _Kafka(
            lag=[
                TopicLag(topic=topic, derives=derives, records=lag[topic, derives], behind_ms=None)
                for derives, names in read.items()
                for topic in names
            ],
            arriving_per_s=since(minute) / 60,
            members=members,
            records=sum(ends[place] - begins[place] for place in ends),
            arrived_last_hour=since(hour),
        )

    def _connected(self) -> Any:
        from confluent_kafka.admin import AdminClient

        from aisleflow.clients import kafka_config

        if self._admin is None:
            self._admin = AdminClient({**kafka_config(self._settings), "log_level": 0})
        return self._admin

    def _reader(self, group: str) -> Any:
        from aisleflow.clients import group_reader

        if group not in self._readers:
            self._readers[group] = group_reader(self._settings, group)
        return self._readers[group]

    # --- ClickHouse ------------------------------------------------------------------------------------------------

    def _clickhouse(self) -> _ClickHouse:
        from aisleflow.clients import clickhouse_client

        if self._client is None:
            self._client = clickhouse_client(
                self._settings,
                connect_timeout=2,
                send_receive_timeout=ANSWER_WITHIN_S,
                query_retries=0,
            )
        client = self._client
        now = time.time()

        def rows(query: str) -> list[Any]:
            found = client.query(query, settings={"max_threads": 1}).result_rows
            return [[v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for v in row] for row in found]

        lag: dict[str, tuple[int, int, int]] = {}
        behind: dict[tuple[str, str], int] = {}
        for topic, worker, lag_records, behind_ms, partitions in rows(_LAG):
            held, waiting, oldest = lag.get(worker, (0, 0, 0))
            lag[worker] = (held + partitions, waiting + lag_records, max(oldest, behind_ms))
            kind = (topic, "stock" if worker.startswith("stock-") else "visits")
            behind[kind] = max(behind_ms, behind.get(kind, 0))
        workers = [
            Worker(
                name=name,
                told_s=round(max(0.0, now - told), 1),
                **dict(zip(("partitions", "lag_records", "behind_ms"), lag.get(name, (0, 0, 0)), strict=True)),
                **dict(zip(_WORKER_FIELDS, figures, strict=True)),
            )
            for name, told, *figures in rows(_WORKERS)
        ]
        ((waiting, last_hour, *newest),) = rows(_LETTERS)
        letters = DeadLetters(
            waiting=waiting,
            last_hour=last_hour,
            newest=NewestLetter(**dict(zip(("topic", "at", "error", "message", "store_id"), newest, strict=True)))
            if waiting
            else None,
        )
        shops = [Shop(store_id=name, last_event=at, age_s=round(now - at.timestamp(), 1)) for name, at in rows(_SHOPS)]
        ((shops_known, anomalies_open),) = rows(_COUNTS)
        anomalies = [Anomaly(**dict(zip(Anomaly.model_fields, row, strict=True))) for row in rows(_ANOMALIES)]
        ((size, rows_held),) = rows(_SIZE)
        ((written,),) = rows(_WRITTEN)
        return _ClickHouse(
            *(workers, behind, letters, shops, shops_known, anomalies, anomalies_open, size, rows_held, written)
        )


_WORKER_FIELDS = (
    *("records_per_s", "rows_per_s", "duplicates_per_s", "invalid_per_s", "cycle_p50_ms", "cycle_max_ms", "retries"),
    *("open_visits", "rss_bytes"),
)
# What a row counts is of the 10 s before it.
_WORKERS = """
SELECT worker, told, round(read / span, 1), round(written / span, 1), round(repeated / span, 1), round(refused / span, 1),
    p50, longest, again, open, memory
FROM (
    SELECT worker, toUnixTimestamp64Milli(max(at)) / 1000 AS told,
        10 + dateDiff('millisecond', min(at), max(at)) / 1000 AS span,
        sum(records) AS read, sum(rows_written) AS written, sum(duplicates) AS repeated, sum(invalid) AS refused,
        quantileExactIf(cycle_p50_ms, cycles > 0) AS p50, max(cycle_max_ms) AS longest, sum(retries) AS again,
        argMax(open_visits, at) AS open, argMax(rss_bytes, at) AS memory
    FROM worker_health FINAL WHERE at > now64(3) - INTERVAL 1 MINUTE GROUP BY worker
) ORDER BY worker
"""
# A partition is its worker's that told last; workers of stock, named so, read some topics too.
_LAG = f"""
SELECT topic, holder, toUInt64(sum(waiting)), max(oldest), count() FROM (
    SELECT topic, partition, argMax(worker, at) AS holder, argMax(lag_records, at) AS waiting, argMax(behind_ms, at) AS oldest
    FROM topic_lag FINAL WHERE at > now64(3) - INTERVAL {SILENT_S} SECOND GROUP BY topic, partition,
        splitByChar('-', worker)[1]
) GROUP BY topic, holder ORDER BY topic, holder
"""  # noqa: S608 - a constant
_LETTERS = """
SELECT count(), countIf(at > now64(3) - INTERVAL 1 HOUR), argMax(topic, at), max(at), argMax(error, at), argMax(message, at),
    argMax(store_id, at)
FROM dead_letters FINAL WHERE handled = ''
"""
_SHOPS = f"""
SELECT store_id, max(last_event_timestamp) AS last FROM store_feed GROUP BY store_id ORDER BY last LIMIT {SHOPS_TOLD}
"""  # noqa: S608 - a constant
_COUNTS = """
SELECT (SELECT uniqExact(store_id) FROM store_feed), (SELECT count() FROM anomalies FINAL WHERE closed_at IS NULL AND calm_since IS NULL)
"""
_ANOMALIES = f"""
SELECT store_id, type, subject, severity, detected_at, message FROM anomalies FINAL WHERE closed_at IS NULL AND calm_since IS NULL
ORDER BY indexOf(['CRITICAL', 'WARN', 'INFO'], severity), detected_at DESC LIMIT {ANOMALIES_TOLD}
"""  # noqa: S608 - a constant
_SIZE = "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active AND database = currentDatabase()"
_WRITTEN = "SELECT sum(rows_written) FROM worker_health FINAL WHERE at > now64(3) - INTERVAL 1 HOUR"


def reason(error: Exception) -> str:
    """An error in a line, without addresses or statements."""
    from aisleflow.log import without_values

    text = without_values(str(error)).strip() or type(error).__name__
    if "Connection refused" in text or "Failed to establish" in text:
        return "refuses connections"
    return text.splitlines()[0][:160]


def folder_bytes(folder: Path) -> int:
    """What the files of a folder take on disk."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512  # noqa: PTH118 - thousands of files
            except OSError:  # it has just been deleted
                continue
    return total


def _put_together(
    settings: Settings, local: list[running.RunningPart], answers: dict[str, Any], why: dict[str, str]
) -> Status:
    kafka: _Kafka | None = answers.get("kafka")
    clickhouse: _ClickHouse | None = answers.get("clickhouse")
    kafka_bytes: int | None = answers.get("disk")
    parts = [Part(**vars(part)) for part in local]
    for name, answer in (("kafka", kafka), ("clickhouse", clickhouse)):
        if all(part.name != name for part in parts):
            state = "up" if answer is not None else "down"
            parts.insert(
                0 if name == "kafka" else 1, Part(name=name, state=state, pid=None, uptime_s=None, restarts=None)
            )
    if kafka is not None and clickhouse is not None:
        for lag in kafka.lag:
            lag.behind_ms = clickhouse.behind_ms.get((lag.topic, lag.derives))
    room = shutil.disk_usage(settings.data_dir) if settings.data_dir.is_dir() else None
    if kafka is None and clickhouse is None and not any(part.uptime_s is not None for part in local):
        verdict: Verdict = "unknown"
        problems = [f"nothing runs here: {settings.data_dir} has no running system"]
        problems += [f"{name} {text}" for name, text in why.items()]
    else:
        problems = _problems(local, kafka, clickhouse, why, None if room is None else room.free)
        verdict = "wrong" if problems else "well"
    return Status(
        at=datetime.now(UTC),
        verdict=verdict,
        problems=problems,
        notes=_notes(clickhouse),
        parts=parts,
        lag=None if kafka is None else kafka.lag,
        workers=None if clickhouse is None else clickhouse.workers,
        rates=Rates(
            arriving_per_s=None if kafka is None else round(kafka.arriving_per_s, 1),
            records_per_s=None if clickhouse is None else _sum(w.records_per_s for w in clickhouse.workers),
            rows_per_s=None if clickhouse is None else _sum(w.rows_per_s for w in clickhouse.workers),
        ),
        dead_letters=None if clickhouse is None else clickhouse.dead_letters,
        shops=None if clickhouse is None else clickhouse.shops,
        shops_known=None if clickhouse is None else clickhouse.shops_known,
        anomalies=None if clickhouse is None else clickhouse.anomalies,
        anomalies_open=None if clickhouse is None else clickhouse.anomalies_open,
        disk=Disk(
            path=None if room is None else str(settings.data_dir),
            free_bytes=None if room is None else room.free,
            total_bytes=None if room is None else room.total,
            kafka_bytes=kafka_bytes,
            kafka_bytes_per_day=None
            if kafka is None or kafka_bytes is None or not kafka.records
            else kafka_bytes * kafka.arrived_last_hour * 24 // kafka.records,
            clickhouse_bytes=None if clickhouse is None else clickhouse.bytes,
            clickhouse_bytes_per_day=None
            if clickhouse is None or not clickhouse.rows
            else clickhouse.bytes * clickhouse.rows_last_hour * 24 // clickhouse.rows,
        ),
    )


def _problems(
    local: list[running.RunningPart],
    kafka: _Kafka | None,
    clickhouse: _ClickHouse | None,
    why: dict[str, str],
    free_bytes: int | None,
) -> list[str]:
    """What is wrong, in words that say what to do where it is not plain."""
    found = [
        f"{part.name} is {part.state}" + ("; its system has ended: aisleflow up" if part.state == "gone" else "")
        for part in local
        if part.state != "ready"
    ]
    found += [f"{name} {text}" for name, text in why.items() if name != "disk"]
    if kafka is not None:
        if not kafka.members["visits"]:
            found.append("no worker is in the group: nothing is derived")
        if not kafka.members["stock"] and any(lag.records for lag in kafka.lag if lag.derives == "stock"):
            found.append("no worker derives stock, and records wait for one")
        for lag in kafka.lag:
            if lag.records and lag.behind_ms is not None and lag.behind_ms > BEHIND_MS:
                found.append(f"{lag.topic} is behind by {duration(lag.behind_ms / 1000)}, {lag.records:,} records")
    if clickhouse is not None:
        found += [
            f"{worker.name} has told nothing for {worker.told_s:.0f} s"
            for worker in clickhouse.workers
            if worker.told_s > SILENT_S
        ]
    if free_bytes is not None and free_bytes < FULL_BYTES:
        found.append(f"the disk is nearly full: {size(free_bytes)} free")
    return found


def _notes(clickhouse: _ClickHouse | None) -> list[str]:
    if clickhouse is None:
        return []
    notes = []
    if clickhouse.dead_letters.last_hour:
        notes.append(
            f"{clickhouse.dead_letters.last_hour:,} dead letters in the last hour: aisleflow dead-letters list"
        )
    if retries := sum(worker.retries for worker in clickhouse.workers):
        notes.append(f"{retries:,} calls to ClickHouse tried again in the last minute")
    return notes


def _sum(figures: Iterable[float]) -> float:
    return round(sum(figures), 1)


def duration(seconds: float) -> str:
    """A time in at most two units: 45 s, 3 min, 2 h 10 min, 5 d 3 h."""
    whole = int(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def size(count: float) -> str:
    """Bytes in words: 999 B, 1.5 MB, 120 GB (powers of 1,000, as disks are sold)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
