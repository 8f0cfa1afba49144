"""Ours and its peers at the same work, side by side: ``python -m benchmarks.throughput`` (``make bench-throughput``).

One Kafka holds the visit events and transactions of simulated shops; one ClickHouse takes the rows, a database for each
engine and run. Each engine in turn (interleaved, so that a slow minute of the machine hits all) starts one worker on the whole
backlog: it reads, validates, drops duplicates, derives visits, zone visits, purchases and queue depth by our rule functions,
writes raw and derived rows, and acknowledges. Then its tables are compared, row by row, with a batch computation over the
whole log; an engine that disagrees has no figures. ``benchmarks.peers`` has the peers, ``--kill`` shows that each survives.

- events per CPU second: records over user and system time of the worker and its children, from joining the group to all
  confirmed. Broker and ClickHouse are left out, start-up is left out.
- events per second: the same on the wall, with broker, ClickHouse and worker on the same cores. It holds what an engine
  waits for after joining, too: assignments, recovery of its state, the interval of its commits.
- ``--engines rules`` is the work with no engine around it, and no state that a restart would find: what the rules cost.
- The floor only copies raw records into tables, with confluent-kafka; it is the price of having the raw half at all.

The ordinary mix (``--mix ordinary``) is cameras of our own form with 2 % duplicates, 2 % late and 5 % overtaken records;
``--mix faults`` is everything that the simulator can do wrong, dead letters and the second dialect included (no floor: it
cannot read that).
"""

from __future__ import annotations

import argparse
import json
import os
import pstats
import resource
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from aisleflow.clients import clickhouse_client, group_members
from aisleflow.commands import migrate, topics
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from benchmarks import _report
from benchmarks.peers import agreement
from benchmarks.peers.work import topics as topic_names
from producers.simulator.faults import NO_FAULTS, Faults
from producers.simulator.shops import Shop, layouts, make_shops
from producers.simulator.stream import stream
from schemas.events import StoreLayout
from schemas.reading import read_layout
from stream_processors.derivation import LAYOUT_COLUMNS, layout_rows
from stream_processors.engine.sink import ClickHouseSink
from tests.conftest import free_port, running_clickhouse, running_kafka, wait_for_leaders
from tests.system.truth import LAYOUTS_MADE, Feed

ROOT = Path(__file__).resolve().parents[1]
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
MIXES = {
    "ordinary": Faults(duplicates=0.02, changed=0, late=0.02, shuffled=0.05, malformed=0, dead_camera=0),
    "faults": Faults(),
    "clean": NO_FAULTS,
}
FIRST_DAY = date(2026, 3, 2)
STUCK_AFTER_S = 900


@dataclass(frozen=True)
class Engine:
    """One way to do the work. ``packages`` are those whose versions matter."""

    name: str
    arguments: tuple[str, ...]
    packages: tuple[str, ...]
    python: Path = Path(sys.executable)
    derives: bool = True
    joins_group: bool = True
    """Commits to a consumer group; one that does not (Bytewax) ends by itself when it has confirmed everything."""

    @property
    def tables(self) -> dict[str, tuple[str, ...]]:
        """What its tables must hold, to be compared."""
        return {**agreement.RAW, **(agreement.DERIVED if self.derives else {})}

    def installed(self) -> bool:
        """Whether its packages are there: the peers of another venv are installed by ``make bench-throughput``."""
        return self.python.exists()


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("aisleflow", ("-m", "aisleflow", "worker"), ("faust-streaming", "aiokafka", "msgspec")),
        Engine("faust", ("-m", "benchmarks.peers.faust_plain"), ("faust-streaming", "aiokafka")),
        Engine("quix", ("-m", "benchmarks.peers.quix"), ("quixstreams", "confluent-kafka"), PEERS_PYTHON),
        Engine(
            *("bytewax", ("-m", "benchmarks.peers.bytewax_flow"), ("bytewax", "confluent-kafka"), PEERS_PYTHON),
            joins_group=False,
        ),
        Engine("rules", ("-m", "benchmarks.peers.rules"), ("confluent-kafka",)),
        Engine("floor", ("-m", "benchmarks.peers.floor"), ("confluent-kafka",), derives=False),
    )
}


@dataclass(frozen=True)
class Figures:
    """What one run of one engine came to."""

    events_per_cpu_second: float
    events_per_second: float
    peak_mib: int
    cpu_s: float
    wall_s: float
    differences: list[str]


def main() -> None:
    """Measure, compare and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000, help="records on the log")
    parser.add_argument("--shops", type=int, default=40)
    parser.add_argument("--mix", choices=MIXES, default="ordinary")
    usual = [name for name in ENGINES if name != "rules"]
    parser.add_argument("--engines", default=",".join(usual), help="of " + ", ".join(ENGINES))
    parser.add_argument("--runs", type=int, default=3, help="of each engine, interleaved; figures are their medians")
    parser.add_argument("--kill", action="store_true", help="kill every worker -9 half-way, start another; no figures")
    parser.add_argument("--profile", action="store_true", help="run ours once under cProfile; no figures")
    chosen = parser.parse_args()
    # So that whoever stops it leaves no broker and no worker behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = chosen.engines.split(",") if not chosen.profile else ["aisleflow"]
    if unknown := set(names) - set(ENGINES):
        parser.error(f"unknown engines {unknown}; there are {', '.join(ENGINES)}")
    engines = [ENGINES[name] for name in names if chosen.mix != "faults" or ENGINES[name].derives]
    if missing := [engine.name for engine in engines if not engine.installed()]:
        parser.error(f"{', '.join(missing)}: install with `make bench-throughput`, or leave out with --engines")
    measure_all(
        *(engines, chosen.events, chosen.shops, chosen.mix),
        runs=1 if chosen.kill or chosen.profile else chosen.runs,
        kill=chosen.kill,
        profile=chosen.profile,
    )


def measure_all(
    engines: Sequence[Engine],
    events: int,
    shops: int,
    mix: str,
    *,
    runs: int,
    kill: bool = False,
    profile: bool = False,
    keep: bool = True,
) -> dict[str, list[Figures]]:
    """Run these engines over one backlog and report; returns every run's figures by engine.

    Raises:
        RuntimeError: a worker died or stood still; its log is the message.
    """
    with backlog(events, shops, mix) as bench:
        found: dict[str, list[Figures]] = {engine.name: [] for engine in engines}
        for number in range(runs):
            for engine in engines:
                figures = bench.run(engine, number, kill=kill, profile=profile)
                found[engine.name].append(figures)
                agrees = "rows agree" if not figures.differences else "ROWS DIFFER: " + "; ".join(figures.differences)
                print(
                    f"{engine.name} {number + 1}: {figures.events_per_cpu_second:,.0f} events per CPU second, "
                    f"{figures.events_per_second:,.0f}/s, {figures.cpu_s:.2f} s of CPU, {figures.wall_s:.1f} s, "
                    f"{figures.peak_mib} MiB, {agrees}",
                    flush=True,
                )
        if keep and not kill and not profile:
            tell(engines, found, {"events": bench.records, "shops": shops, "mix": mix, "runs": runs})
    return found


@contextmanager
def backlog(events: int, shops: int, mix: str) -> Iterator[Bench]:
    """Kafka with a backlog, ClickHouse with the truth about it."""
    with tempfile.TemporaryDirectory(prefix="aisleflow-throughput-") as name:
        folder = Path(name)
        with (
            running_kafka(folder / "kafka", free_port()) as kafka,
            running_clickhouse(folder / "clickhouse", free_port(), secrets.token_hex(16)) as clickhouse,
        ):
            settings = Settings(_env_file=None, kafka=kafka, data_dir=folder)
            topics.ensure(settings)
            wait_for_leaders(settings)
            made = [shop if mix == "faults" else replace(shop, dialect=False) for shop in make_shops(shops, 1)]
            publish(settings, made, events, MIXES[mix])
            yield Bench(settings, clickhouse, made)


def publish(settings: Settings, shops: Sequence[Shop], events: int, faults: Faults) -> Feed:
    """Put so many records on the log: as many days of these shops as it takes."""
    feed = Feed(settings)
    days = [FIRST_DAY + timedelta(days=n) for n in range(2 + events // (len(shops) * 1_000))]
    sent = stream(shops, days, 1, faults=faults)
    feed.send((message.topic, message.key, message.value) for message, _ in zip(sent, range(events), strict=False))
    feed.flush()
    if len(feed.sent) < events:
        raise ValueError(f"{len(days)} days of {len(shops)} shops make only {len(feed.sent)} records")
    return feed


class Bench:
    """One backlog, and the runs over it."""

    def __init__(self, settings: Settings, clickhouse: str, shops: list[Shop]) -> None:
        self._settings, self._clickhouse, self._shops = settings, clickhouse, shops
        self._folder = settings.data_dir
        self._name = f"throughput_{secrets.token_hex(4)}"
        self.truth = self.database("truth")
        self.records = agreement.write_truth(self.truth)

    def database(self, name: str) -> Settings:
        """A migrated database that knows the layouts, with a consumer group and a folder of the same name."""
        name = f"{self._name}_{name}"
        settings = Settings(
            _env_file=None,
            kafka=self._settings.kafka,
            topic_prefix=self._settings.topic_prefix,
            clickhouse_url=f"{self._clickhouse}/{name}",
            consumer_group=name,
            data_dir=self._folder / name,
            metrics_port=free_port(),
        )
        settings.data_dir.mkdir()
        migrate.apply(settings)
        made = [read_layout(value, 2**62) for _, value in layouts(self._shops, LAYOUTS_MADE)]
        rows = layout_rows((layout, 0) for layout in made if isinstance(layout, StoreLayout))
        ClickHouseSink(clickhouse_client(settings)).insert_blocking("store_layouts", LAYOUT_COLUMNS, rows, name)
        return settings

    def run(self, engine: Engine, number: int, *, kill: bool = False, profile: bool = False) -> Figures:
        """One worker of an engine over the whole backlog, from an empty database."""
        settings = self.database(f"{engine.name}_{number}")
        name = settings.consumer_group
        client = clickhouse_client(settings)
        log = self._folder / f"{name}.log"
        profiled = ("-m", "cProfile", "-o", str(self._folder / "profile")) if profile else ()
        command = [str(engine.python), *profiled, *engine.arguments]
        if kill:
            with worker(command, settings, log) as process:
                self._until_rows(process, client, log, self.records // 2)
                process.kill()
        with worker(command, settings, log) as process:
            figures = self._watch(engine, process, settings, log)
        if profile:
            pstats.Stats(str(self._folder / "profile")).sort_stats("tottime").print_stats(35)
        told = agreement.differences(client, name, self.truth.consumer_group, engine.tables)
        client.command(f"DROP DATABASE `{name}` SYNC")
        return replace(figures, differences=told)

    def _watch(self, engine: Engine, process: subprocess.Popen[bytes], settings: Settings, log: Path) -> Figures:
        with closing(Progress(settings)) as progress:
            return self._measure(engine, process, progress, settings, log)

    def _measure(
        self, engine: Engine, process: subprocess.Popen[bytes], progress: Progress, settings: Settings, log: Path
    ) -> Figures:
        deadline = time.monotonic() + STUCK_AFTER_S
        while not (progress.joined() if engine.joins_group else (settings.data_dir / "started").exists()):
            _check(process, log, deadline)
            time.sleep(0.02)
        cpu_before, reaped_before = cpu_seconds(process.pid), reaped_cpu_seconds()
        began = time.monotonic()
        peak = 0
        while progress.lag() if engine.joins_group else process.poll() is None:
            if engine.joins_group:
                _check(process, log, deadline)
            peak = max(peak, memory_mib(process.pid))
            time.sleep(0.05)
        wall = time.monotonic() - began
        if engine.joins_group:
            cpu, peak = cpu_seconds(process.pid) - cpu_before, memory_mib(process.pid)
        else:
            if process.returncode != 0:
                raise RuntimeError(log.read_text(errors="replace")[-3000:])
            cpu = reaped_cpu_seconds() - reaped_before - cpu_before
        return Figures(self.records / cpu, self.records / wall, peak, cpu, wall, [])

    def _until_rows(self, process: subprocess.Popen[bytes], client: Client, log: Path, wanted: int) -> None:
        """Wait until ClickHouse holds so many raw rows."""
        deadline = time.monotonic() + STUCK_AFTER_S
        while True:
            _check(process, log, deadline)
            query = "SELECT (SELECT count() FROM events) + (SELECT count() FROM transactions)"
            if client.query(query).result_rows[0][0] >= wanted:
                return
            time.sleep(0.05)


class Progress:
    """How far a consumer group has come on the two topics, whose ends no longer move."""

    def __init__(self, settings: Settings) -> None:
        self._group = settings.consumer_group
        self._admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0})
        self._consumer = Consumer(
            {"bootstrap.servers": settings.kafka_bootstrap, "group.id": self._group, "log_level": 0}
        )
        known = self._consumer.list_topics(timeout=10).topics
        places = [
            TopicPartition(topic, number) for topic in topic_names(settings) for number in known[topic].partitions
        ]
        ends = {place: self._consumer.get_watermark_offsets(place, timeout=10)[1] for place in places}
        self._ends = {place: end for place, end in ends.items() if end > 0}

    def close(self) -> None:
        """End the connections."""
        self._consumer.close()

    def joined(self) -> bool:
        """Whether the group has a member."""
        return group_members(self._admin, self._group) > 0

    def lag(self) -> int:
        """Records that the group has not committed."""
        committed = self._consumer.committed(list(self._ends), timeout=10)
        return sum(self._ends[place] - max(0, place.offset) for place in committed)


@contextmanager
def worker(command: Sequence[str], settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that ends with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment(settings)}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _check(process: subprocess.Popen[bytes], log: Path, deadline: float) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        state = "stands still" if process.returncode is None else f"ended with {process.returncode}"
        raise RuntimeError(f"the worker {state}:\n{log.read_text(errors='replace')[-3000:]}")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants so far."""
    total = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def reaped_cpu_seconds() -> float:
    """User and system time of the children of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mib(pid: int) -> int:
    """Most memory that a process and its descendants have held, together."""
    total = 0
    for one in family(pid):
        status = Path(f"/proc/{one}/status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return total // 1024


def tell(engines: Sequence[Engine], found: dict[str, list[Figures]], about: dict[str, object]) -> None:
    """Print the table and keep ``throughput.json`` and, beside it, ``throughput_about.json``."""
    medians = {
        name: {
            figure: statistics.median(getattr(run, figure) for run in runs)
            for figure in ("events_per_cpu_second", "events_per_second", "peak_mib", "cpu_s", "wall_s")
        }
        for name, runs in found.items()
    }
    ours = medians.get("aisleflow", {}).get("events_per_cpu_second")
    floor = medians.get("floor", {}).get("events_per_cpu_second")
    results = [
        {
            "engine": name,
            **{figure: round(value, 2 if figure.endswith("_s") else None) for figure, value in figures.items()},
            "rows_agree": not any(run.differences for run in found[name]),
            "share_of_floor": round(figures["events_per_cpu_second"] / floor, 3) if floor else None,
            "ours_over_it": round(ours / figures["events_per_cpu_second"], 2) if ours else None,
            "runs": [[round(run.events_per_cpu_second), round(run.events_per_second)] for run in found[name]],
        }
        for name, figures in medians.items()
    ]
    packages = {engine.name: _versions(engine) for engine in engines}
    _report.show(
        {"command": " ".join(["python -m benchmarks.throughput", *sys.argv[1:]]), **about, "versions": packages},
        ("engine", "events/CPU s", "events/s", "peak MiB", "share of floor", "ours over it", "rows"),
        [
            (
                *(row["engine"], row["events_per_cpu_second"], row["events_per_second"], row["peak_mib"]),
                *("-" if row[name] is None else f"{row[name]}" for name in ("share_of_floor", "ours_over_it")),
                "agree" if row["rows_agree"] else "DIFFER",
            )
            for row in results
        ],
    )
    _report.keep("throughput", results)
    _report.keep("throughput_about", {**about, "machine": _report.machine(), "versions": packages})


def _versions(engine: Engine) -> dict[str, str]:
    code = "import json, sys; from importlib.metadata import version; print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
    told = subprocess.run([engine.python, "-c", code, *engine.packages], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(told.stdout)
    return versions


if __name__ == "__main__":
    main()
