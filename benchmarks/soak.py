"""Hours of steady load: ``make soak MINUTES=60`` or ``python -m benchmarks.soak --minutes 60 --rate 5000``.

``aisleflow up`` with all its real parts takes simulated shops with every fault at a steady rate; a browser watches the wall,
and every second a shop's answers are asked for. Every few seconds it looks at what could pile up: memory of each part, the
workers' lag, ClickHouse's parts, bytes on disk, log files, the age of an answer. A straight line through what came after the
warm-up gives each a slope, and each slope and maximum has a bound, so the run ends with a verdict (exit code 1 if a bound is
broken), ``benchmarks/results/soak.json`` and ``soak.png``.

Days pass faster than life: at the default number of shops a simulated day takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message

from aisleflow.clients import clickhouse_client, kafka_producer, produce, raise_on
from aisleflow.settings import Settings
from benchmarks._report import RESULTS, quantile, report
from producers.simulator.faults import Faults
from producers.simulator.shops import Shop, layouts, make_shops
from producers.simulator.stream import stream
from schemas.topics import STORE_LAYOUTS, VISIT_EVENTS
from tests.conftest import CHROMIUM, running_chromium
from tests.system.running import System
from tests.system.truth import LAYOUTS_MADE, caught_up, group_lag, places

FIRST_DAY = date(2026, 1, 5)
RECORDS_PER_SHOP_DAY = 3_000
PAUSE_S = 1.0
PROBE_STORE = "PROBE"
GIVE_UP_S = 60.0
MIB = 2**20

# Bounds, each with its reason. A slope breaks its bound when it is above it by more than two standard errors.
GROWTH_SHARE = 0.10  # of a part's mean memory an hour: a leak that would double it in ten hours is found
GROWTH_FLOOR_MIB = 40.0  # an hour; below this an hour cannot tell growth from the noise of an allocator
LAG_S = 5.0  # of records: as old as that may be what is being derived
PARTS_IN_A_PARTITION = 300  # ClickHouse delays inserts from 1,000 on and refuses them from 3,000 on
PARTS_GROWTH = 60.0  # an hour; both are of the table's fullest partition
FRESHNESS_P99_S = 1.5
LOGS_MIB = 50.0  # an hour
SHORTEST_FIT_S = 15 * 60  # less after the warm-up shows slopes but does not judge them


@dataclass
class Sample:
    """What was seen at one moment; ``at`` is seconds since the start."""

    at: float
    sent: int
    lag: int
    rss_mib: dict[str, float]
    cpu_s: dict[str, float]
    restarts: int
    parts: dict[str, int]
    fullest: dict[str, int]
    """Active parts of the partition that has most, by table."""
    table_mib: dict[str, float]
    kafka_mib: float
    clickhouse_mib: float
    logs_mib: float
    open_store_days: float
    open_visits: float


class Sender:
    """Publishes the shops' records at a pace, without keeping them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = kafka_producer(settings, **{"delivery.timeout.ms": 600_000, "log_level": 0})
        self._error: KafkaError | None = None
        self.sent = 0

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Publish one record; waits while the local queue is full."""
        produce(self._producer, self._settings.topic_prefix + topic, value, key, on_delivery=self._told)
        self.sent += 1

    def _told(self, error: KafkaError | None, _: Message) -> None:
        self._error = self._error or error

    def run(self, records: Iterator[Any], per_second: float, stop: threading.Event) -> None:
        """Publish at this pace until told to stop. A pause is not made up for."""
        due = time.monotonic()
        for record in records:
            self.send(record.topic, record.key, record.value)
            if self.sent % 20 == 0:
                self._producer.poll(0)
                due = max(due + 20 / per_second, time.monotonic() - 1.0)
                if stop.wait(max(0.0, due - time.monotonic())):
                    break
        else:
            raise RuntimeError("the simulated days are over: fewer minutes, or more --shops")
        self.flush()

    def flush(self) -> None:
        """Return when Kafka has acknowledged everything.

        Raises:
            KafkaException: it refused a record.
        """
        while self._producer.flush(1.0):
            pass
        raise_on(self._error)


@dataclass
class Reader:
    """Sends a probe a second and looks for its visit; asks the API for a shop's answers in between."""

    system: System
    shops: Sequence[Shop]
    freshness: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the start, seconds from Kafka's timestamp to a query that finds it)"""
    answers_ms: list[float] = field(default_factory=list)
    failed: int = 0

    def run(self, began: float, stop: threading.Event) -> None:
        """Go on until told to stop."""
        producer = kafka_producer(self.system.settings)
        client = clickhouse_client(self.system.settings)
        chance = random.Random(1)
        number = 0
        while not stop.wait(PAUSE_S):
            number += 1
            visitor = f"P{number}"
            taken: list[float] = []
            event = {
                "event_id": str(uuid.uuid4()),
                "store_id": PROBE_STORE,
                "camera_id": "C",
                "visitor_id": visitor,
                "event_type": "ENTRY",
                "timestamp": datetime.now(UTC).isoformat(),
                "confidence": 0.9,
            }
            producer.produce(
                VISIT_EVENTS.name,
                json.dumps(event).encode(),
                PROBE_STORE.encode(),
                on_delivery=lambda error, message, taken=taken: (
                    None if error else taken.append(message.timestamp()[1] / 1000)
                ),
            )
            producer.flush(GIVE_UP_S)
            query = """SELECT count() FROM visits WHERE store_id = {store:String} AND visitor_id = {visitor:String}
                AND business_day >= today() - 1"""
            found = {"store": PROBE_STORE, "visitor": visitor}
            while (
                not client.query(query, found).result_rows[0][0]
                and time.time() - taken[0] < GIVE_UP_S
                and not stop.is_set()
            ):
                time.sleep(0.05)
            if stop.is_set():
                break
            self.freshness.append((time.monotonic() - began, time.time() - taken[0]))
            self._ask(chance.choice(self.shops).store_id)

    def _ask(self, store_id: str) -> None:
        for path in (
            *(f"/stores/{store_id}/{name}" for name in ("metrics", "funnel", "heatmap", "anomalies")),
            "/health",
        ):
            asked = time.perf_counter()
            try:
                with urlopen(self.system.url + path, timeout=GIVE_UP_S) as answer:
                    answer.read()
            except HTTPError as error:
                self.failed += error.code != 404  # a shop that has sent nothing yet
            except OSError:
                self.failed += 1
            self.answers_ms.append(1000 * (time.perf_counter() - asked))


class Eyes:
    """Looks at everything that could pile up."""

    def __init__(self, system: System, began: float) -> None:
        self._system, self._began = system, began
        settings = system.settings
        self._client = clickhouse_client(settings)
        group = {"bootstrap.servers": settings.kafka_bootstrap, "group.id": settings.consumer_group, "log_level": 0}
        self._consumer = Consumer(group)
        self._places = places(settings, self._consumer)

    def look(self, sent: int) -> Sample:
        """Everything now."""
        running = self._system.parts()
        pids = {name: part["pid"] for name, part in running.items()}
        data = self._system.folder / "data"
        tables = self._client.query(
            "SELECT table, sum(parts), max(parts), sum(bytes) FROM"
            " (SELECT table, partition, count() AS parts, sum(bytes_on_disk) AS bytes FROM system.parts"
            "  WHERE active AND database = currentDatabase() GROUP BY table, partition) GROUP BY table ORDER BY table"
        ).result_rows
        held = [_worker_gauges(part["port"]) for name, part in running.items() if name.startswith("worker")]
        return Sample(
            at=time.monotonic() - self._began,
            sent=sent,
            lag=self._lag(),
            rss_mib={name: _rss_mib(pid) for name, pid in pids.items()},
            cpu_s={name: _cpu_s(pid) for name, pid in pids.items()},
            restarts=sum(part["restarts"] for part in running.values()),
            parts={row[0]: row[1] for row in tables},
            fullest={row[0]: row[2] for row in tables},
            table_mib={row[0]: row[3] / MIB for row in tables},
            kafka_mib=_folder_mib(data / "kafka"),
            clickhouse_mib=_folder_mib(data / "clickhouse"),
            logs_mib=_folder_mib(data / "logs"),
            open_store_days=sum(one.get("aisleflow_open_store_days", 0) for one in held),
            open_visits=sum(one.get("aisleflow_open_visits", 0) for one in held),
        )

    def _lag(self) -> int:
        lag = 0
        for place in self._consumer.committed(self._places, timeout=10):
            low, high = self._consumer.get_watermark_offsets(place, timeout=10)
            lag += high - max(low, place.offset)
        return lag


def _rss_mib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _folder_mib(folder: Path) -> float:
    """Disk that a folder takes; files come and go while it is added up."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH116, PTH118 - thousands of files
            except FileNotFoundError:
                continue
    return total / MIB


def _worker_gauges(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.partition(" ") for line in lines)
        if name.startswith("aisleflow_open")
    }


@contextmanager
def watched_wall(url: str, wanted: bool) -> Iterator[str]:
    """A browser that shows the wall, if there is one; what watches, in words."""
    if CHROMIUM is None or not wanted:
        yield "nobody"
        return
    with running_chromium() as browser:
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.goto(url)
        yield "Chromium"


def highest_rate(system: System, sender: Sender, records: Iterator[Any], count: int) -> float:
    """Records a second that the workers confirm of a backlog, all parts on this machine running."""
    for record, _ in zip(records, range(count), strict=False):
        sender.send(record.topic, record.key, record.value)
    sender.flush()
    lag = group_lag(system.settings)
    began = time.monotonic()
    caught_up(system.settings, 600)
    return lag / (time.monotonic() - began)


def slope_per_hour(samples: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Of a straight line through (seconds, value), fitted by least squares; and its standard error."""
    seconds, values = np.array(samples, dtype=float).T
    hours = seconds / 3600
    slope, start = np.polyfit(hours, values, 1)
    spread = float(np.sum((hours - hours.mean()) ** 2))
    error = float(np.sum((values - slope * hours - start) ** 2)) / max(1, len(values) - 2)
    return float(slope), (error / spread) ** 0.5


@dataclass(frozen=True)
class Line:
    """One thing watched over the hour."""

    what: str
    mean: float
    highest: float
    slope: float
    """Per hour."""
    bound: str
    holds: bool


def judge(samples: Sequence[Sample], reader: Reader, rate: float, warm_up_s: float) -> list[Line]:
    """Every line with its bound, from the samples after the warm-up."""
    steady = [sample for sample in samples if sample.at >= warm_up_s]
    fits = steady[-1].at - steady[0].at >= SHORTEST_FIT_S

    def line(what: str, values: Sequence[tuple[float, float]], most: float | None, growth: float | None) -> Line:
        """A line through (seconds, value), with what its highest value and its growth an hour may be."""
        highest = max(value for _, value in values)
        slope, error = slope_per_hour(values)
        grows = growth is not None and fits and slope - 2 * error > growth
        bounds = [] if most is None else [f"max <= {most:,g}"]
        bounds += [] if growth is None else [f"slope <= {round(growth, 1):,g}"]
        holds = not grows and (most is None or highest <= most)
        return Line(what, float(np.mean([v for _, v in values])), highest, slope, ", ".join(bounds) or "-", holds)

    lines = []
    for part in steady[0].rss_mib:
        memory = [(s.at, s.rss_mib[part]) for s in steady]
        growth = max(GROWTH_FLOOR_MIB, GROWTH_SHARE * float(np.mean([v for _, v in memory])))
        lines.append(line(f"memory of {part}, MiB", memory, None, growth))
    lines.append(line("lag, records", [(s.at, s.lag) for s in steady], LAG_S * rate, LAG_S * rate))
    for table in steady[-1].parts:
        fullest = [(s.at, s.fullest.get(table, 0)) for s in steady]
        lines.append(line(f"parts in {table}", fullest, PARTS_IN_A_PARTITION, PARTS_GROWTH))
    fresh = [one for one in reader.freshness if one[0] >= warm_up_s]
    ages = sorted(seconds for _, seconds in fresh)
    lines.append(line("freshness, s", fresh, None, 0.5))
    p50, p99 = quantile(ages, 0.5), quantile(ages, 0.99)
    lines.append(Line("freshness, s: median, p99", p50, p99, 0.0, f"max <= {FRESHNESS_P99_S}", p99 <= FRESHNESS_P99_S))
    lines.append(line("log files, MiB", [(s.at, s.logs_mib) for s in steady], None, LOGS_MIB))
    lines.append(line("store days in memory", [(s.at, s.open_store_days) for s in steady], None, None))
    lines.append(line("visits in memory", [(s.at, s.open_visits) for s in steady], None, None))
    lines.append(line("Kafka on disk, MiB", [(s.at, s.kafka_mib) for s in steady], None, None))
    lines.append(line("ClickHouse on disk, MiB", [(s.at, s.clickhouse_mib) for s in steady], None, None))
    for what, count in (("answers that failed", reader.failed), ("restarts of parts", samples[-1].restarts)):
        lines.append(Line(what, count, count, 0.0, "max <= 0", count == 0))
    return lines


def plot(samples: Sequence[Sample], reader: Reader, title: str, warm_up_s: float, path: Path) -> None:
    """Six pictures of the same time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    minutes = [sample.at / 60 for sample in samples]
    figure, axes = plt.subplots(3, 2, figsize=(16, 13), sharex=True, constrained_layout=True)
    figure.suptitle(title, fontsize=13)
    (memory, lag), (parts, fresh), (disk, held) = axes
    for part in samples[0].rss_mib:
        memory.plot(minutes, [s.rss_mib[part] for s in samples], label=part)
    memory.set_title("Resident memory, MiB")
    lag.plot(minutes, [s.lag for s in samples], color="tab:red")
    lag.set_title("Lag of the workers, records")
    parts.set_prop_cycle(color=[plt.colormaps["tab20"](number) for number in range(20)])
    for table in samples[-1].parts:
        parts.plot(minutes, [s.parts.get(table, 0) for s in samples], label=table, linewidth=1)
    parts.set_title("Active parts by table")
    fresh.plot(
        [at / 60 for at, _ in reader.freshness], [s for _, s in reader.freshness], ".", markersize=2, label="a probe"
    )
    fresh.axhline(FRESHNESS_P99_S, linestyle=":", color="grey", label="bound of the 99th percentile")
    fresh.set_title("Age of an answer, s")
    disk.plot(minutes, [s.kafka_mib for s in samples], label="Kafka")
    disk.plot(minutes, [s.clickhouse_mib for s in samples], label="ClickHouse, parts waiting for removal included")
    disk.plot(minutes, [sum(s.table_mib.values()) for s in samples], label="ClickHouse, active parts")
    disk.plot(minutes, [s.logs_mib for s in samples], label="log files")
    disk.set_title("On disk, MiB")
    held.plot(minutes, [s.open_visits for s in samples], label="visits in memory")
    days = held.twinx()
    days.plot(minutes, [s.open_store_days for s in samples], color="tab:orange", label="store days in memory (right)")
    days.set_ylim(bottom=0)
    held.legend(
        *(
            one + other
            for one, other in zip(held.get_legend_handles_labels(), days.get_legend_handles_labels(), strict=True)
        ),
        fontsize=8,
    )
    held.set_title("What the workers hold")
    for axis in axes.flat:
        axis.axvspan(0, warm_up_s / 60, color="grey", alpha=0.12, linewidth=0)
        axis.set_ylim(0, axis.get_ylim()[1] * (1.5 if axis is parts else 1.05))
        axis.grid(alpha=0.3)
        if axis not in (held, lag):
            axis.legend(fontsize=8, ncols=2 if axis is parts else 1, loc="upper left")
    for axis in axes[-1]:
        axis.set_xlabel("minutes (grey: warm-up, left out of the fits)")
    figure.savefig(path, dpi=80)


def main() -> int:
    """Run it; 0 if every bound held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument(
        "--rate", type=float, default=0, help="records a second; 0: half of what the workers can, measured first"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shops", type=int, default=0, help="0: as many as make a day a minute long")
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks")
    parser.add_argument("--no-wall", action="store_true", help="no browser watches the wall")
    parser.add_argument("--folder", type=Path, help="for the data; default: a temporary one")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aisleflow-soak-", dir=chosen.folder) as folder:
        system = System(Path(folder), chosen.workers)
        try:
            return soak(system, chosen)
        finally:
            system.stop()


def soak(system: System, chosen: argparse.Namespace) -> int:
    """Load, watch, judge."""
    shops = make_shops(chosen.shops or max(10, round((chosen.rate or 5_000) * 60 / RECORDS_PER_SHOP_DAY)), 1)
    days = [FIRST_DAY + timedelta(days=n) for n in range((datetime.now(UTC).date() - FIRST_DAY).days)]
    records = stream(shops, days, 1, faults=Faults())
    sender = Sender(system.settings)
    for store_id, layout in layouts(shops, LAYOUTS_MADE):
        sender.send(STORE_LAYOUTS.name, store_id, layout)
    sender.flush()
    rate = chosen.rate or highest_rate(system, sender, records, 300_000) / 2
    warm_up_s = min(900.0, chosen.minutes * 60 / 3)  # pools, caches and the heap of the JVM fill
    began, stop = time.monotonic(), threading.Event()
    first = sender.sent
    reader = Reader(system, shops)
    threads = [
        threading.Thread(target=sender.run, args=(records, rate, stop), daemon=True),
        threading.Thread(target=reader.run, args=(began, stop), daemon=True),
    ]
    eyes = Eyes(system, began)
    samples: list[Sample] = []
    RESULTS.mkdir(exist_ok=True)
    with watched_wall(system.url, not chosen.no_wall) as watcher, (RESULTS / "soak-samples.tmp").open("w") as kept:
        for thread in threads:
            thread.start()
        while time.monotonic() - began < chosen.minutes * 60 and all(thread.is_alive() for thread in threads):
            time.sleep(chosen.every)
            try:
                samples.append(eyes.look(sender.sent - first))
                kept.write(json.dumps(asdict(samples[-1])) + "\n")
                kept.flush()
            except Exception as error:  # a part is restarting: its own line tells
                print(f"a look failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        early = not all(thread.is_alive() for thread in threads)
        stop.set()
        for thread in threads:
            thread.join()
    took = samples[-1].at
    sent = samples[-1].sent
    caught_up(system.settings, 600)
    lines = judge(samples, reader, rate, warm_up_s)
    answers = sorted(reader.answers_ms)
    broken = [line.what for line in lines if not line.holds] + ["the load ended early"] * early
    cpu = {part: round(seconds - samples[0].cpu_s[part]) for part, seconds in samples[-1].cpu_s.items()}
    report(
        "soak",
        ("faust-streaming", "aiokafka", "confluent-kafka", "chdb-core", "clickhouse-connect", "nicegui"),
        ("watched", "mean", "max", "slope per hour", "bound", "verdict"),
        [
            (
                line.what,
                round(line.mean, 2),
                round(line.highest, 2),
                round(line.slope, 2),
                line.bound,
                "holds" if line.holds else "BROKEN",
            )
            for line in lines
        ],
        command=f"python -m benchmarks.soak {' '.join(sys.argv[1:])}",
        minutes=round(took / 60, 1),
        warm_up_minutes=round(warm_up_s / 60, 1),
        wanted_per_second=rate,
        sent_per_second=round(sent / took),
        records_sent=sent,
        shops=len(shops),
        wall_watched_by=watcher,
        cpu_seconds=cpu,
        answers=f"{len(answers):,}, median {quantile(answers, 0.5):.0f} ms, p99 {quantile(answers, 0.99):.0f} ms",
        kafka_bytes_a_record=round((samples[-1].kafka_mib - samples[0].kafka_mib) * MIB / (sent - samples[0].sent)),
        clickhouse_bytes_a_record=round(
            (samples[-1].clickhouse_mib - samples[0].clickhouse_mib) * MIB / (sent - samples[0].sent)
        ),
        verdict=f"BROKEN: {', '.join(broken)}" if broken else "every bound held",
    )
    title = f"{took / 60:.0f} minutes at {sent / took:,.0f} records/s, {len(shops)} shops, {chosen.workers} worker(s)"
    plot(samples, reader, title, warm_up_s, RESULTS / "soak.png")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
