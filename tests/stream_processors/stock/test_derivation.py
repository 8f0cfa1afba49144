"""The cycle of a stock worker on the real database, without Kafka: batches made by hand, and a producer that keeps what
is announced.
"""

from __future__ import annotations

import json
import random
import secrets
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from clickhouse_connect.driver.client import Client
from faust.types import TP

from aisleflow.clients import clickhouse_client, partition_of
from aisleflow.settings import Settings
from schemas.topics import PRODUCTS, SHELF_SCANS, STOCK_MOVEMENTS, TRANSACTIONS
from stream_processors.engine.dead_letters import DeadLetter
from stream_processors.engine.scheduler import RecordBatch
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.engine.strays import Stray
from stream_processors.stock.derivation import StockDerivation
from stream_processors.stock.history import StockHistory

ARRIVED = 1_772_600_000_000
MOVES, RECEIPTS = STOCK_MOVEMENTS.name, TRANSACTIONS.name
Record = tuple[str, bytes]


class Killed(BaseException):
    """Stands for ``kill -9``."""


class MortalSink(ClickHouseSink):
    """Dies before a given insert."""

    dies_before: str | None = None

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Any], token: str) -> None:
        if table == self.dies_before:
            raise Killed
        await super().insert(table, columns, rows, token)


class Kept:
    """Keeps dead letters, and what is produced."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.strays: list[Stray] = []
        self.produced: list[Record] = []

    async def put(self, letters: list[DeadLetter]) -> None:
        self.letters += letters

    async def move(self, strays: list[Stray]) -> None:
        self.strays += strays

    async def publish(self, records: list[Any], complaint: str) -> None:
        self.produced += [(topic, value) for topic, _, value, _ in records]


class Shop:
    """A log of stock, and the worker that reads it."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self.settings, self.client, self.kept = settings, client, Kept()
        self.store = f"S-{secrets.token_hex(4)}"
        self._offset = 0
        self.restart()

    def restart(self, dies_before: str | None = None) -> None:
        """A new worker, that knows nothing."""
        self.sink = MortalSink(self.client)
        self.sink.dies_before = dies_before
        kept: Any = self.kept
        self.derivation = StockDerivation(self.settings, self.sink, StockHistory(self.client), kept)

    def move(self, kind: str, quantity: float | str, minute: int = 0, **changes: Any) -> Record:
        """A movement of article A, some minutes after nine."""
        said = {
            "event_id": str(uuid.uuid4()),
            "store_id": self.store,
            "timestamp": f"2026-03-03T{9 + minute // 60:02}:{minute % 60:02}:00Z",
            "sku": "A",
            "kind": kind,
            "quantity": quantity,
        }
        return MOVES, json.dumps(said | changes).encode()

    def receipt(self, name: str, minute: int, **sold: float) -> Record:
        """A receipt of some articles."""
        lines = [{"sku": sku, "quantity": quantity, "unit_price": "1.00"} for sku, quantity in sold.items()]
        at = f"2026-03-03T{9 + minute // 60:02}:{minute % 60:02}:00Z"
        said = {"store_id": self.store, "transaction_id": name, "timestamp": at, "basket_value": "9", "lines": lines}
        return RECEIPTS, json.dumps(said).encode()

    def batches(self, *records: Record, partition: int = 0) -> list[RecordBatch]:
        """The batches in which a fetch brings these records."""
        by_topic: dict[str, list[Any]] = {}
        for topic, value in records:
            self._offset += 1
            record: Any = ConsumerRecord(
                topic, partition, self._offset, ARRIVED, 0, b"key", value, None, 3, len(value), ()
            )
            by_topic.setdefault(topic, []).append(record)
        return [RecordBatch(TP(topic, partition), found) for topic, found in by_topic.items()]

    async def read(self, *records: Record) -> None:
        """A cycle from end to end."""
        await self.derivation.finish(await self.derivation.prepare(self.batches(*records)))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        found = self.client.query(query, {"store": self.store}).result_rows
        return [
            tuple(float(v) if isinstance(v, object) and hasattr(v, "quantize") else v for v in row) for row in found
        ]

    def positions(self) -> list[tuple[Any, ...]]:
        return self.rows(
            """SELECT sku, shelf, backroom, in_transit, shelf_known, backroom_known, version
            FROM stock_positions FINAL WHERE store_id = %(store)s ORDER BY sku"""
        )

    def gaps(self) -> list[tuple[Any, ...]]:
        return self.rows(
            """SELECT sku, gap, gap_since, seen_missing, counted_at FROM stock_positions FINAL
            WHERE store_id = %(store)s ORDER BY sku"""
        )

    def discrepancies(self) -> list[tuple[Any, ...]]:
        return self.rows(
            """SELECT sku, location, expected, counted, difference, is_opening FROM stock_discrepancies FINAL
            WHERE store_id = %(store)s ORDER BY sku, counted_at, event_id"""
        )


@pytest.fixture(scope="module")
def database(clickhouse: str, make_world: Any) -> Settings:
    found: Settings = make_world(None, clickhouse, store_partitions=1)
    return found


@pytest.fixture
def shop(database: Settings) -> Iterator[Shop]:
    with clickhouse_client(database) as client:
        yield Shop(database, client)


async def test_a_day_in_a_shop(shop: Shop) -> None:
    await shop.read(
        shop.move("COUNT", 4),
        shop.move("COUNT", 20, 1, location="BACKROOM"),
        shop.receipt("T1", 10, A=3, B=1.5),
        shop.move("FILL_SHELF", 6, 20),
        shop.move("RECEIVE", 12, 30, location="BACKROOM", reference="PO-7", actor="dock", reason="delivery"),
    )
    assert shop.positions() == [("A", 7, 26, 0, True, True, 5), ("B", -1.5, 0, 0, False, False, 1)]
    await shop.read(shop.move("COUNT", 5, 40, actor="mia"), shop.receipt("T2", 41, A=1))
    assert shop.positions()[0] == ("A", 4, 26, 0, True, True, 7)
    assert shop.discrepancies() == [
        ("A", "SHELF", 0, 4, 0, True),
        ("A", "BACKROOM", 0, 20, 0, True),
        ("A", "SHELF", 7, 5, -2, False),
    ]


async def test_the_same_again_changes_nothing_whatever_it_says(shop: Shop) -> None:
    first = shop.move("COUNT", 4)
    other = (MOVES, first[1].replace(b'"quantity": 4', b'"quantity": 9'))
    receipt, other_receipt = shop.receipt("T", 5, A=1), shop.receipt("T", 6, A=3, B=2)
    await shop.read(first, receipt, other, other_receipt)
    before = shop.positions()
    assert before == [("A", 3, 0, 0, True, False, 2)]
    await shop.read(other, other_receipt)
    shop.restart()
    await shop.read(other, other_receipt, first, receipt)
    assert shop.positions() == before


async def test_a_late_movement_counts_from_the_last_count(shop: Shop) -> None:
    await shop.read(shop.move("COUNT", 10, 0), shop.move("COUNT", 7, 60), shop.move("SALE", 1, 70))
    shop.restart()
    await shop.read(shop.move("SALE", 3, 30), shop.move("WASTE", 2, 65))
    assert shop.positions() == [("A", 4, 0, 0, True, False, 5)]
    assert shop.discrepancies() == [("A", "SHELF", 0, 10, 0, True), ("A", "SHELF", 7, 7, 0, False)]


async def test_a_transfer_is_announced_to_the_shop_that_it_goes_to(shop: Shop, database: Settings) -> None:
    receiver = Shop(database, shop.client)
    sent = shop.move("TRANSFER", 5, 10, location="BACKROOM", to_store_id=receiver.store, reference="X-1")
    await shop.read(shop.move("COUNT", 9, location="BACKROOM"), sent)
    await shop.read(sent)
    (announced, again) = shop.kept.produced
    assert announced == again, "repeated, it says the same under the same id"
    await receiver.read(announced)
    await receiver.read(announced)
    assert shop.positions() == [("A", 0, 4, 0, False, True, 2)]
    assert receiver.positions() == [("A", 0, 0, 5, False, False, 1)]
    await receiver.read(receiver.move("RECEIVE", 3, 50, location="BACKROOM", reference="X-1"))
    assert receiver.positions() == [("A", 0, 3, 2, False, True, 2)]
    receiver.restart()
    await receiver.read(receiver.move("RECEIVE", 2, 55, location="BACKROOM", reference="X-1"))
    assert receiver.positions() == [("A", 0, 5, 0, False, True, 3)]


async def test_a_photo_of_an_empty_shelf_is_a_reason_to_count(shop: Shop) -> None:
    scan = {
        "event_id": str(uuid.uuid4()),
        "store_id": shop.store,
        "timestamp": "2026-03-03T10:00:00Z",
        "scan_id": "P1",
        "facings": {"A": 0, "B": 3},
        "confidence": 0.9,
    }
    photo = (SHELF_SCANS.name, json.dumps(scan).encode())
    await shop.read(shop.move("COUNT", 4), shop.move("COUNT", 4, sku="B"), photo)
    shop.restart()
    await shop.read(photo, (SHELF_SCANS.name, b"{}"))
    assert [gap[:2] for gap in shop.gaps()] == [("A", "COUNT"), ("B", "")]
    assert shop.positions() == [("A", 4, 0, 0, True, False, 2), ("B", 4, 0, 0, True, False, 2)]
    assert [letter.source_topic for letter in shop.kept.letters] == [SHELF_SCANS.name]


async def test_the_catalogue_is_kept_by_its_newest_word(shop: Shop) -> None:
    sku = f"SKU-{secrets.token_hex(4)}"

    def said(name: str, minute: int, **more: Any) -> Record:
        return PRODUCTS.name, json.dumps(
            {"sku": sku, "timestamp": f"2026-03-03T10:{minute:02}:00Z", "name": name, **more}
        ).encode()

    newest = said("Oat milk", 30, category="Dairy", pack="12", gtin="4006381333931")
    await shop.read(said("Milk", 5), newest)
    await shop.read(said("Milk, old", 10), (PRODUCTS.name, b'{"sku": "X"}'))
    shop.restart()
    await shop.read(newest)
    rows = shop.client.query(
        "SELECT name, category, gtin, unit, toString(pack) FROM products_final WHERE sku = %(sku)s", {"sku": sku}
    ).result_rows
    assert rows == [("Oat milk", "Dairy", "4006381333931", "pcs", "12")]
    assert [letter.source_topic for letter in shop.kept.letters] == [PRODUCTS.name]


async def test_what_lies_in_a_wrong_partition_is_moved_and_not_derived_there(shop: Shop, database: Settings) -> None:
    shop.settings = database.model_copy(update={"store_partitions": 8})
    shop.restart()
    here = partition_of(shop.store, 8)
    records = [shop.move("COUNT", 4), shop.receipt("T", 5, A=1)]
    await shop.derivation.finish(await shop.derivation.prepare(shop.batches(*records, partition=(here + 1) % 8)))
    assert shop.positions() == []
    assert [stray.topic for stray in shop.kept.strays] == [MOVES], "receipts are moved by the workers of visits"
    await shop.derivation.finish(await shop.derivation.prepare(shop.batches(*records, partition=here)))
    assert shop.positions() == [("A", 3, 0, 0, True, False, 2)]


async def test_what_cannot_be_is_buried_with_its_bytes(shop: Shop) -> None:
    poison = [
        shop.move("COUNT", -1),
        shop.move("SALE", 1, to_store_id="S2"),
        shop.move("TRANSFER", 1, to_store_id=shop.store),
        shop.move("STEAL", 1),
        (MOVES, b"\xff"),
    ]
    await shop.read(*poison, shop.move("COUNT", 2))
    assert [letter.value for letter in shop.kept.letters] == [value for _, value in poison]
    assert all(letter.refusal.reason for letter in shop.kept.letters)
    assert shop.positions() == [("A", 2, 0, 0, True, False, 1)]


@pytest.mark.parametrize("dies_before", ["stock_movements", "event_ids", "stock_discrepancies", "stock_positions"])
async def test_killed_between_any_two_inserts(shop: Shop, dies_before: str) -> None:
    await shop.read(shop.move("COUNT", 10))
    records = [shop.move("SALE", 2, 10), shop.move("COUNT", 5, 20), shop.receipt("T", 30, A=1), shop.move("SALE", 1, 5)]
    shop.restart(dies_before)
    with pytest.raises(Killed):
        await shop.read(*records)
    shop.restart()
    await shop.read(*records[:2])
    await shop.read(*records[2:])
    assert shop.positions() == [("A", 4, 0, 0, True, False, 5)]
    assert shop.discrepancies() == [("A", "SHELF", 0, 10, 0, True), ("A", "SHELF", 7, 5, -2, False)]


async def test_shuffled_repeated_and_restarted_it_is_the_same(shop: Shop, database: Settings) -> None:
    chance = random.Random(7)
    other = Shop(database, shop.client)
    kinds = ["RECEIVE", "FILL_SHELF", "SALE", "RETURN", "WASTE", "COUNT"]
    records = []
    for _ in range(120):
        sku, place = chance.choice("ABC"), chance.choice(["SHELF", "BACKROOM"])
        said = {"sku": sku, "location": place}
        records.append(shop.move(chance.choice(kinds), chance.randrange(9), chance.randrange(300), **said))
    records += [shop.receipt(f"T{n}", chance.randrange(300), A=1, C=2) for n in range(30)]
    for record in sorted(records, key=lambda record: json.loads(record[1])["timestamp"]):
        await shop.read(record)
    renamed = []
    for topic, value in records:
        said = json.loads(value) | {"store_id": other.store}
        if topic == MOVES:  # ids are known across shops; their order decides between movements of the same moment
            said["event_id"] = said["event_id"][:-1] + format(int(said["event_id"][-1], 16) ^ 1, "x")
        renamed.append((topic, json.dumps(said).encode()))
    renamed += chance.sample(renamed, 60)
    chance.shuffle(renamed)
    while renamed:
        portion, renamed = renamed[:17], renamed[17:]
        await other.read(*portion)
        if chance.random() < 0.3:
            other.restart()
    assert other.positions() == shop.positions()
    assert other.gaps() == shop.gaps()
    assert other.discrepancies() == shop.discrepancies()
    assert len(shop.positions()) == 3
