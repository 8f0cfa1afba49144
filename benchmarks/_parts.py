"""Real parts for the benchmarks, one at a time, and what their processes use."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from aisleflow.commands import migrate, topics
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from tests.conftest import answers, free_port, running_clickhouse, running_kafka, wait_for_leaders
from tests.system.truth import places

Place = tuple[str, int]
"""(topic, partition)"""


@contextmanager
def parts() -> Iterator[tuple[str, str, int, Path]]:
    """A Kafka and an embedded ClickHouse of one's own: bootstrap address, URL without a database, ClickHouse's process, and a
    folder to work in.
    """
    with tempfile.TemporaryDirectory(prefix="aisleflow-bench-") as name:
        folder = Path(name)
        with (
            running_kafka(folder / "kafka", free_port()) as kafka,
            running_clickhouse(folder / "clickhouse", free_port(), secrets.token_hex(16)) as clickhouse,
        ):
            yield kafka, clickhouse, _serving(folder / "clickhouse"), folder


def _serving(data_dir: Path) -> int:
    """The process that was started on this folder."""
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(data_dir).encode() in found.read_bytes().split(b"\0"):
                return int(found.parent.name)
    raise RuntimeError(f"nothing runs on {data_dir}")


@contextmanager
def kafka_and_clickhouse() -> Iterator[Settings]:
    """Settings of a Kafka and an embedded ClickHouse of one's own, with topics and tables."""
    with parts() as (kafka, clickhouse, _, folder):
        yield world(kafka, clickhouse, folder)


def world(kafka: str, clickhouse: str, folder: Path, **overrides: Any) -> Settings:
    """Settings of topics, a consumer group and a database that nothing else uses, on parts that run."""
    name = f"bench_{secrets.token_hex(4)}"
    chosen: dict[str, Any] = {
        "kafka": kafka,
        "clickhouse_url": f"{clickhouse}/{name}",
        "topic_prefix": f"{name}.",
        "consumer_group": name,
        "data_dir": folder / name,
        "host": "127.0.0.1",
        "api_port": free_port(),
        "metrics_port": free_port(),
        "api_keys": None,
        **overrides,
    }
    settings = Settings(_env_file=None, **chosen)
    migrate.apply(settings)
    topics.ensure(settings)
    wait_for_leaders(settings)
    return settings


# What a worker's log says when it is given partitions.
ASSIGNED = "partitions_assigned"


class Part:
    """A program of ours as a child process; its log is a file, shown when it ends by itself."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._log = settings.data_dir / f"{'-'.join(arguments)}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AISLEFLOW_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aisleflow", *arguments],
                env={**inherited, **environment(settings)},
                cwd=settings.data_dir,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    def said(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    def check(self) -> None:
        """See that it runs.

        Raises:
            RuntimeError: it has ended by itself.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._log.stem}: {self.said()[-3000:]}")

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it, in order unless told otherwise."""
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def running_api(settings: Settings) -> Iterator[Part]:
    """``aisleflow api``, ready."""
    with Part(settings, "api") as part:
        while not answers(settings.api_port, "/login"):
            part.check()
            time.sleep(0.1)
        yield part


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int, field: str = "VmRSS") -> int:
    """Memory that a process holds now; ``VmHWM`` is the most that it has held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


class Log:
    """How far the log is and how far the workers' group is, asked over one connection."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": settings.kafka_bootstrap, "group.id": settings.consumer_group, "log_level": 0}
        )
        self._places = places(settings, self._consumer)
        self._admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0})

    def ends(self) -> dict[Place, int]:
        """The next offset of each partition, in one request: partition by partition would take as long as a cycle."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(place.topic, place.partition): latest for place in self._places}
        answers = self._admin.list_offsets(wanted, request_timeout=10)
        return {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}

    def committed(self) -> dict[Place, int]:
        """The offset from which the group goes on, by partition."""
        wanted = [TopicPartition(place.topic, place.partition) for place in self._places]
        return {
            (place.topic, place.partition): max(place.offset, 0)
            for place in self._consumer.committed(wanted, timeout=10)
        }

    def lag(self) -> int:
        """Records that the group has not confirmed."""
        committed = self.committed()
        return sum(end - committed[place] for place, end in self.ends().items())

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
