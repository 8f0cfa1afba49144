"""How fast one worker derives a backlog: ``python -m benchmarks.throughput_worker``.

Simulated shops with every fault are published first; then one worker starts and is timed until it has confirmed them all.
``--profile`` runs it under cProfile and prints where the time of its event loop goes.
"""

from __future__ import annotations

import argparse
import os
import pstats
import secrets
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from aisleflow.commands import migrate, topics
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from benchmarks._report import report
from producers.simulator.faults import Faults
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from tests.conftest import free_port, running_clickhouse, running_kafka, wait_for_leaders
from tests.system.truth import Feed, group_lag


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> int:
    """Most memory that a process has held."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aisleflow-throughput-") as name:
        folder = Path(name)
        with (
            running_kafka(folder / "kafka", free_port()) as kafka,
            running_clickhouse(folder / "clickhouse", free_port(), secrets.token_hex(16)) as clickhouse,
        ):
            settings = Settings(
                _env_file=None,
                kafka=kafka,
                clickhouse_url=f"{clickhouse}/aisleflow",  # type: ignore[arg-type]
                data_dir=folder,
                metrics_port=free_port(),
            )
            migrate.apply(settings)
            topics.ensure(settings)
            wait_for_leaders(settings)
            measure(settings, folder, chosen.events, chosen.profile)


def measure(settings: Settings, folder: Path, events: int, profile: bool) -> None:
    """Publish a backlog, time a worker over it, report."""
    shops = make_shops(40, 1)
    feed = Feed(settings)
    feed.send_layouts(shops)
    days = [date(2026, 3, 2 + n) for n in range(7)]
    sent = stream(shops, days, 1, faults=Faults())
    feed.send((message.topic, message.key, message.value) for message, _ in zip(sent, range(events), strict=False))
    feed.flush()
    command = [
        sys.executable,
        *(["-m", "cProfile", "-o", str(folder / "profile")] if profile else []),
        "-m",
        "aisleflow",
        "worker",
    ]
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            command, env={**os.environ, **environment(settings)}, stdout=log, stderr=subprocess.STDOUT
        )
    first: tuple[float, float, int] | None = None
    while (lag := group_lag(settings)) > 0:
        if first is None and lag < len(feed.sent):
            # The start of the process and the joining of the group are no throughput.
            first = time.monotonic(), cpu_seconds(worker.pid), lag
        if worker.poll() is not None:
            raise RuntimeError((folder / "worker.log").read_text()[-3000:])
        time.sleep(0.1)
    assert first is not None
    wall, cpu, derived = time.monotonic() - first[0], cpu_seconds(worker.pid) - first[1], first[2]
    memory = memory_mib(worker.pid)
    worker.terminate()
    worker.wait(60)
    if profile:
        # A profiled worker is slower, so its figures are not kept.
        pstats.Stats(str(folder / "profile")).sort_stats("tottime").print_stats(35)
        return
    report(
        "throughput_worker",
        ("faust-streaming", "aiokafka", "msgspec", "clickhouse-connect", "chdb"),
        ("one worker", "records/s"),
        [("on the wall", round(derived / wall)), ("a second of its CPU", round(derived / cpu))],
        records=len(feed.sent),
        timed=derived,
        wall_s=round(wall, 2),
        cpu_s=round(cpu, 2),
        most_memory_mib=memory,
    )


if __name__ == "__main__":
    main()
