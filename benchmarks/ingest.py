"""How fast events come in over HTTP: ``python -m benchmarks.ingest`` (about two minutes).

Clients on keep-alive connections send new events to ``POST /events/ingest`` of a real API, each waiting for its answer before it
sends the next batch, while ClickHouse remembers a million ids of older events. Beside it: the same records produced straight to
Kafka by confluent-kafka, one by one with a delivery report each, which is the floor that HTTP is measured against. No worker runs. Every
round ends with a look at the log: as many records must be there as were answered for.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from benchmarks._load import Traffic, publish, store_names
from benchmarks._parts import Log, cpu_seconds, kafka_and_clickhouse, running_api
from benchmarks._report import quantile, report
from schemas.topics import VISIT_EVENTS

BATCHES = (1, 50, 500)
KNOWN_IDS = 1_000_000
STORES = 200


class Round(NamedTuple):
    """One round of one way. CPU is that of the API, or of the producer where there is none."""

    events: int
    seconds: float
    cpu_s: float
    latency_s: list[float]


def events(count: int, seed: int) -> list[tuple[str, bytes]]:
    """That many visit events, each once: (key, value)."""
    traffic = Traffic(store_names(STORES), seed, time.time() * 1000, 10_000)
    found: dict[bytes, str] = {}
    while len(found) < count:
        found |= {value: key for topic, key, value in traffic.take(10_000) if topic == VISIT_EVENTS.name}
    return [(key, value) for value, key in found.items()][:count]


def bodies(records: Sequence[tuple[str, bytes]], batch: int) -> list[bytes]:
    """Request bodies of at most this many events."""
    return [
        b'{"events":[' + b",".join(value for _, value in records[first : first + batch]) + b"]}"
        for first in range(0, len(records), batch)
    ]


def client(port: int, requests: list[bytes], ready: Any, start: Any, result: Any) -> None:
    """One client process: sends its requests one after the other; tells how many events were taken and the latencies, or
    what went wrong.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    inserted, latencies = 0, []
    ready.put(None)
    start.wait()
    try:
        for body in requests:
            began = time.monotonic()
            connection.request("POST", "/events/ingest", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            latencies.append(time.monotonic() - began)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {text[:300]!r}")
            inserted += json.loads(text)["inserted_events"]
        result.put((inserted, latencies))
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        result.put(repr(error))


def over_http(
    settings: Settings, api_pid: int, records: Sequence[tuple[str, bytes]], batch: int, clients: int
) -> Round:
    """Send records through the API."""
    context = multiprocessing.get_context("spawn")
    ready, start, result = context.SimpleQueue(), context.Event(), context.SimpleQueue()
    requests = bodies(records, batch)
    senders = [
        context.Process(target=client, args=(settings.api_port, requests[number::clients], ready, start, result))
        for number in range(clients)
    ]
    for sender in senders:
        sender.start()
    for _ in senders:
        ready.get()
    cpu, began = cpu_seconds(api_pid), time.monotonic()
    start.set()
    answers = [result.get() for _ in senders]
    seconds, used = time.monotonic() - began, cpu_seconds(api_pid) - cpu
    for sender in senders:
        sender.join()
    if refused := [answer for answer in answers if isinstance(answer, str)]:
        raise RuntimeError(f"the API did not take everything: {refused[0]}")
    return Round(
        sum(inserted for inserted, _ in answers), seconds, used, sorted(s for _, found in answers for s in found)
    )


def direct(settings: Settings, records: Sequence[tuple[str, bytes]]) -> Round:
    """Produce records without the API."""
    began, cpu = time.monotonic(), time.process_time()
    publish(settings, [(VISIT_EVENTS.name, key, value) for key, value in records])
    return Round(len(records), time.monotonic() - began, time.process_time() - cpu, [])


def remember_old_ids(settings: Settings) -> None:
    """Fill the table in which the API looks for duplicates."""
    with clickhouse_client(settings) as clickhouse:
        clickhouse.command(f"INSERT INTO event_ids (event_id) SELECT generateUUIDv4(number) FROM numbers({KNOWN_IDS})")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--events", type=int, default=100_000, help="a round, at batches of 500; others send a share of it"
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    wanted = {1: chosen.events // 25, 50: chosen.events // 2, 500: chosen.events}
    rounds: dict[str, list[Round]] = {}
    with kafka_and_clickhouse() as settings, running_api(settings) as api:
        remember_old_ids(settings)
        log, there = Log(settings), 0
        for number in range(chosen.rounds + 1):
            # The ways take turns, so that what else the machine does falls on all; the first round only warms up.
            for way, batch in ((f"HTTP, batches of {size}", size) for size in BATCHES):
                records = events(wanted[batch] if number else min(500, wanted[batch]), seed=1_000 * number + batch)
                rounds.setdefault(way, []).append(over_http(settings, api.pid, records, batch, chosen.clients))
                there += len(records)
                assert rounds[way][-1].events == len(records)
            records = events(chosen.events, seed=1_000 * number + 999)
            rounds.setdefault("confluent-kafka, direct", []).append(direct(settings, records))
            there += len(records)
            if (found := sum(log.ends().values())) != there:
                raise RuntimeError(f"{there:,} events were acknowledged, {found:,} are on the log")
        log.close()
    kept = {way: found[1:] for way, found in rounds.items()}
    floor = statistics.median(each.cpu_s / each.events for each in kept["confluent-kafka, direct"])
    rows = [row(way, found, floor) for way, found in kept.items()]
    report(
        "ingest",
        ("fastapi", "uvicorn", "confluent-kafka", "msgspec", "chdb-core"),
        ("way", "events/s", "CPU µs an event", "x the floor", "p50 ms a request", "p99 ms"),
        rows,
        command=f"python -m benchmarks.ingest --events {chosen.events} --clients {chosen.clients} --rounds {chosen.rounds}",
        clients=chosen.clients,
        rounds=chosen.rounds,
        note="CPU is that of the API process (of the producer, when direct); clients, Kafka and ClickHouse share the cores",
    )


def row(way: str, found: list[Round], floor: float) -> tuple[Any, ...]:
    """Medians of one way's rounds."""
    cpu = statistics.median(each.cpu_s / each.events for each in found)
    latencies = sorted(s for each in found for s in each.latency_s)
    return (
        way,
        round(statistics.median(each.events / each.seconds for each in found)),
        round(1e6 * cpu, 1),
        round(cpu / floor, 1),
        *(round(1000 * quantile(latencies, share), 1) if latencies else "" for share in (0.5, 0.99)),
    )


if __name__ == "__main__":
    main()
