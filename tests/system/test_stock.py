"""The ledger of stock on real parts: a month of ten shops with theft, unscanned shelves, mistyped counts and late
movements, while workers are killed.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from aisleflow.clients import clickhouse_client, kafka_producer
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from api.stock.queries import IN_TRANSIT, LEDGER
from producers.simulator.stock import Place, Sent, StockDays
from schemas.topics import STOCK_MOVEMENTS, TRANSACTIONS
from tests.conftest import answers, free_port

pytestmark = pytest.mark.system
DOCS = Path(__file__).resolve().parents[2] / "docs"
START = datetime(2026, 3, 2, tzinfo=UTC)
SHOPS, SKUS, DAYS = [f"ST{number:02}" for number in range(10)], 20, 30


class StockWorkers:
    """Processes that keep the ledger, and the way that records come to them."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self._settings, self._logs = settings, logs
        self._producer = kafka_producer(settings)
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        port = free_port()
        own = self._settings.model_copy(update={"metrics_port": port})
        with (self._logs / f"stock-{port}.log").open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "aisleflow", "worker", "--derives", "stock"],
                env={"PATH": "/usr/bin:/bin", **environment(own)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append(worker)
        deadline = time.monotonic() + 60
        while not answers(port, "/metrics"):
            assert worker.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return worker

    def send(self, records: list[Sent]) -> None:
        for sent in records:
            self._producer.produce(self._settings.topic_prefix + sent.topic, sent.value, sent.store_id.encode())
            self._producer.poll(0)
        assert self._producer.flush(60) == 0

    def catch_up(self) -> None:
        """Return when the group has confirmed everything, what it announces to itself included."""
        group = {"bootstrap.servers": self._settings.kafka_bootstrap, "group.id": self._settings.stock_group}
        consumer = Consumer(group)
        names = [self._settings.topic_prefix + topic.name for topic in (STOCK_MOVEMENTS, TRANSACTIONS)]
        places = [TopicPartition(name, n) for name in names for n in range(self._settings.store_partitions)]
        deadline = time.monotonic() + 120
        try:
            quiet = 0
            while quiet < 3:
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.3)
                lag = 0
                for place in consumer.committed(places, timeout=10):
                    _, end = consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=10)
                    lag += end - max(0, place.offset)
                quiet = quiet + 1 if lag == 0 else 0
        finally:
            consumer.close()

    def said(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self._logs.glob("stock-*.log"))

    def stop(self) -> None:
        for worker in self.running:
            worker.kill()
            worker.wait()


@pytest.fixture(scope="module")
def month() -> StockDays:
    days = StockDays(SHOPS, SKUS, seed=11, start=START)
    days.run(DAYS)
    return days


@pytest.fixture(scope="module")
def stock_workers(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockWorkers]:
    found = StockWorkers(world, tmp_path_factory.mktemp("stock"))
    yield found
    found.stop()


Moved = tuple[datetime, bool, str, float]
"""(when, is a count, event_id, how much it changes or finds)"""


class Recomputation:
    """Balances by the plainest way: each place by itself, its last count and all that moved since."""

    def __init__(self, records: list[Sent]) -> None:
        self._moved: defaultdict[Place, list[Moved]] = defaultdict(list)
        self._sent: defaultdict[tuple[str, str], list[tuple[datetime, str, float]]] = defaultdict(list)
        for sent in records:
            said = json.loads(sent.value)
            at = datetime.fromisoformat(said["timestamp"])
            if sent.topic == TRANSACTIONS.name:
                for line in said["lines"]:
                    self._note(said["store_id"], line["sku"], "SHELF", at, -line["quantity"])
                continue
            store, sku, quantity = said["store_id"], said["sku"], said["quantity"]
            place = said.get("location", "SHELF")
            match said["kind"]:
                case "COUNT":
                    self._moved[store, sku, place].append((at, True, said["event_id"], quantity))
                case "FILL_SHELF":
                    self._note(store, sku, "SHELF", at, quantity)
                    self._note(store, sku, "BACKROOM", at, -quantity)
                case "RECEIVE":
                    self._note(store, sku, place, at, quantity)
                    self._sent[store, sku].append((at, said["reference"], -quantity))
                case "WASTE":
                    self._note(store, sku, place, at, -quantity)
                case "TRANSFER":
                    self._note(store, sku, place, at, -quantity)
                    self._sent[said["to_store_id"], sku].append((at, said["reference"], quantity))

    def _note(self, store: str, sku: str, place: str, at: datetime, change: float) -> None:
        self._moved[store, sku, place].append((at, False, "", change))

    def balance(self, place: Place, at: datetime) -> float:
        known = [moved for moved in self._moved[place] if moved[0] <= at]
        last = max((moved for moved in known if moved[1]), default=None)
        if last is None:
            return sum(change for _, _, _, change in known)
        return last[3] + sum(change for when, is_count, _, change in known if not is_count and when > last[0])

    def in_transit(self, store: str, sku: str, at: datetime) -> float:
        missing: defaultdict[str, float] = defaultdict(float)
        announced = set()
        for when, reference, quantity in self._sent[store, sku]:
            if when <= at:
                missing[reference] += quantity
                if quantity > 0:
                    announced.add(reference)
        return sum(max(0, missing[reference]) for reference in announced)


def tables(settings: Settings) -> dict[str, list[Any]]:
    with clickhouse_client(settings) as client:
        return {
            "positions": client.query(
                """SELECT store_id, sku, shelf, backroom, in_transit, shelf_known, backroom_known, version
                FROM stock_positions FINAL ORDER BY store_id, sku"""
            ).result_rows,
            "discrepancies": client.query(
                """SELECT event_id, store_id, sku, location, expected, counted, difference, is_opening
                FROM stock_discrepancies FINAL ORDER BY toString(event_id)"""
            ).result_rows,
            "movements": client.query("SELECT count(), sum(cityHash64(*)) FROM stock_movements FINAL").result_rows,
        }


def test_a_month_of_ten_shops_while_workers_are_killed(
    world: Settings, month: StockDays, stock_workers: StockWorkers
) -> None:
    records = month.records
    first, _ = stock_workers.start(), stock_workers.start()
    stock_workers.send(records[: len(records) // 2])
    first.kill()
    stock_workers.start()
    stock_workers.send(records[len(records) // 2 :])
    stock_workers.catch_up()
    plain = Recomputation(records)
    chance = random.Random(5)
    with clickhouse_client(world) as client:
        # Now ...
        end = START + timedelta(days=DAYS + 9)
        rows = client.query("SELECT store_id, sku, shelf, backroom, in_transit FROM stock_positions FINAL").result_rows
        assert len(rows) == len(SHOPS) * SKUS
        for store, sku, shelf, backroom, in_transit in rows:
            expected = (plain.balance((store, sku, place), end) for place in ("SHELF", "BACKROOM"))
            assert (float(shelf), float(backroom)) == tuple(expected), (store, sku)
            assert float(in_transit) == plain.in_transit(store, sku, end)
        # ... and at any moment.
        for _ in range(1000):
            store, sku = chance.choice(SHOPS), f"SKU-{chance.randrange(SKUS):04}"
            at = START + timedelta(seconds=chance.randrange(DAYS * 86_400))
            bound = {"store_id": store, "sku": sku, "at": at, "limit": 1}
            newest = list(client.query(LEDGER, bound).named_results())
            found = (float(newest[0]["shelf_after"]), float(newest[0]["backroom_after"])) if newest else (0.0, 0.0)
            expected = (plain.balance((store, sku, place), at) for place in ("SHELF", "BACKROOM"))
            assert found == tuple(expected), bound
            (missing,) = client.query(IN_TRANSIT, bound).result_rows[0]
            assert float(missing) == plain.in_transit(store, sku, at)


def test_the_documented_query_gives_the_positions(world: Settings, month: StockDays) -> None:
    (query,) = re.findall(r"```sql\n(.+?)```", (DOCS / "stock.md").read_text(), re.DOTALL)
    with clickhouse_client(world) as client:
        positions = client.query(
            "SELECT store_id, sku, shelf, backroom FROM stock_positions FINAL ORDER BY 1, 2"
        ).result_rows
        assert client.query(query).result_rows == positions
        assert positions


def test_discrepancies_are_those_of_the_truth(world: Settings, month: StockDays) -> None:
    """Every theft, unscanned shelf and mistyped count shows at the next count, and nothing else does."""
    with clickhouse_client(world) as client:
        rows = client.query(
            """SELECT toString(event_id), difference FROM stock_discrepancies FINAL
            WHERE NOT is_opening AND difference != 0"""
        ).result_rows
    found, truth = {event_id: float(difference) for event_id, difference in rows}, month.truth.differences()
    assert len(truth) > 100
    assert found == truth, (
        f"precision {len(found.keys() & truth.keys()) / len(found):.3f}, "
        f"recall {len(found.keys() & truth.keys()) / len(truth):.3f}"
    )


def test_the_log_sent_again_and_shuffled_changes_nothing(
    world: Settings, month: StockDays, stock_workers: StockWorkers
) -> None:
    before = tables(world)
    again = random.Random(3).sample(month.records, len(month.records) // 3)
    stock_workers.send(again)
    stock_workers.catch_up()
    assert tables(world) == before
