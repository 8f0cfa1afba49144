"""The supervisor with real Kafka and ClickHouse: one after the other killed, and the data found again."""

import asyncio
import io
import json
import os
import signal
import time
from pathlib import Path

import pytest
from rich.console import Console

from aisleflow.clients import clickhouse_client, kafka_producer
from aisleflow.settings import Settings
from aisleflow.supervisor import Part, Supervisor
from schemas.topics import TOPICS
from tests.conftest import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


class Servers(Supervisor):
    """Kafka and ClickHouse alone."""

    def programs(self) -> list[Part]:
        return []


def servers(data_dir: Path) -> Servers:
    names = ("kafka_port", "kafka_controller_port", "clickhouse_port")
    settings = Settings(
        _env_file=None, data_dir=data_dir, kafka=None, clickhouse_url=None, **{name: free_port() for name in names}
    )
    return Servers(settings, console=Console(file=io.StringIO(), width=300))


async def test_servers_are_prepared_restarted_and_find_their_data_again(tmp_path: Path) -> None:
    topic = next(iter(TOPICS))
    first = servers(tmp_path)

    async def write_and_kill() -> int:
        with clickhouse_client(first.settings) as client:
            assert client.command("SELECT count() FROM schema_migrations") > 0
            client.command("CREATE TABLE kept (a UInt8) ENGINE = MergeTree ORDER BY a")
            client.command("INSERT INTO kept VALUES (7)")
        parts = json.loads((tmp_path / "run.json").read_text())["parts"]
        for part in parts.values():
            os.kill(part["pid"], signal.SIGKILL)
        # A producer that starts while the broker is away delivers once it is back.
        producer = kafka_producer(first.settings, **{"delivery.timeout.ms": 120_000, "log_level": 0})
        errors: list[object] = []
        producer.produce(topic, b"{}", key=b"S", on_delivery=lambda error, _: errors.append(error))
        assert await asyncio.to_thread(producer.flush, 120) == 0
        assert errors == [None]
        deadline = time.monotonic() + 60
        while {part["state"] for part in json.loads((tmp_path / "run.json").read_text())["parts"].values()} != {
            "ready"
        }:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        return 0

    assert await first.run(write_and_kill) == 0

    second = servers(tmp_path)  # on other ports

    async def read() -> int:
        with clickhouse_client(second.settings) as client:
            return int(client.command("SELECT a FROM kept"))

    assert await second.run(read) == 7
    assert not list(tmp_path.glob("run.json.draft"))
