"""``aisleflow status`` on real parts, with some of them away, and how it fits a terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aisleflow.clients import clickhouse_client, kafka_producer, partition_of
from aisleflow.commands.status import view
from aisleflow.settings import Settings
from aisleflow.status import (
    Anomaly,
    DeadLetters,
    Disk,
    Look,
    NewestLetter,
    Part,
    Rates,
    Shop,
    Status,
    TopicLag,
    Worker,
    duration,
    size,
)
from aisleflow.supervisor import environment
from schemas.topics import STORE_PARTITIONS, VISIT_EVENTS

NOW = datetime.now(UTC)


def shape(value: Any) -> Any:
    """The names in a JSON document, to the last level; a list stands for its first item."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None


def insert(settings: Settings, table: str, **columns: Any) -> None:
    with clickhouse_client(settings) as client:
        client.insert(table, [list(columns.values())], column_names=list(columns))


def fill(settings: Settings) -> None:
    """A worker that was well a moment ago, a dead letter, a shop and an anomaly."""
    name, topic = "worker-0@here", settings.topic_prefix + VISIT_EVENTS.name
    for seconds in (25, 15, 5):
        at = datetime.now(UTC) - timedelta(seconds=seconds)
        work = {"records": 1000, "rows_written": 2000, "cycles": 40, "cycle_p50_ms": 50, "cycle_max_ms": 90}
        insert(settings, "worker_health", worker=name, at=at, **work, rss_bytes=3 * 10**8)
        insert(settings, "topic_lag", topic=topic, partition=0, at=at, worker=name, lag_records=seconds, behind_ms=700)
    letter = {"stage": "read", "error": "timestamp", "message": "is missing", "store_id": "S1"}
    insert(settings, "dead_letters", topic=topic, partition=0, offset=7, at=NOW, **letter)
    insert(settings, "dead_letters", topic=topic, partition=0, offset=8, at=NOW, handled="dropped")
    insert(settings, "store_feed", store_id="S1", last_event_timestamp=NOW, last_received_at=NOW)
    anomaly = {"store_id": "S1", "type": "QUEUE_SPIKE", "severity": "WARN", "message": "long", "detected_at": NOW}
    insert(settings, "anomalies", **anomaly, business_day=NOW.date(), version=1)


def test_tells_what_is_so(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> None:
    settings = make_world(kafka, clickhouse)
    fill(settings)
    topic, partition = settings.topic_prefix + VISIT_EVENTS.name, partition_of("S", STORE_PARTITIONS)
    producer = kafka_producer(settings)
    for _ in range(9):
        producer.produce(topic, b"{}", b"S")
    producer.flush()
    group = {"bootstrap.servers": kafka, "group.id": settings.consumer_group}
    committer = Consumer(group)
    committer.commit(offsets=[TopicPartition(topic, partition, 4)], asynchronous=False)
    found = Look(settings).look()
    assert found.verdict == "wrong" and found.problems == ["no worker is in the group: nothing is derived"]
    assert [(part.name, part.state) for part in found.parts] == [("kafka", "up"), ("clickhouse", "up")]
    assert found.lag is not None and found.workers is not None and found.dead_letters is not None
    assert {(lag.topic, lag.derives): (lag.records, lag.behind_ms) for lag in found.lag}[topic, "visits"] == (5, 700)
    assert {lag.derives for lag in found.lag} == {"visits", "stock"}
    (worker,) = found.workers
    assert worker.lag_records == 5 and 95 < worker.records_per_s < 105 and 190 < worker.rows_per_s < 210
    assert (found.dead_letters.waiting, found.dead_letters.last_hour) == (1, 1)
    assert found.dead_letters.newest is not None and found.dead_letters.newest.message == "is missing"
    assert found.shops is not None and [shop.store_id for shop in found.shops] == ["S1"]
    assert found.anomalies is not None and found.anomalies[0].severity == "WARN" and found.anomalies_open == 1
    assert found.rates.arriving_per_s in (0.1, 0.2), "9 records in a minute"
    assert found.disk.clickhouse_bytes and found.disk.clickhouse_bytes_per_day and found.disk.kafka_bytes is None


def command(settings: Settings) -> tuple[int, Any]:
    """``aisleflow status --json`` as a program; its exit code and answer."""
    done = subprocess.run(
        [sys.executable, "-m", "aisleflow", "status", "--json"],
        env={**os.environ, **environment(settings)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_json_has_its_documented_shape_and_a_part_that_is_away_is_named(
    kafka: str, clickhouse: str, make_world: Callable[..., Settings]
) -> None:
    settings = make_world(kafka, clickhouse)
    fill(settings)
    code, found = command(settings)
    assert code == 1
    part = dict.fromkeys(("name", "state", "pid", "uptime_s", "restarts"))
    worker = dict.fromkeys(
        (
            *("name", "told_s", "partitions", "lag_records", "behind_ms", "records_per_s", "rows_per_s"),
            *(
                "duplicates_per_s",
                "invalid_per_s",
                "cycle_p50_ms",
                "cycle_max_ms",
                "retries",
                "open_visits",
                "rss_bytes",
            ),
        )
    )
    newest = dict.fromkeys(("topic", "at", "error", "message", "store_id"))
    disk = "path free_bytes total_bytes kafka_bytes kafka_bytes_per_day clickhouse_bytes clickhouse_bytes_per_day"
    assert shape(found) == {
        **dict.fromkeys(("at", "verdict", "shops_known", "anomalies_open")),
        "problems": [None],
        "notes": [None],
        "parts": [part],
        "lag": [dict.fromkeys(("topic", "derives", "records", "behind_ms"))],
        "workers": [worker],
        "rates": dict.fromkeys(("arriving_per_s", "records_per_s", "rows_per_s")),
        "dead_letters": {"waiting": None, "last_hour": None, "newest": newest},
        "shops": [dict.fromkeys(("store_id", "last_event", "age_s"))],
        "anomalies": [dict.fromkeys(("store_id", "type", "subject", "severity", "detected_at", "message"))],
        "disk": dict.fromkeys(disk.split()),
    }
    without = make_world(kafka, None)
    code, found = command(without)
    assert (code, found["verdict"]) == (1, "wrong")
    assert "clickhouse refuses connections" in found["problems"] and found["workers"] is None
    assert found["lag"] and found["dead_letters"] is None
    code, found = command(make_world(None, clickhouse))
    assert code == 1 and any(problem.startswith("kafka ") for problem in found["problems"])
    assert found["lag"] is None and found["dead_letters"]["waiting"] == 0
    code, found = command(make_world(None, None))
    assert (code, found["verdict"]) == (2, "unknown")


def status(workers: int, shops: int, problems: int, message: str = "is missing") -> Status:
    letter = NewestLetter(topic="t", at=NOW, error="timestamp", message=message, store_id="STORE_BLR_002")
    figures = dict.fromkeys(Worker.model_fields, 1234567)
    return Status(
        at=NOW,
        verdict="wrong" if problems else "well",
        problems=[f"part {n} is gone" for n in range(problems)],
        notes=[],
        parts=[
            Part(name=name, state="ready", pid=4_194_303, uptime_s=1e6, restarts=12)
            for name in ("kafka", "clickhouse", "api", *(f"worker-{n}" for n in range(workers)))
        ],
        lag=[
            TopicLag(topic=name, derives="stock", records=10**6, behind_ms=10**7)
            for name in ("a", "b", "c", "d", "e", "f")
        ],
        workers=[Worker(**{**figures, "name": f"worker-{n}@{'m' * 30}"}) for n in range(workers)],
        rates=Rates(arriving_per_s=1e5, records_per_s=1e5, rows_per_s=1e6),
        dead_letters=DeadLetters(waiting=10**6, last_hour=10**5, newest=letter),
        shops=[Shop(store_id=f"STORE_{n}", last_event=NOW, age_s=n) for n in range(shops)],
        shops_known=shops,
        anomalies=[
            Anomaly(store_id="S", type="QUEUE_SPIKE", subject="", severity="CRITICAL", detected_at=NOW, message=message)
        ]
        * shops,
        anomalies_open=shops,
        disk=Disk(
            path="/data",
            free_bytes=10**11,
            total_bytes=10**12,
            kafka_bytes=10**10,
            kafka_bytes_per_day=10**9,
            clickhouse_bytes=10**10,
            clickhouse_bytes_per_day=10**9,
        ),
    )


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 40), (160, 50), (240, 67)])
@pytest.mark.parametrize(("workers", "shops", "problems"), [(1, 1, 0), (1, 100, 1), (4, 100, 1), (8, 1, 0)])
def test_fits_the_terminal(width: int, height: int, workers: int, shops: int, problems: int) -> None:
    console = Console(
        width=width, height=height, force_terminal=True, color_system=None, record=True, file=io.StringIO()
    )
    console.print(view(status(workers, shops, problems, "long " * 80), width, height))
    lines = console.export_text().rstrip("\n").splitlines()
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert all(
        word in text
        for word in ("worker-0", "1,000,000", "DEAD LETTERS", "FRESHNESS", "ANOMALIES", "part 0" if problems else "")
    )
    if workers <= 1 or height > 24:
        assert len(lines) <= height and "DISK" in text


def test_plain_text_leaves_nothing_out() -> None:
    console = Console(width=100, color_system=None, record=True, file=io.StringIO())
    console.print(view(status(8, 3, 2), 100, None))
    text = console.export_text()
    assert all(f"worker-{n}@" in text for n in range(8)) and "part 1 is gone" in text


@given(st.floats(0, 10**9))
def test_figures_are_short(value: float) -> None:
    assert len(duration(value)) <= 12 and len(size(value)) <= 7
