"""What an event takes on disk: ``python -m benchmarks.storage`` (two minutes).

Simulated shops' days are published twice: packed as a busy sender packs them, and one record a batch, as the camera of a quiet shop
sends. A worker stores and derives them in a ClickHouse of its own; then every table is merged to the end and its parts are weighed.
Kafka's are the bytes of its log segments, without their indexes, of which each partition has 20 MB at most.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from aisleflow.clients import clickhouse_client, kafka_producer
from aisleflow.settings import Settings
from benchmarks._load import Record, publish
from benchmarks._parts import Part, parts, world
from benchmarks._report import report
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from schemas.topics import TRANSACTIONS, VISIT_EVENTS
from tests.system.truth import caught_up

FIRST_DAY = date(2026, 3, 2)
SEED = 1
ALONE = 20_000  # records sent one a batch: enough for a mean


def publish_alone(settings: Settings, records: Iterable[Record]) -> None:
    """Put each record on the log in a batch of its own, which is what a sender of one record in some milliseconds makes."""
    producer = kafka_producer(settings, **{"batch.num.messages": 1, "linger.ms": 0})
    for topic, key, value in records:
        producer.produce(settings.topic_prefix + topic, value, key)
        producer.poll(0)
    if producer.flush(120):
        raise TimeoutError("Kafka did not acknowledge everything in time")


def log_bytes(folder: Path, topic: str) -> int:
    """Bytes of the log segments of a topic, by its full name."""
    return sum(path.stat().st_size for path in folder.glob(f"**/{topic}-*/*.log"))


def tables(settings: Settings) -> dict[str, tuple[int, int]]:
    """Rows and bytes on disk of every table, merged to the end."""
    client = clickhouse_client(settings, send_receive_timeout=600)
    names = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    for (name,) in client.query(names).result_rows:
        client.command(f"OPTIMIZE TABLE {name} FINAL")
    query = """SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts
        WHERE database = currentDatabase() AND active GROUP BY table"""
    return {name: (rows, size) for name, rows, size in client.query(query).result_rows}


def measure(shops: int, days: int) -> None:
    """Publish, derive, weigh, report."""
    simulated = stream(make_shops(shops, SEED), [FIRST_DAY + timedelta(days=n) for n in range(days)], SEED)
    records: list[Record] = [(one.topic, one.key, one.value) for one in simulated]
    counts = Counter(topic for topic, _, _ in records)
    values = Counter[str]()
    for topic, _, value in records:
        values[topic] += len(value)
    with parts() as (kafka, clickhouse, _, folder):
        settings = world(kafka, clickhouse, folder)
        alone = world(kafka, clickhouse, folder)
        publish(settings, records)
        publish_alone(alone, records[:ALONE])
        with Part(settings, "worker", "--index", "0"):
            caught_up(settings, 600)
        weighed = tables(settings)
        packed = {topic: log_bytes(folder, settings.topic_prefix + topic) / counts[topic] for topic in counts}
        sent_alone = Counter(topic for topic, _, _ in records[:ALONE])
        single = {topic: log_bytes(folder, alone.topic_prefix + topic) / sent_alone[topic] for topic in sent_alone}
    rows: list[tuple[Any, ...]] = [
        (
            f"Kafka: {topic}",
            counts[topic],
            round(values[topic] / counts[topic]),
            round(packed[topic], 1),
            round(single[topic], 1),
        )
        for topic in (VISIT_EVENTS.name, TRANSACTIONS.name)
    ]
    rows += [
        (f"ClickHouse: {name}", count, "", round(size / count, 1), "")
        for name, (count, size) in sorted(weighed.items())
        if count
    ]
    visits = weighed["visits"][0]
    report(
        "storage",
        ("chdb-core", "confluent-kafka"),
        ("what", "records or rows", "bytes of a value", "bytes each on disk", "each sent alone"),
        rows,
        command=f"python -m benchmarks.storage --shops {shops} --days {days}",
        shops=shops,
        days=days,
        visits_a_shop_and_day=round(visits / shops / days),
        events_a_visit=round(counts[VISIT_EVENTS.name] / visits, 2),
        receipts_a_visit=round(counts[TRANSACTIONS.name] / visits, 3),
    )


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shops", type=int, default=40)
    parser.add_argument("--days", type=int, default=5)
    chosen = parser.parse_args()
    measure(chosen.shops, chosen.days)


if __name__ == "__main__":
    main()
