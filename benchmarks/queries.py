"""How long answers take over a large chain: ``python -m benchmarks.queries`` (`make bench-queries`).

100 million events of 1,000 shops over 30 days are made straight in ClickHouse (``benchmarks/_chain.py`` says what is faithful about them),
then the six reading endpoints of a real API process are asked at 50 requests/s, each latency counted from the moment at which its request
was due. Every query of docs/analysts.md is run as the analyst. Rows and bytes are what ClickHouse says that it read.

``--events`` sizes the chain, ``--data`` keeps it between runs; a run cut short goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain as chain_of
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import clickhouse_connect
from clickhouse_connect.driver.binding import bind_query
from clickhouse_connect.driver.exceptions import ClickHouseError
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client
from aisleflow.commands import migrate, topics
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from api.app import create_app
from api.database import Database
from benchmarks._chain import TABLES, Chain, generate
from benchmarks._report import quantile, report
from tests.conftest import answers, free_port, process, running_clickhouse, running_kafka

ENDPOINTS = {
    "metrics": "/stores/{store}/metrics",
    "funnel": "/stores/{store}/funnel",
    "heatmap": "/stores/{store}/heatmap",
    "anomalies": "/stores/{store}/anomalies",
    "stores": "/stores",
    "health": "/health",
}
DATED = ("metrics", "funnel", "heatmap", "anomalies")
GOAL_P99_MS = 50
ANALYSTS_PAGE = Path(__file__).parents[1] / "docs" / "analysts.md"


class Asker:
    """Asks one HTTP server over a few connections that stay open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, path: str) -> int:
        """The status of the answer, when it is there as a whole."""
        while self._idle:
            with suppress(OSError, asyncio.IncompleteReadError):  # the server closes what has been idle for a while
                return await self._ask(path, *self._idle.pop())
        return await self._ask(path, *await asyncio.open_connection("127.0.0.1", self._port))

    async def _ask(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", head)
        assert length, head
        await reader.readexactly(int(length[1]))
        self._idle.append((reader, writer))
        return int(head.split(None, 2)[1])


async def open_loop(
    port: int, paths: Sequence[tuple[str, str]], per_second: float, *, at_once: int = 10_000
) -> dict[str, list[float]]:
    """Send (endpoint, path) at a pace, whatever comes back; milliseconds from when each was due, by endpoint.

    A request that is refused, or whose connection the server closes, took for ever.
    """
    asker, latencies, free = Asker(port), defaultdict(list), asyncio.Semaphore(at_once)
    began = time.perf_counter() + 0.1

    async def one(endpoint: str, path: str, due: float) -> None:
        status = 0
        async with free:
            with suppress(OSError, asyncio.IncompleteReadError):
                status = await asker.ask(path)
        latencies[endpoint].append((time.perf_counter() - due) * 1000 if status == 200 else math.inf)

    async with asyncio.TaskGroup() as group:
        for number, (endpoint, path) in enumerate(paths):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(endpoint, path, due))
    return {endpoint: sorted(found) for endpoint, found in latencies.items()}


def requests(chain: Chain, count: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """The endpoints in turn, each of a shop drawn evenly; half of them of the newest day, half of a day drawn evenly."""
    draw = random.Random(seed)
    for number in range(count):
        endpoint = list(ENDPOINTS)[number % len(ENDPOINTS)]
        path = ENDPOINTS[endpoint].format(store=chain.store(draw.randrange(chain.shops)))
        if endpoint in DATED and draw.random() < 0.5:
            path += f"?date={draw.choice(chain.days)}"
        yield endpoint, path


def what_is_read(settings: Settings, chain: Chain) -> dict[str, tuple[int, int, int]]:
    """(Queries, rows, bytes) that each endpoint reads for the newest day of a shop."""
    asked: list[tuple[str, dict[str, Any]]] = []
    rows = Database.rows

    async def remembered(self: Database, sql: str, parameters: Any = None) -> Any:
        asked.append((sql, dict(parameters or {})))
        return await rows(self, sql, parameters)

    found = {}
    Database.rows = remembered  # type: ignore[method-assign]
    assert settings.clickhouse_url is not None
    try:
        with TestClient(create_app(settings, wall=False), base_url="http://127.0.0.1") as api:
            for endpoint, path in ENDPOINTS.items():
                asked.clear()
                api.get(path.format(store=chain.store(chain.shops // 2)))
                told = [read(settings.clickhouse_url.get_secret_value(), *query) for query in asked]
                found[endpoint] = (len(told), sum(rows for rows, _ in told), sum(size for _, size in told))
    finally:
        Database.rows = rows  # type: ignore[method-assign]
    return found


def read(url: str, sql: str, parameters: dict[str, Any]) -> tuple[int, int]:
    """Rows and bytes that a query reads."""
    parts = urlsplit(url)
    given = {"database": parts.path.strip("/"), "default_format": "JSON"}  # a format that is not sent before its end
    given |= bind_query(sql, parameters)[1]
    answer = Request(f"http://{parts.hostname}:{parts.port}/?{urlencode(given)}", sql.encode())
    answer.add_header("X-ClickHouse-User", parts.username or "")
    answer.add_header("X-ClickHouse-Key", parts.password or "")
    with urlopen(answer) as response:
        told = json.loads(response.headers["X-ClickHouse-Summary"])
    return int(told["read_rows"]), int(told["read_bytes"])


def analysts(url: str) -> list[tuple[str, float, int, int]]:
    """Each question of docs/analysts.md: median milliseconds of three, rows and bytes read."""
    page = re.findall(r"^\*\*([^*\n]+)\*\*.*?```sql\n(.+?)```", ANALYSTS_PAGE.read_text(), re.DOTALL | re.MULTILINE)
    parts = urlsplit(url)
    assert parts.password
    figures = []
    with clickhouse_connect.get_client(
        host=parts.hostname,
        port=parts.port,
        username="analyst",
        password=parts.password[::-1],
        database=parts.path.strip("/"),
        autogenerate_session_id=False,
    ) as client:
        for question, sql in page:
            took = []
            try:
                for _ in range(3):
                    began = time.perf_counter()
                    client.query(sql)
                    took.append((time.perf_counter() - began) * 1000)
                figures.append((question, round(statistics.median(took), 1), *read(url, sql, {})))
            except (ClickHouseError, OSError) as error:  # such as one that takes more than an analyst may have
                figures.append((f"{question} FAILED: {str(error)[:80]}", 0.0, 0, 0))
    return figures


@contextmanager
def running_api(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real API process."""
    command = [sys.executable, "-m", "aisleflow", "api"]
    with process(command, log, lambda: answers(settings.api_port, "/stores"), environment(settings)) as child:
        yield child


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def milliseconds(latency: float) -> float | str:
    """A latency as it is printed."""
    return "failed" if math.isinf(latency) else round(latency, 1)


def cpu_by_endpoint(port: int, chain: Chain, pids: Sequence[int], times: int = 30) -> dict[str, list[float]]:
    """CPU milliseconds of each of these processes a request, asked one after another."""
    found = {}
    for endpoint in ENDPOINTS:
        paths = [path for name, path in requests(chain, times * len(ENDPOINTS), seed=3) if name == endpoint]
        before = [cpu_seconds(pid) for pid in pids]
        asyncio.run(open_loop(port, [(endpoint, path) for path in paths], math.inf, at_once=1))
        found[endpoint] = [
            round(1000 * (cpu_seconds(pid) - was) / times, 2) for pid, was in zip(pids, before, strict=True)
        ]
    return found


def listener(port: int) -> int:
    """The process that serves ClickHouse on a port."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = command.read_bytes().split(b"\0")
            if b"infra.clickhouse.server" in words and str(port).encode() in words:
                return int(command.parent.name)
    raise LookupError(f"nobody serves {port}")


def main() -> None:
    """Generate, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--data", type=Path, help="folder of the chain, kept; without it a temporary one")
    parser.add_argument("--per-second", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--no-analysts", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aisleflow-queries-") as name:
        folder = chosen.data or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        with (
            running_clickhouse(folder / "clickhouse", free_port(), secrets.token_hex(16)) as clickhouse,
            running_kafka(Path(name) / "kafka", free_port()) as kafka,
        ):
            settings = Settings(
                _env_file=None,
                kafka=kafka,
                clickhouse_url=f"{clickhouse}/aisleflow",
                data_dir=Path(name),
                api_port=free_port(),
                metrics_port=free_port(),
            )
            migrate.apply(settings)
            topics.ensure(settings)
            measure(settings, chosen, Path(name))


def measure(settings: Settings, chosen: argparse.Namespace, folder: Path) -> None:
    """Everything over a running ClickHouse."""
    with clickhouse_client(settings, send_receive_timeout=600) as client:
        began = time.perf_counter()
        chain = generate(client, chosen.events, datetime.now(UTC).date() - timedelta(days=1))
        made_s = time.perf_counter() - began
        stored = client.query(
            "SELECT table, sum(rows), count(), sum(bytes_on_disk) FROM system.parts "
            "WHERE active AND database = currentDatabase() AND table IN {tables:Array(String)} GROUP BY table",
            parameters={"tables": list(TABLES)},
        ).result_rows
        reads = what_is_read(settings, chain)
    with running_api(settings, folder / "api.log") as api:
        asyncio.run(open_loop(settings.api_port, list(requests(chain, 60, seed=2)), 20))
        assert settings.clickhouse_url is not None
        database = listener(urlsplit(settings.clickhouse_url.get_secret_value()).port or 0)
        cpu_ms = cpu_by_endpoint(settings.api_port, chain, (api.pid, database))
        paths = list(requests(chain, round(chosen.per_second * chosen.seconds)))
        cpu, began = cpu_seconds(api.pid) + cpu_seconds(database), time.perf_counter()
        latencies = asyncio.run(open_loop(settings.api_port, paths, chosen.per_second))
        wall, cpu = time.perf_counter() - began, cpu_seconds(api.pid) + cpu_seconds(database) - cpu
    questions = [] if chosen.no_analysts else analysts(settings.clickhouse_url.get_secret_value())
    worst = max(quantile(latencies[endpoint], 0.99) for endpoint in DATED)
    report(
        "queries",
        ("chdb-core", "clickhouse-connect", "fastapi"),
        (
            "endpoint",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "API CPU ms",
            "ClickHouse CPU ms",
            "queries",
            "rows read",
            "bytes read",
        ),
        [
            (
                name,
                *(milliseconds(quantile(latencies[name], share)) for share in (0.5, 0.9, 0.99)),
                *cpu_ms[name],
                *reads[name],
            )
            for name in ENDPOINTS
        ]
        + [(question, took, "", "", "", "", 1, rows, size) for question, took, rows, size in questions],
        command=" ".join(["python -m benchmarks.queries", *sys.argv[1:]]),
        shops=chain.shops,
        days=len(chain.days),
        stored={table: {"rows": rows, "parts": parts, "mib": size >> 20} for table, rows, parts, size in stored},
        made_in_s=round(made_s, 1),
        requests=len(paths),
        failed=sum(map(math.isinf, chain_of.from_iterable(latencies.values()))),
        per_second=chosen.per_second,
        took_s=round(wall, 1),
        cpu_ms_a_request=round(1000 * cpu / len(paths), 2),
        goal=f"p99 of a shop's day under {GOAL_P99_MS} ms: {'reached' if worst < GOAL_P99_MS else 'MISSED'} ({worst:.1f})",
    )


if __name__ == "__main__":
    main()
