"""How old an answer is: ``python -m benchmarks.freshness`` (about 80 s).

``aisleflow up`` with its real parts takes simulated shops with every fault at a steady rate. A share of the events are
probes, visitors of their own whose row in ``visits`` is looked for all the time. Their freshness is the time from Kafka's
timestamp to the first query that finds the row; half of the looking interval is in it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from confluent_kafka import KafkaError, Message
from prometheus_client.parser import text_string_to_metric_families

from aisleflow.clients import clickhouse_client, kafka_producer
from benchmarks._report import quantile, report
from producers.simulator.faults import Faults
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from schemas.topics import VISIT_EVENTS
from tests.system.kill_any_part import System
from tests.system.truth import Feed

GOAL_P99_S = 1.5
LOOK_EVERY_S = 0.05
WARM_UP_S = 8.0
PROBE_STORES = 16


class Probes:
    """Visitors of one event each, and when their visits could be queried."""

    def __init__(self, system: System) -> None:
        self._producer = kafka_producer(system.settings)
        self._client = clickhouse_client(system.settings)
        self._pending: dict[str, float] = {}
        self._lock = threading.Lock()
        self.freshness_s: list[float] = []

    def send(self, per_second: float, stop: threading.Event) -> None:
        """Send probes at a pace until told to stop."""
        number = 0
        began = time.monotonic()
        while not stop.is_set():
            visitor, store = f"P{number}", f"PROBE-{number % PROBE_STORES}"
            event = {
                "event_id": str(uuid.uuid4()),
                "store_id": store,
                "camera_id": "C",
                "visitor_id": visitor,
                "event_type": "ENTRY",
                "timestamp": datetime.now(UTC).isoformat(),
                "confidence": 0.9,
            }
            self._producer.produce(
                VISIT_EVENTS.name,
                json.dumps(event).encode(),
                store.encode(),
                on_delivery=lambda error, message, visitor=visitor: self._delivered(error, message, visitor),
            )
            self._producer.poll(0)
            number += 1
            stop.wait(max(0.0, began + number / per_second - time.monotonic()))
        self._producer.flush(30)

    def _delivered(self, error: KafkaError | None, message: Message, visitor: str) -> None:
        if error is None:
            with self._lock:
                self._pending[visitor] = message.timestamp()[1] / 1000

    def look(self, stop: threading.Event) -> None:
        """Look for the visits of the probes until told to stop."""
        while not stop.wait(LOOK_EVERY_S):
            with self._lock:
                wanted = dict(self._pending)
            if not wanted:
                continue
            query = "SELECT visitor_id FROM visits WHERE startsWith(store_id, 'PROBE-') AND visitor_id IN %(visitors)s"
            rows = self._client.query(query, {"visitors": tuple(wanted)}).result_rows
            now = time.time()
            with self._lock:
                for (visitor,) in rows:
                    if (sent := self._pending.pop(visitor, None)) is not None:
                        self.freshness_s.append(now - sent)

    def pending(self) -> int:
        """Probes that no query has found yet."""
        with self._lock:
            return len(self._pending)


def steps(system: System) -> list[tuple[str, float]]:
    """Mean milliseconds of each step of the workers' cycles, from their metrics."""
    totals: dict[str, list[float]] = {}
    for name, part in system.parts().items():
        if name.startswith("worker"):
            with urlopen(f"http://127.0.0.1:{part['port']}/metrics") as answer:
                families = text_string_to_metric_families(answer.read().decode())
            for family in families:
                for sample in family.samples:
                    if sample.name in ("aisleflow_cycle_seconds_sum", "aisleflow_cycle_seconds_count"):
                        totals.setdefault(sample.labels["step"], [0.0, 0.0])[sample.name.endswith("count")] += (
                            sample.value
                        )
    return [(step, round(1000 * total / count, 1)) for step, (total, count) in sorted(totals.items()) if count]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=float, default=2_000, help="events, probes included")
    parser.add_argument("--probes", type=float, default=100, help="probes among them, a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    load = chosen.per_second - chosen.probes
    shops = make_shops(40, 1)
    sent = stream(shops, [date(2026, 3, 2), date(2026, 3, 3)], 1, faults=Faults())
    wanted = round(load * (chosen.seconds + WARM_UP_S))
    records = [(message.topic, message.key, message.value) for message, _ in zip(sent, range(wanted), strict=False)]
    with tempfile.TemporaryDirectory(prefix="aisleflow-freshness-") as folder:
        system = System(Path(folder), chosen.workers)
        try:
            freshness, unseen, cycle = measure(system, records, load, chosen.probes, chosen.seconds)
        finally:
            system.stop()
    freshness.sort()
    rows: list[tuple[str, Any]] = [
        *((f"p{100 * share:g}", round(quantile(freshness, share), 3)) for share in (0.5, 0.9, 0.99, 0.999)),
        ("worst", round(freshness[-1], 3)),
    ]
    report(
        "freshness",
        ("faust-streaming", "aiokafka", "confluent-kafka", "chdb", "clickhouse-connect"),
        ("freshness", "seconds"),
        rows,
        events_per_second=chosen.per_second,
        workers=chosen.workers,
        probes_seen=len(freshness),
        probes_unseen=unseen,
        goal=f"p99 under {GOAL_P99_S} s: {'reached' if quantile(freshness, 0.99) < GOAL_P99_S and not unseen else 'MISSED'}",
        cycle_steps_ms=dict(cycle),
    )


def measure(
    system: System, records: list[tuple[str, str, bytes]], load: float, probes_per_second: float, seconds: float
) -> tuple[list[float], int, list[tuple[str, float]]]:
    """Freshness of each probe in seconds, how many were never seen, and the steps of the workers' cycles."""
    feed, probes = Feed(system.settings), Probes(system)
    feed.send_layouts(make_shops(40, 1))
    sent, looked = threading.Event(), threading.Event()
    sending = threading.Thread(target=feed.send, args=(records,), kwargs={"per_second": load, "stop": sent})
    probing = threading.Thread(target=probes.send, args=(probes_per_second, sent))
    looking = threading.Thread(target=probes.look, args=(looked,))
    for thread in (sending, probing, looking):
        thread.start()
    time.sleep(WARM_UP_S)
    warm = len(probes.freshness_s)
    time.sleep(seconds)
    sent.set()
    sending.join()
    probing.join()
    deadline = time.monotonic() + 30
    while probes.pending() and time.monotonic() < deadline:
        time.sleep(0.1)
    looked.set()
    looking.join()
    return probes.freshness_s[warm:], probes.pending(), steps(system)


if __name__ == "__main__":
    main()
