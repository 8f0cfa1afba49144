"""What Grafana's wall costs ClickHouse: ``python -m benchmarks.wall``.

A month of 1,000 shops (visits and queues of ``benchmarks/_chain.py``, the newest day in the three versions that workers leave before
ClickHouse merges), then each query of the wall as Grafana sends it every 10 seconds, as its user. The CPU is that of the whole server.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client

from aisleflow.clients import clickhouse_client
from aisleflow.commands import migrate
from aisleflow.settings import Settings
from benchmarks._chain import Chain, _anomalies, _queue_depth, _visits, visits_of
from benchmarks._report import report
from benchmarks.queries import cpu_seconds, listener, read
from grafana import build
from tests.conftest import free_port, running_clickhouse
from tests.grafana.macros import as_sent, last
from tests.grafana.test_queries import as_analyst

TIMES = 5
VISITS_A_DAY = 235


def fill(client: Client, shops: int, days: int) -> int:
    """Make the chain up to today; rows of visits."""
    today = datetime.now(UTC).date()
    chain = Chain(shops, tuple(today - timedelta(days=back) for back in reversed(range(days))), VISITS_A_DAY)
    rows = [
        [shop.store_id, datetime(2026, 1, 1, tzinfo=UTC), shop.name, shop.time_zone, shop.currency]
        for shop in chain.layouts()
    ]
    client.insert("store_layouts", rows, column_names=["store_id", "timestamp", "name", "time_zone", "currency"])
    for day in chain.days:
        newest = day == today
        visits = visits_of(chain, day)
        statements = [_anomalies(chain, day, newest=newest)]
        for version in (1, 2, 3) if newest else (1,):
            statements += [_visits(visits, version), _queue_depth(visits, version)]
        for statement in statements:
            client.command(statement, settings={"max_threads": 1, "max_partitions_per_insert_block": 0})
    client.command("INSERT INTO store_feed SELECT store_id, max(ended_at), max(ended_at) FROM visits GROUP BY store_id")
    client.command(
        "INSERT INTO topic_lag SELECT 'visit-events', number % 32, now64(3) - INTERVAL intDiv(number, 32) * 10 SECOND, "
        "concat('worker-', toString(number % 8), '@h'), number % 50, 200 FROM numbers(32 * 360)"
    )
    return int(client.command("SELECT count() FROM visits"))  # type: ignore[arg-type]


def main() -> None:
    """Generate, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shops", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=30)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="aisleflow-wall-") as name,
        running_clickhouse(Path(name) / "clickhouse", free_port(), secrets.token_hex(16)) as clickhouse,
    ):
        url = f"{clickhouse}/aisleflow"
        settings = Settings(_env_file=None, clickhouse_url=url, data_dir=Path(name))
        migrate.apply(settings)
        with clickhouse_client(settings, send_receive_timeout=600) as client:
            visits = fill(client, chosen.shops, chosen.days)
        server, found, refresh_ms = listener(urlsplit(url).port or 0), [], 0.0
        with as_analyst(settings) as client:
            for panel in build.dashboards()["aisleflow-wall"]["panels"]:
                for target in panel["targets"]:
                    took, before = [], cpu_seconds(server)
                    for _ in range(TIMES):
                        statement = as_sent(target["rawSql"], last(24), {})
                        began = time.perf_counter()
                        answer = client.query(statement)
                        took.append((time.perf_counter() - began) * 1000)
                    cpu_ms = 1000 * (cpu_seconds(server) - before) / TIMES
                    rows_read, bytes_read = read(url, statement, {})
                    refresh_ms += cpu_ms
                    figures = (
                        round(statistics.median(took), 1),
                        round(cpu_ms, 1),
                        rows_read,
                        bytes_read,
                        len(answer.result_rows),
                    )
                    found.append((f"{panel['id']}{target['refId']} {panel['description'][:60]}", *figures))
    report(
        "wall",
        ("chdb-core", "clickhouse-connect"),
        ("query", "ms (median)", "CPU ms", "rows read", "bytes read", "rows"),
        found,
        command=" ".join(["python -m benchmarks.wall", *sys.argv[1:]]),
        shops=chosen.shops,
        days=chosen.days,
        visits=visits,
        cpu_ms_a_refresh=round(refresh_ms),
        cores_at_10_s=round(refresh_ms / 10_000, 3),
    )


if __name__ == "__main__":
    main()
