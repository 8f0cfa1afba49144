"""Do analysts slow the shops down? ``python -m benchmarks.adhoc`` (3 minutes; ``--help`` for less).

A worker, the API, Kafka and the embedded ClickHouse take a steady load (open loop) while probes see how old its answers are, as in
``benchmarks/freshness.py``: first alone, then while analysts ask heavy questions one after another without a pause: a join of all visits
with all zone visits, ``windowFunnel`` over all events, and a sort of all events. The tables hold a chain's month of events besides.

Freshness is from Kafka's timestamp to the arrival of an answer that counts the event; cycles are what ``worker_health`` says of the worker
(read, derive and write a batch). A probe that nobody saw is counted.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from aisleflow.clients import clickhouse_client
from benchmarks._chain import generate
from benchmarks._parts import Part, cpu_seconds, parts, running_api, world
from benchmarks._report import quantile, report
from benchmarks.freshness import Bench, Phase

HEAVY = (
    """
    SELECT zone_id, count() AS stays, avg(purchased) AS bought, quantileExact(0.5)(dwell_ms) AS median
    FROM zone_visits_final AS stays INNER JOIN visits_final AS visits USING (store_id, business_day, visitor_id)
    GROUP BY zone_id ORDER BY stays DESC
    """,
    """
    SELECT step, count() FROM (
        SELECT store_id, visitor_id, windowFunnel(900000)(toUInt64(toUnixTimestamp64Milli(timestamp)),
            event_type = 'ENTRY', event_type = 'ZONE_ENTER', event_type = 'BILLING_QUEUE_JOIN') AS step
        FROM events_final GROUP BY store_id, visitor_id
    ) GROUP BY step ORDER BY step
    """,
    "SELECT event_id, metadata FROM events_final ORDER BY sipHash64(event_id, metadata) LIMIT 10",
)


@dataclass
class Asked:
    """What became of the analysts' queries."""

    seconds: list[float]
    refused: int = 0


@contextmanager
def analysts(count: int, port: int, password: str, database: str) -> Iterator[Asked]:
    """So many people who ask heavy questions one after another."""
    asked, stop = Asked([]), threading.Event()

    def ask(number: int) -> None:
        place = number
        with clickhouse_connect.get_client(
            host="127.0.0.1",
            port=port,
            username="analyst",
            password=password,
            database=database,
            autogenerate_session_id=False,
        ) as client:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    _ = client.query(HEAVY[place % len(HEAVY)]).result_rows
                    asked.seconds.append(time.monotonic() - began)
                except ClickHouseError:
                    asked.refused += 1
                place += 1

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def row(phase: Phase, cycles: Sequence[Any], asked: Asked, cpu_share: float) -> tuple[Any, ...]:
    """The figures of one phase."""
    fresh, answers = phase.freshness_s, sorted(phase.answer_s)
    return (
        *(phase.name, *(round(quantile(fresh, share), 3) for share in (0.5, 0.99)), round(fresh[-1], 3), phase.unseen),
        *(round(1000 * quantile(answers, share), 1) for share in (0.5, 0.99)),
        *(int(figure or 0) for figure in cycles),
        *(len(asked.seconds), asked.refused, round(quantile(sorted(asked.seconds) or [0.0], 0.5), 2)),
        round(cpu_share, 2),
    )


COLUMNS = (
    *("what", "fresh p50 s", "p99 s", "worst s", "unseen", "answer p50 ms", "p99 ms", "cycle p50 ms", "worst ms"),
    *("questions", "refused", "one takes s (p50)", "ClickHouse's cores"),
)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000, help="records a second")
    parser.add_argument("--seconds", type=float, default=30, help="alone, and as long with analysts")
    parser.add_argument("--analysts", type=int, default=4)
    parser.add_argument("--events", type=int, default=5_000_000, help="in the tables besides")
    chosen = parser.parse_args()
    chosen.probes, chosen.probe_stores, chosen.looks_per_second, chosen.shops = 50.0, 2, 20.0, 200
    with parts() as (kafka, clickhouse, pid, folder):
        settings = world(kafka, clickhouse, folder)
        with Part(settings, "worker") as worker, running_api(settings):
            system = SimpleNamespace(settings=settings, ports={"api": settings.api_port}, said=worker.said)
            rows = measure(system, pid, chosen)
    report(
        "adhoc",
        ("chdb-core", "clickhouse-connect"),
        COLUMNS,
        rows,
        command=f"python -m benchmarks.adhoc --rate {chosen.rate:g} --seconds {chosen.seconds:g} "
        f"--analysts {chosen.analysts} --events {chosen.events}",
        ratio_of_freshness_p50=round(rows[1][1] / rows[0][1], 2),
        ratio_of_freshness_p99=round(rows[1][2] / rows[0][2], 2),
    )


def measure(system: Any, pid: int, chosen: argparse.Namespace) -> list[tuple[Any, ...]]:
    """Alone, then with analysts; ``pid`` is ClickHouse's."""
    settings = system.settings
    url = urlsplit(settings.clickhouse_url.get_secret_value())
    password = (url.password or "")[::-1]  # as tests.conftest.running_clickhouse gives it
    rows = []
    with clickhouse_client(settings, send_receive_timeout=600) as client:
        generate(client, chosen.events, datetime.now(UTC).date() - timedelta(days=1), report=lambda _: None)
        bench = Bench(system, chosen)
        for name, count in (("alone", 0), (f"{chosen.analysts} analysts", chosen.analysts)):
            began, cpu = datetime.now(UTC), cpu_seconds(pid)
            with analysts(count, url.port or 0, password, url.path.strip("/")) as asked:
                phase = bench.phase(name, chosen.rate, chosen.seconds)
                share = (cpu_seconds(pid) - cpu) / (datetime.now(UTC) - began).total_seconds()
            cycles = client.query(
                "SELECT quantileExact(0.5)(cycle_p50_ms), max(cycle_max_ms) FROM worker_health_final "
                "WHERE at > {began:DateTime64(3, 'UTC')}",
                parameters={"began": began},
            ).first_row
            rows.append(row(phase, cycles or (0, 0), asked, share))
    return rows


if __name__ == "__main__":
    main()
