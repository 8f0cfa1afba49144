"""How the work grows with workers, shops and state: ``make bench-scaling``, or ``python -m benchmarks.scaling PART``.

``workers``: 1, 2 and 4 workers take a backlog in 16 partitions, once spread evenly and once with one shop making half of it; and
two workers take a steady skewed load, with a burst of the loud shop, while the lag of each partition is watched.

``shops``: the same backlog, spread over ever more shops.

``state``: ever more open visits (written into ClickHouse by SQL, three events each), of which a worker loads every shop's day when each
shop sends one more event; then it is given a backlog of further events of these visits; then it is started again, and timed until
it has answered one more event of each shop. Slopes are least squares over the sizes.

Workers' time is CPU time of their processes; what ClickHouse does for them comes on top and is said beside it. On a machine with two
cores more workers share the same cores with Kafka and ClickHouse: CPU a record tells what the next worker costs, the wall tells only
what these two cores can do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from random import Random
from typing import NamedTuple

import numpy as np

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from benchmarks._load import Load, Record, Sender, Traffic, publish, store_names
from benchmarks._parts import ASSIGNED, Log, Part, Place, cpu_seconds, memory_bytes, parts, world
from benchmarks._report import report
from schemas.topics import VISIT_EVENTS

PARTITIONS = 16
LOUD = "LOUD"
WORKERS = (1, 2, 4)
SHOPS = (10, 100, 1_000, 10_000, 100_000)
VISITS = (1_000, 10_000, 100_000, 1_000_000, 2_000_000)
DAY = date(2026, 3, 2)
DAY_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
EVENTS_OF_A_VISIT = 3
PACKAGES = ("faust-streaming", "aiokafka", "msgspec", "clickhouse-connect", "chdb-core")


class Ran(NamedTuple):
    """How a backlog was taken."""

    records: int
    wall_s: float
    workers_cpu_s: float
    clickhouse_cpu_s: float
    caught_up_s: dict[int, float]
    """By partition: when its last record was confirmed, in seconds from when the first worker was given partitions."""


@contextmanager
def workers(settings: Settings, count: int) -> Iterator[list[Part]]:
    """That many workers; they need not have joined yet."""
    with ExitStack() as stack:
        yield [stack.enter_context(Part(settings, "worker", "--index", str(index))) for index in range(count)]


def drain(settings: Settings, running: Sequence[Part], clickhouse_pid: int, *, every_s: float = 0.05) -> Ran:
    """Time workers over what is on the log, from when each was given partitions: starting and joining are no throughput."""
    log = Log(settings)
    ends = log.ends()
    records = sum(ends[place] - offset for place, offset in log.committed().items())
    cpu: dict[int, float] = {}
    began, clickhouse = 0.0, 0.0
    caught_up: dict[int, float] = {}
    while True:
        for part in running:
            part.check()
            if part.pid not in cpu and ASSIGNED in part.said():
                if not cpu:
                    began, clickhouse = time.monotonic(), cpu_seconds(clickhouse_pid)
                cpu[part.pid] = cpu_seconds(part.pid)
        committed = log.committed()
        now = time.monotonic()
        behind = {number: 0 for _, number in ends}
        for place, end in ends.items():
            behind[place[1]] += end - committed[place]
        caught_up |= {number: now - began for number in behind.keys() - caught_up.keys() if not behind[number]}
        if not any(behind.values()):
            break
        time.sleep(every_s)
    log.close()
    return Ran(
        records,
        now - began,
        sum(cpu_seconds(pid) - before for pid, before in cpu.items()),
        cpu_seconds(clickhouse_pid) - clickhouse,
        caught_up,
    )


def partitions_of(settings: Settings, records: Sequence[Record]) -> dict[str, int]:
    """The partition of each shop of some records."""
    from aiokafka.partitioner import murmur2

    return {key: (murmur2(key.encode()) & 0x7FFFFFFF) % settings.store_partitions for _, key, _ in records}


def bench_workers(events: int, rounds: int, counts: Sequence[int], shops: int) -> None:
    """Throughput by number of workers, and how late quiet shops are beside a loud one."""
    rows = []
    with parts() as (kafka, clickhouse, clickhouse_pid, folder):
        found: dict[tuple[str, int], list[tuple[Ran, int]]] = {}
        for number in range(rounds):
            for keys in ("even", "half from one shop"):
                loud = LOUD if keys != "even" else None
                records = Traffic(store_names(shops), number, DAY_MS, 2_000, loud=loud).take(events)
                for count in counts:
                    settings = world(kafka, clickhouse, folder, store_partitions=PARTITIONS)
                    publish(settings, records)
                    with workers(settings, count) as running:
                        ran = drain(settings, running, clickhouse_pid)
                    loud_in = partitions_of(settings, records).get(LOUD, -1)
                    found.setdefault((keys, count), []).append((ran, loud_in))
                    print(keys, count, *ran[:4], flush=True)
        for (keys, count), runs in found.items():
            quiet = [max(s for n, s in ran.caught_up_s.items() if n != loud_in) for ran, loud_in in runs]
            loudest = [ran.caught_up_s[loud_in] for ran, loud_in in runs if loud_in >= 0]
            rows.append(
                (
                    keys,
                    count,
                    round(statistics.median(ran.records / ran.wall_s for ran, _ in runs)),
                    round(statistics.median(ran.records / ran.workers_cpu_s for ran, _ in runs)),
                    round(statistics.median(ran.clickhouse_cpu_s / ran.records * 1e6 for ran, _ in runs), 1),
                    round(statistics.median(quiet), 2),
                    round(statistics.median(loudest), 2) if loudest else "",
                )
            )
        report(
            "scaling_workers",
            PACKAGES,
            (
                *("keys", "workers", "records/s on the wall", "records/s of their CPU", "ClickHouse CPU µs a record"),
                *("quiet partitions done, s", "loud one done, s"),
            ),
            rows,
            command=f"python -m benchmarks.scaling workers --events {events} --rounds {rounds}",
            records=events,
            rounds=rounds,
            shops=shops,
            partitions=PARTITIONS,
        )


class Watched(NamedTuple):
    """Lag of one partition at one moment, in records and seconds."""

    at: float
    records: int
    seconds: float


class LagWatch:
    """The lag of every partition of visit events, in records and in seconds: how long ago the log ended where the workers are now."""

    def __init__(self, settings: Settings) -> None:
        self._log = Log(settings)
        self._topic = settings.topic_prefix + VISIT_EVENTS.name
        self._ends: dict[Place, list[tuple[int, float]]] = {}
        self.seen: dict[int, list[Watched]] = {}

    def look(self) -> None:
        """Take one look. Offsets first: what is sent between the two questions makes a lag longer, never shorter."""
        committed = self._log.committed()
        ends = self._log.ends()
        now = time.monotonic()
        for place, end in ends.items():
            if place[0] != self._topic:
                continue
            known = self._ends.setdefault(place, [])
            known.append((end, now))
            offset = committed[place]
            while len(known) > 1 and known[1][0] <= offset:
                known.pop(0)
            behind = end - offset
            # Somewhere between two looks the log ended here; the earlier one makes it the longest it can have been.
            seconds = now - known[0][1] if behind else 0.0
            self.seen.setdefault(place[1], []).append(Watched(now, behind, seconds))


def bench_lag(per_second: float, seconds: float, burst: int, shops: int) -> None:
    """Two workers under a steady load, half of it from one shop, which also sends a burst in the middle: who waits for whom?"""
    with parts() as (kafka, clickhouse, _, folder):
        settings = world(kafka, clickhouse, folder, store_partitions=PARTITIONS)
        with (
            workers(settings, 2) as running,
            Sender(settings, Load(per_second, shops, 3 * seconds + 60, loud=LOUD)) as sender,
        ):
            loud_in = partitions_of(settings, [("", LOUD, b"")])[LOUD]
            log = Log(settings)
            while log.lag() > per_second or not any(log.committed().values()):
                for part in running:
                    part.check()
                time.sleep(0.2)
            log.close()
            watch = LagWatch(settings)
            phases = []
            extra = Traffic([LOUD], 99, time.time() * 1000, per_second).take(burst)
            # From a thread of its own: looks that wait for the burst to be sent would see lags as old as the sending.
            burst_sender = threading.Thread(target=publish, args=(settings, extra))
            for phase in ("steady", "burst of the loud shop"):
                began = time.monotonic()
                if phase != "steady":
                    burst_sender.start()
                while time.monotonic() - began < seconds:
                    watch.look()
                    time.sleep(0.1)
                phases.append((phase, began, time.monotonic()))
            burst_sender.join()
            if not sender.is_sending:
                raise SystemExit(f"two workers did not keep up with {per_second:g} records/s here: lower --per-second")
            sent = sender.stop()
        rows = []
        for phase, began, ended in phases:
            for who, numbers in (("loud", [loud_in]), ("quiet", sorted(watch.seen.keys() - {loud_in}))):
                looks = [look for number in numbers for look in watch.seen[number] if began <= look.at < ended]
                rows.append(
                    (
                        *(phase, who, round(statistics.median(look.records for look in looks))),
                        *(max(look.records for look in looks), round(_p99([look.seconds for look in looks]), 2)),
                        round(max(look.seconds for look in looks), 2),
                    )
                )
        report(
            "scaling_lag",
            PACKAGES,
            (
                "phase",
                "partition",
                "lag, records (median)",
                "lag, records (most)",
                "lag, seconds (p99)",
                "lag, seconds (most)",
            ),
            rows,
            command=f"python -m benchmarks.scaling lag --per-second {per_second:g} --seconds {seconds:g} --burst {burst}",
            records_per_second=per_second,
            sender_behind_at_worst_s=round(sent.worst_behind_s, 2),
            burst_records=burst,
            shops=shops,
            note="a partition's lag is that of every shop in it; the quiet ones hold no record of the loud shop",
        )


def _p99(values: Sequence[float]) -> float:
    return float(np.quantile(values, 0.99))


def bench_shops(events: int, rounds: int, sizes: Sequence[int]) -> None:
    """Cost of a record by the number of shops that it is spread over."""
    rows = []
    with parts() as (kafka, clickhouse, clickhouse_pid, folder):
        for shops in sizes:
            runs, memory = [], []
            for number in range(rounds):
                settings = world(kafka, clickhouse, folder)
                publish(settings, Traffic(store_names(shops), number, DAY_MS, 2_000).take(events))
                with workers(settings, 1) as running:
                    runs.append(drain(settings, running, clickhouse_pid))
                    memory.append(memory_bytes(running[0].pid, "VmHWM"))
            rows.append(
                (
                    shops,
                    round(statistics.median(ran.workers_cpu_s / ran.records * 1e6 for ran in runs), 1),
                    round(statistics.median(ran.clickhouse_cpu_s / ran.records * 1e6 for ran in runs), 1),
                    round(statistics.median(ran.records / ran.wall_s for ran in runs)),
                    round(statistics.median(memory) / 2**20),
                )
            )
            print(*rows[-1], flush=True)
        report(
            "scaling_shops",
            PACKAGES,
            (
                "shops",
                "worker CPU µs a record",
                "ClickHouse CPU µs a record",
                "records/s on the wall",
                "worker at most MiB",
            ),
            rows,
            command=f"python -m benchmarks.scaling shops --events {events} --rounds {rounds}",
            records=events,
            rounds=rounds,
        )


def fill(settings: Settings, visits: int, shops: int) -> None:
    """Write visits that are under way: seen at the entrance, entering a zone, and lingering there."""
    with clickhouse_client(settings, send_receive_timeout=600) as clickhouse:
        # By pieces, so that the server holds only one in memory.
        for first in range(0, visits, 250_000):
            count = min(250_000, visits - first)
            clickhouse.command(
                f"""INSERT INTO events (event_id, store_id, camera_id, visitor_id, event_type, timestamp, zone_id, dwell_ms,
                    is_staff, confidence, metadata, received_at)
                SELECT toUUID(concat('00000000-0000-4000-8000-', leftPad(toString({first * EVENTS_OF_A_VISIT} + number), 12, '0'))),
                    concat('STORE_', leftPad(toString(visit % {shops}), 6, '0')), 'FLOOR_1',
                    concat('VIS_', leftPad(toString(visit), 8, '0')), ['ENTRY', 'ZONE_ENTER', 'ZONE_DWELL'][step + 1],
                    fromUnixTimestamp64Milli(toInt64({DAY_MS + 36_000_000} + visit % 10000000 + step * 30000)),
                    ['', 'SKINCARE', 'SKINCARE'][step + 1], if(step = 2, 30000, 0), false, 0.93,
                    concat('{{"session_seq":', toString(step + 1), '}}'), now64(3)
                FROM (SELECT number, {first} + intDiv(number, {EVENTS_OF_A_VISIT}) AS visit, number % {EVENTS_OF_A_VISIT} AS step
                    FROM numbers({count * EVENTS_OF_A_VISIT}))"""
            )
            clickhouse.command(
                f"""INSERT INTO event_ids (event_id) SELECT
                    toUUID(concat('00000000-0000-4000-8000-', leftPad(toString({first * EVENTS_OF_A_VISIT} + number), 12, '0')))
                FROM numbers({count * EVENTS_OF_A_VISIT})"""
            )


def further(visits: int, shops: int, count: int, seed: int) -> list[Record]:
    """Further events of open visits: they linger on. Each visit's come in the order of their times."""
    chance = Random(seed)
    ids = chance.randbytes(16 * count).hex()
    records = []
    # A visit's last event may lie 2.8 hours and a minute past ten o'clock.
    start = DAY_MS + 36_000_000 + 10_100_000 + seed * 3_600_000
    for number in range(count):
        visit = chance.randrange(visits)
        at = datetime.fromtimestamp((start + number) / 1000, UTC).isoformat(timespec="milliseconds")
        store, text = f"STORE_{visit % shops:06d}", ids[32 * number : 32 * number + 32]
        value = (
            f'{{"event_id":"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}","store_id":"{store}",'
            f'"camera_id":"FLOOR_1","visitor_id":"VIS_{visit:08d}","event_type":"ZONE_DWELL","timestamp":"{at}",'
            f'"zone_id":"SKINCARE","dwell_ms":60000,"confidence":0.93,"metadata":{{"session_seq":4}}}}'
        )
        records.append((VISIT_EVENTS.name, store, value.encode()))
    return records


def one_of_each_shop(shops: int, seed: int) -> list[Record]:
    """An event of every shop, by somebody who was not there before."""
    chance = Random(f"{seed} each")
    at = datetime.fromtimestamp((DAY_MS + 72_000_000 + seed * 60_000) / 1000, UTC).isoformat(timespec="milliseconds")
    records = []
    for store in store_names(shops):
        text = chance.randbytes(16).hex()
        event = {
            "event_id": f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}",
            "store_id": store,
            "camera_id": "DOOR",
            "visitor_id": f"WAKER_{seed}",
            "event_type": "ENTRY",
            "timestamp": at,
            "confidence": 0.93,
        }
        records.append((VISIT_EVENTS.name, store, json.dumps(event).encode()))
    return records


class Woken(NamedTuple):
    """A worker that was started, and what it took until an event of every shop had been derived."""

    seconds: float
    cpu_s: float
    clickhouse_cpu_s: float
    memory: int
    most_memory: int


def wake(settings: Settings, shops: int, seed: int, clickhouse_pid: int) -> tuple[Part, Woken]:
    """Publish an event of each shop, start a worker, and wait until ClickHouse shows all of them."""
    publish(settings, one_of_each_shop(shops, seed))
    clickhouse_cpu, began = cpu_seconds(clickhouse_pid), time.monotonic()
    worker = Part(settings, "worker")
    try:
        with clickhouse_client(settings, send_receive_timeout=600) as clickhouse:
            query = "SELECT uniqExact(store_id) FROM visits WHERE visitor_id = %(visitor)s"
            while clickhouse.query(query, {"visitor": f"WAKER_{seed}"}).result_rows[0][0] < shops:
                worker.check()
                time.sleep(0.1)
        seconds = time.monotonic() - began
        log = Log(settings)
        while log.lag():
            worker.check()
            time.sleep(0.1)
        log.close()
        time.sleep(1)
        return worker, Woken(
            seconds,
            cpu_seconds(worker.pid),
            cpu_seconds(clickhouse_pid) - clickhouse_cpu,
            memory_bytes(worker.pid),
            memory_bytes(worker.pid, "VmHWM"),
        )
    except BaseException:
        worker.stop()
        raise


def bench_state(events: int, sizes: Sequence[int], shops: int) -> None:
    """Memory, cost of an event and time to come back by the number of open visits."""
    rows = []
    grown: list[tuple[int, int, float, float]] = []
    with parts() as (kafka, clickhouse, clickhouse_pid, folder):
        for visits in (0, *sizes):
            settings = world(kafka, clickhouse, folder)
            here = max(1, min(shops, visits))
            fill(settings, visits, here)
            worker, first = wake(settings, here, 1, clickhouse_pid)
            worker.stop()
            worker, again = wake(settings, here, 2, clickhouse_pid)
            cost = 0.0
            try:
                if visits:
                    publish(settings, further(visits, here, events, 1))
                    ran = drain(settings, [worker], clickhouse_pid)
                    cost = ran.workers_cpu_s / ran.records * 1e6
            finally:
                worker.stop()
            grown.append((visits, again.memory, again.seconds, again.cpu_s))
            rows.append(
                (
                    *(visits, round(cost, 1), round(first.seconds, 1), round(again.seconds, 1), round(again.cpu_s, 1)),
                    *(round(again.clickhouse_cpu_s, 1), round(again.memory / 2**20), round(again.most_memory / 2**20)),
                )
            )
            print(*rows[-1], flush=True)
            with clickhouse_client(settings) as client:  # so that the next size has the machine for itself
                client.command(f"DROP DATABASE {client.database}")
        counted = [float(visits) for visits, *_ in grown]
        memory, seconds, cpu = (
            float(np.polyfit(counted, [float(each[column]) for each in grown], 1)[0]) for column in (1, 2, 3)
        )
        report(
            "scaling_state",
            PACKAGES,
            (
                *("open visits", "worker CPU µs an event", "first time, s", "back after a restart, s", "its CPU s"),
                *("ClickHouse CPU s", "memory MiB", "most MiB"),
            ),
            rows,
            command=f"python -m benchmarks.scaling state --events {events} --sizes {','.join(map(str, sizes))} --shops {shops}",
            shops=shops,
            events_of_a_visit=EVENTS_OF_A_VISIT,
            bytes_of_memory_per_open_visit=round(memory),
            seconds_back_per_million_visits=round(seconds * 1e6, 1),
            cpu_seconds_back_per_million_visits=round(cpu * 1e6, 1),
            note="first time: nothing derived yet, so all rows are written too; back: all rows are there and compared",
        )


def numbers(text: str) -> tuple[int, ...]:
    """``10,100`` as numbers."""
    return tuple(int(part) for part in text.replace("_", "").split(","))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=("workers", "lag", "shops", "state"), help="all unless named")
    parser.add_argument("--events", type=int, default=300_000, help="records of a backlog")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=numbers, help="numbers of workers, shops or visits, with commas")
    parser.add_argument("--shops", type=int, default=1_000, help="where their number is not what grows")
    parser.add_argument("--per-second", type=float, default=5_000, help="of the steady load (lag)")
    parser.add_argument("--seconds", type=float, default=20, help="of each phase (lag)")
    parser.add_argument("--burst", type=int, default=100_000, help="records of the burst (lag)")
    chosen = parser.parse_args()
    for part in chosen.part or ("workers", "lag", "shops", "state"):
        if part == "workers":
            bench_workers(chosen.events, chosen.rounds, chosen.sizes or WORKERS, chosen.shops)
        elif part == "lag":
            bench_lag(chosen.per_second, chosen.seconds, chosen.burst, chosen.shops)
        elif part == "shops":
            bench_shops(chosen.events, chosen.rounds, chosen.sizes or SHOPS)
        else:
            bench_state(chosen.events, chosen.sizes or VISITS, chosen.shops)


if __name__ == "__main__":
    main()
