"""Upgrades: what an older version wrote opens with this one, days of older rules are derived anew, and workers are
exchanged one by one under load.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaError, Message
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from api.app import create_app
from producers.simulator.faults import Faults
from producers.simulator.shops import layouts, make_shops
from producers.simulator.stream import stream
from schemas import migrations
from schemas.layouts import StoreCalendar
from schemas.topics import STORE_LAYOUTS
from stream_processors import store_day
from tests.conftest import free_port, running_clickhouse
from tests.stream_processors.test_derivation import Log
from tests.system.conftest import Workers
from tests.system.truth import LAYOUTS_MADE, Feed, places, wrong_answers

pytestmark = pytest.mark.system
# Among them one with the other make of cameras and one without a layout.
SHOPS = make_shops(10, seed=3)[-3:]
DAYS = (date(2026, 3, 3),)
OLDER = range(1, len(migrations.load()))
"""Every version of the tables before this one."""


@pytest.fixture(scope="module")
def records() -> list[tuple[str, bytes]]:
    """A log: layouts first."""
    made: list[tuple[str, bytes]] = [(STORE_LAYOUTS.name, layout) for _, layout in layouts(SHOPS, LAYOUTS_MADE)]
    return made + [(sent.topic, sent.value) for sent in stream(SHOPS, DAYS, 3, faults=Faults())]


def at(url: str, database: str) -> Settings:
    """Settings of a database, and of no Kafka; as if topics had one partition, in which nothing can lie wrong."""
    address = f"{url}/{database}"
    return Settings(_env_file=None, clickhouse_url=address, kafka="127.0.0.1:1", store_partitions=1)  # type: ignore[call-arg]


def in_batches(log: Log, records: Sequence[tuple[str, bytes]]) -> None:
    """Derive records in the cycles of one worker."""

    async def work() -> None:
        for first in range(0, len(records), 4_000):
            await log.read(*records[first : first + 4_000])

    asyncio.run(work())


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, bytes]]) -> Iterator[tuple[str, Log]]:
    """A data directory in which a database of each older version holds the first half of the log, opened again; and
    the log.
    """
    folder, password = tmp_path_factory.mktemp("older") / "clickhouse", "of-this-test"
    with running_clickhouse(folder, free_port(), password) as url:
        with clickhouse_client(at(url, "default")) as client:
            for number in (*OLDER, len(migrations.load())):
                migrations.create_database(client, f"v{number}")
                migrations.migrate(client, migrations.load()[:number])
        settings = at(url, f"v{len(migrations.load())}")
        with clickhouse_client(settings) as client:
            log = Log(settings, client)
            # Every other record: each day of each shop has facts before the upgrade, and gets some after it.
            in_batches(log, records[: len(SHOPS)] + records[len(SHOPS) :: 2])
            for number in OLDER:
                copy(client, str(client.database), f"v{number}")
    with running_clickhouse(folder, free_port(), password) as url:
        yield url, log


def copy(client: Client, source: str, target: str) -> None:
    """Write all that a worker wrote into a database of an older version, as far as both have the columns; views fill
    their tables themselves.
    """
    names = """SELECT table, groupArray(name) FROM system.columns
        WHERE database = {of:String} AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') GROUP BY table"""
    here, there = (dict(client.query(names, parameters={"of": name}).result_rows) for name in (source, target))
    for table in ("events", "event_ids", "transactions", "store_layouts", *("zone_visits", "queue_depth", "visits")):
        if table in there:
            columns = ", ".join(f"`{name}`" for name in there[table] if name in here[table])
            client.command(f"INSERT INTO {target}.{table} ({columns}) SELECT {columns} FROM {source}.{table}")


# Runs the migrations and is killed after the first statement, run again and killed after the second, and so on: so each
# file is cut off after each of its statements, the last one included, which is before the file is recorded.
KILLED = """
import os, signal, sys
from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from schemas import migrations

settings, after, kills, recorded = Settings(_env_file=None), 1, 0, None
while True:
    child = os.fork()
    if child == 0:
        client = clickhouse_client(settings)
        run, count = client.command, 0
        def command(sql, *arguments, **named):
            global count
            answer = run(sql, *arguments, **named)
            count += not sql.startswith(("EXISTS", "SELECT"))
            if count >= after:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer
        client.command = command
        migrations.migrate(client)
        os._exit(0)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        break
    kills += 1
    with clickhouse_client(settings) as client:
        now = client.command("SELECT count() FROM schema_migrations FINAL")
    # A file was done on the way: this run was killed after the first statement of the next.
    after, recorded = 3 if now != recorded and recorded is not None else after + 1, now
print(kills, "kills")
"""


@pytest.mark.parametrize("version", OLDER)
def test_a_data_directory_of_an_older_version_opens(
    version: int, older: tuple[str, Log], records: list[tuple[str, bytes]]
) -> None:
    """Its migration is killed between any two statements, and done by the next run; then a worker goes on."""
    url, first_half = older
    settings = at(url, f"v{version}")
    assert settings.clickhouse_url is not None
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "AISLEFLOW_CLICKHOUSE_URL": settings.clickhouse_url.get_secret_value()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    missing = sum(len(migration.statements) for migration in migrations.load()[version:])
    # One after each statement, and one after the table that records migrations was made or found.
    assert (done.returncode, done.stdout) == (0, f"{missing + 1} kills\n"), done.stderr
    with clickhouse_client(settings) as client:
        assert migrations.migrate(client) == []
        assert tables(client) == tables(client, f"v{len(migrations.load())}")
        log = Log(settings, client)
        log.records = list(first_half.records)
        log._offsets = dict(first_half._offsets)
        in_batches(log, records[len(SHOPS) + 1 :: 2])
        log.restart()
    assert wrong_figures(settings, log) == []


def tables(client: Client, database: str = "") -> list[Any]:
    """Every column of a database."""
    query = """SELECT table, name, type, default_kind, default_expression, comment, position FROM system.columns
        WHERE database = {of:String} ORDER BY ALL"""
    return list(client.query(query, parameters={"of": database or client.database}).result_rows)


# --- rules -----------------------------------------------------------------------------------------------------------


def test_days_of_older_rules_are_derived_anew(
    kafka: str,
    clickhouse: str,
    make_world: Callable[..., Settings],
    records: list[tuple[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A worker whose rules say that people pay elsewhere has derived everything; then comes one of this version."""
    settings = make_world(kafka, clickhouse)
    with clickhouse_client(settings) as client:
        log = Log(settings.model_copy(update={"store_partitions": 1}), client)
        with monkeypatch.context() as old:
            old.setattr(store_day, "RULES", store_day.RULES - 1)
            old.setattr(StoreCalendar, "is_billing", lambda self, zone_id: "SKIN" in zone_id)
            in_batches(log, records)
        by_rules = "SELECT rules, count() FROM visits FINAL GROUP BY rules"
        assert [row[0] for row in client.query(by_rules).result_rows] == [store_day.RULES - 1]
        assert wrong_figures(settings, log) != []
        workers = Workers(settings, tmp_path)
        workers.start()
        try:
            variables = {**os.environ, **environment(settings)}
            for said in (r"\d+ days derived anew", "every day is of the present rules"):
                done = subprocess.run(
                    [sys.executable, "-m", "aisleflow", "rederive"],
                    env=variables,
                    capture_output=True,
                    text=True,
                    timeout=100,
                    check=False,
                )
                assert done.returncode == 0, done.stderr + workers.said()
                assert re.search(said, done.stdout)
        finally:
            workers.stop()
        assert [row[0] for row in client.query(by_rules).result_rows] == [store_day.RULES]
        assert wrong_figures(settings, log) == []


def wrong_figures(settings: Settings, log: Log) -> list[str]:
    """Answers that differ from the oracle's, but for anomalies: they are judged by a watch that need not have run."""
    with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as api:
        wrong = wrong_answers(log.world(), lambda path: api.get(path).json(), settle_s=0)
    return [line for line in wrong if "/anomalies" not in line]


# --- a rolling restart -----------------------------------------------------------------------------------------------


class TimedFeed(Feed):
    """Knows when each record was sent and where Kafka put it, and so how old the oldest is that waits for a worker."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._waiting: dict[tuple[str, int], deque[tuple[int, float]]] = {}
        self._guard = threading.Lock()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        super()._delivered(error, message)
        if error is None:
            place = (message.topic() or "", message.partition() or 0)
            with self._guard:
                self._waiting.setdefault(place, deque()).append((message.offset() or 0, message.timestamp()[1] / 1000))

    def oldest(self, committed: dict[tuple[str, int], int]) -> float:
        """Age in seconds of the oldest record that is not confirmed."""
        oldest = now = time.time()
        with self._guard:
            for place, records in self._waiting.items():
                while records and records[0][0] < committed.get(place, 0):
                    records.popleft()
                if records:
                    oldest = min(oldest, records[0][1])
        return now - oldest


def test_a_rolling_restart_loses_and_doubles_nothing(
    world: Settings, workers: Workers, ask: Any, record_property: Callable[[str, object], None]
) -> None:
    feed = TimedFeed(world)
    feed.send_layouts(SHOPS)
    sent = [(one.topic, one.key, one.value) for one in stream(SHOPS, DAYS, 3, faults=Faults())]
    first, second = workers.start(), workers.start()
    lags: list[tuple[float, float]] = []
    stop = threading.Event()

    def watch() -> None:
        group = {"bootstrap.servers": world.kafka_bootstrap, "group.id": world.consumer_group, "log_level": 0}
        consumer = Consumer(group)
        asked = places(world, consumer)
        while not stop.wait(0.1):
            found = {(place.topic, place.partition): place.offset for place in consumer.committed(asked, timeout=10)}
            lags.append((time.monotonic(), feed.oldest(found)))
        consumer.close()

    watching = threading.Thread(target=watch)
    watching.start()
    sending = threading.Thread(target=feed.send, args=(sent,), kwargs={"per_second": 800})
    sending.start()
    try:
        restarted = []
        for part, old in ((1, first), (2, second)):
            while len(feed.sent) < len(sent) * part // 3:
                time.sleep(0.05)
            restarted.append(time.monotonic())
            old.send_signal(signal.SIGTERM)
            old.wait(30)
            assert old.returncode in (0, -signal.SIGTERM), workers.said()
            workers.start()
        sending.join()
        feed.flush()
        workers.catch_up()
    finally:
        stop.set()
        watching.join()
    steady = [lag for at_, lag in lags if at_ < restarted[0]]
    worst = max(lag for at_, lag in lags if at_ >= restarted[0])
    record_property("lag_steady_s", round(sorted(steady)[len(steady) // 2], 2))
    record_property("lag_worst_s", round(worst, 2))
    print(f"answers lagged {sorted(steady)[len(steady) // 2]:.1f} s before and at most {worst:.1f} s while restarting")
    assert worst < 60
    oracle = feed.world()
    assert oracle.duplicates > 20 and oracle.refused > 20
    assert wrong_answers(oracle, ask) == []
    with clickhouse_client(world) as client:
        # Not only what readers see with FINAL: nothing was stored twice at all, since no one was cut off.
        assert client.query("SELECT count() = uniqExact(event_id) FROM events").result_rows == [(1,)]
        assert client.query("SELECT count() = uniqExact(store_id, transaction_id) FROM transactions").result_rows == [
            (1,)
        ]
