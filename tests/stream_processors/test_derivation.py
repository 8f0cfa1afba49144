"""The cycle of a worker on the real database, without Kafka: batches made by hand, and a box that keeps what is
buried.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from aiokafka.structs import ConsumerRecord
from clickhouse_connect.driver.client import Client
from faust.types import TP

from aisleflow.clients import clickhouse_client, partition_of
from aisleflow.settings import Settings
from producers.simulator.answers import World
from producers.simulator.faults import Faults
from producers.simulator.shops import layouts, make_shops
from producers.simulator.stream import stream
from schemas.topics import CAMERA_HEALTH, STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS
from stream_processors import derivation as module
from stream_processors.derivation import Derivation, TooManyInvalid
from stream_processors.engine.dead_letters import DeadLetter
from stream_processors.engine.scheduler import RecordBatch
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.engine.strays import MOVED_HEADER, Stray
from stream_processors.history import History
from tests.system.truth import LAYOUTS_MADE

ARRIVED = 1_772_600_000_000
EVENTS, RECEIPTS, LAYOUTS = VISIT_EVENTS.name, TRANSACTIONS.name, STORE_LAYOUTS.name


class Box:
    """Keeps the dead letters."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.strays: list[Stray] = []

    async def put(self, letters: list[DeadLetter]) -> None:
        self.letters += letters

    async def move(self, strays: list[Stray]) -> None:
        self.strays += strays


class Killed(BaseException):
    """Stands for ``kill -9``."""


class MortalSink(ClickHouseSink):
    """Dies before a given insert."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.dies_before: str | None = None

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Any], token: str) -> None:
        if table == self.dies_before:
            raise Killed
        await super().insert(table, columns, rows, token)


async def derived(derivation: Derivation, batches: Sequence[RecordBatch]) -> None:
    """A cycle from end to end."""
    await derivation.finish(await derivation.prepare(batches))


class Log:
    """A log of one partition per topic, and the worker that reads it."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self.settings, self.client = settings, client
        self.box, self.sink = Box(), MortalSink(client)
        self.records: list[tuple[str, bytes]] = []
        self._offsets: dict[str, int] = {}
        self._store = 0
        self.restart()

    def restart(self) -> None:
        """A new worker, that knows nothing."""
        self.derivation = Derivation(self.settings, self.sink, History(self.client), self.box)  # type: ignore[arg-type]

    def store(self) -> str:
        """A store that nobody has used."""
        self._store += 1
        return f"S{self._store}-{secrets.token_hex(3)}"

    def batches(self, *records: tuple[str, Any]) -> list[RecordBatch]:
        """Put records on the log; the batches in which a fetch brings them."""
        by_topic: dict[str, list[Any]] = {}
        for topic, content in records:
            value = content if isinstance(content, bytes | None) else json.dumps(content).encode()
            self.records.append((topic, value))
            offset = self._offsets[topic] = self._offsets.get(topic, -1) + 1
            record: Any = ConsumerRecord(topic, 0, offset, ARRIVED, 0, b"key", value, None, 3, len(value or b""), ())
            by_topic.setdefault(topic, []).append(record)
        return [RecordBatch(TP(topic, 0), found) for topic, found in by_topic.items()]

    async def read(self, *records: tuple[str, Any]) -> None:
        await derived(self.derivation, self.batches(*records))

    def world(self) -> World:
        world = World(ARRIVED + 86_400_000)
        for topic, value in self.records:
            world.take(topic, value or b"")
        return world

    def rows(self, query: str, store: str) -> list[Any]:
        return self.client.query(query, {"store": store}).result_rows  # type: ignore[no-any-return]

    def visits(self, store: str, columns: str = "visitor_id, events") -> list[Any]:
        return self.rows(
            f"SELECT {columns} FROM visits FINAL WHERE store_id = %(store)s ORDER BY business_day, visitor_id", store
        )


@pytest.fixture(scope="module")
def database(clickhouse: str, make_world: Any) -> Settings:
    found: Settings = make_world(None, clickhouse, store_partitions=1)
    return found


@pytest.fixture
def log(database: Settings) -> Iterator[Log]:
    with clickhouse_client(database) as client:
        yield Log(database, client)


def event(
    store: str, event_type: str = "ENTRY", at: str = "2026-03-03T10:00:00Z", **changes: Any
) -> tuple[str, dict[str, Any]]:
    return EVENTS, {
        "event_id": f"{random.getrandbits(128):032x}"[:8] + "-0000-4000-8000-" + secrets.token_hex(6),
        "store_id": store,
        "camera_id": "C1",
        "visitor_id": "V",
        "event_type": event_type,
        "timestamp": at,
        "confidence": 0.9,
        **changes,
    }


def receipt(store: str, name: str, at: str, value: str = "10.50") -> tuple[str, dict[str, Any]]:
    return RECEIPTS, {"store_id": store, "transaction_id": name, "timestamp": at, "basket_value": value}


def layout(store: str, at: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    return LAYOUTS, {"store_id": store, "timestamp": at, **changes}


async def test_facts_are_stored_as_they_came(log: Log) -> None:
    store = log.store()
    _, sent = first = event(
        store, "ZONE_DWELL", zone_id="A", dwell_ms=30_000, metadata={"queue_depth": 2, "more": [1, "é"]}
    )
    lines = [{"sku": "X", "gtin": "12345678", "quantity": 2, "unit_price": "5.25"}]
    await log.read(
        first, (RECEIPTS, {**receipt(store, "T", "2026-03-03T10:01:00Z")[1], "currency": "INR", "lines": lines})
    )
    (stored,) = log.rows(
        "SELECT toString(event_id), zone_id, dwell_ms, metadata FROM events FINAL WHERE store_id = %(store)s", store
    )
    assert stored[:3] == (sent["event_id"], "A", 30_000)
    assert json.loads(stored[3]) == sent["metadata"]
    query = "SELECT basket_value, currency, `lines.sku`, `lines.quantity`, `lines.unit_price` FROM transactions FINAL"
    ((value, currency, skus, quantities, prices),) = log.rows(f"{query} WHERE store_id = %(store)s", store)
    assert (float(value), currency, skus) == (10.5, "INR", ["X"])
    assert ([float(q) for q in quantities], [float(p) for p in prices]) == ([2.0], [5.25])


async def test_dead_letters_are_listed_once_however_often_they_are_buried(log: Log) -> None:
    batches = log.batches((EVENTS, b"{"), (EVENTS, b'{"event_id": 1}'), (EVENTS, None), event(log.store()))
    (first, second, third, _) = batches[0].records
    await derived(log.derivation, batches)
    log.restart()
    await derived(log.derivation, batches)
    found = log.client.query(
        "SELECT partition, offset, stage, error, message != '', store_id, handled FROM dead_letters FINAL "
        "WHERE topic = %(topic)s AND offset >= %(first)s ORDER BY offset",
        {"topic": EVENTS, "first": first.offset},
    ).result_rows
    assert found == [
        (0, first.offset, "read", "record", 1, "key", ""),
        (0, second.offset, "read", "event_id", 1, "key", ""),
        (0, third.offset, "read", "record", 1, "key", ""),
    ]


async def test_the_same_id_again_changes_nothing_whatever_it_says(log: Log) -> None:
    store = log.store()
    topic, first = event(store)
    others = [
        {**first, "event_type": "EXIT"},
        {**first, "visitor_id": "W"},
        {**first, "is_staff": True},
        {**first, "event_id": first["event_id"].upper(), "timestamp": "2026-03-05T10:00:00Z"},
    ]
    await log.read((topic, first), (topic, others[0]))
    await log.read(*((topic, other) for other in others))
    log.restart()
    await log.read(*((topic, other) for other in others))
    assert log.visits(store, "visitor_id, events, is_visitor, is_staff") == [("V", 1, True, False)]
    assert log.rows("SELECT count() FROM events FINAL WHERE store_id = %(store)s", store) == [(1,)]


async def test_the_same_transaction_again_changes_nothing(log: Log) -> None:
    store = log.store()
    await log.read(receipt(store, "T", "2026-03-03T10:00:00Z"), receipt(store, "T", "2026-03-03T11:00:00Z", "99"))
    await log.read(receipt(store, "T", "2026-03-07T10:00:00Z", "99"))
    query = "SELECT count(), sum(basket_value) FROM transactions FINAL WHERE store_id = %(store)s"
    assert [(count, float(total)) for count, total in log.rows(query, store)] == [(1, 10.5)]


async def test_a_late_event_of_a_day_let_go(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0)
    monkeypatch.setattr(module, "EVICT_EVERY_S", 0)
    store, other = log.store(), log.store()
    await log.read(event(store, "ZONE_ENTER", "2026-03-03T10:00:00Z", zone_id="A"))
    await log.read(event(store, "ENTRY", "2026-03-04T10:00:00Z"))
    for _ in range(4):
        await log.read(event(other))
    assert [str(day) for day in log.derivation._stores[store].days] == ["2026-03-04"]
    await log.read(event(store, "ZONE_EXIT", "2026-03-03T10:02:00Z", zone_id="A"))
    await log.read(event(store, "ENTRY", "2026-03-03T09:59:00Z"))
    assert log.visits(store, "business_day, events") == [(date(2026, 3, 3), 3), (date(2026, 3, 4), 1)]
    query = "SELECT dwell_ms, is_open FROM zone_visits FINAL WHERE store_id = %(store)s"
    assert log.rows(query, store) == [(120_000, False)]


async def test_a_payment_after_midnight_is_a_purchase_of_the_evening(log: Log) -> None:
    store = log.store()
    await log.read(event(store, "BILLING_QUEUE_JOIN", "2026-03-03T23:58:00Z"), event(store, at="2026-03-03T23:50:00Z"))
    await log.read(receipt(store, "T", "2026-03-04T00:02:00Z"))
    columns = "business_day, purchased, attributed_transaction_id"
    assert log.visits(store, columns) == [(date(2026, 3, 3), True, "")]


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_layout_that_comes_after_the_events_moves_them_to_its_days(log: Log, forgets: bool) -> None:
    store = log.store()
    await log.read(
        event(store, "ENTRY", "2026-03-03T20:00:00Z"),
        event(store, "ZONE_ENTER", "2026-03-03T20:01:00Z", zone_id="FRONT"),
        event(store, "BILLING_QUEUE_JOIN", "2026-03-03T20:02:00Z", zone_id="FRONT"),
        receipt(store, "T", "2026-03-03T20:03:00Z"),
        event(store, "ENTRY", "2026-03-03T10:00:00Z", visitor_id="W"),
    )
    assert [day for day, _ in log.visits(store, "business_day, visitor_id")] == [date(2026, 3, 3)] * 2
    if forgets:
        log.restart()
    zones = [{"zone_id": "FRONT", "type": "BILLING"}]
    await log.read(layout(store, "2026-03-01T00:00:00Z", time_zone="Asia/Kolkata", zones=zones))
    expected = [(date(2026, 3, 3), "W", False), (date(2026, 3, 4), "V", True)]
    assert log.visits(store, "business_day, visitor_id, has_billing_presence") == expected
    query = "SELECT business_day, zone_id, is_billing FROM zone_visits FINAL WHERE store_id = %(store)s"
    assert log.rows(query, store) == [(date(2026, 3, 4), "FRONT", True)]
    query = "SELECT business_day, depth FROM queue_depth FINAL WHERE store_id = %(store)s ORDER BY timestamp"
    assert log.rows(query, store) == [(date(2026, 3, 4), 1), (date(2026, 3, 4), 0)]
    await log.read(layout(store, "2026-02-01T00:00:00Z", time_zone="America/New_York"))
    assert log.visits(store, "business_day, visitor_id, has_billing_presence") == expected, (
        "an older layout changes nothing"
    )
    await log.read(layout(store, "2026-03-02T00:00:00Z"))
    assert [day for day, _ in log.visits(store, "business_day, visitor_id")] == [date(2026, 3, 3)] * 2


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_layout_corrected_under_its_old_timestamp_holds(log: Log, forgets: bool) -> None:
    store = log.store()
    made = "2026-03-01T00:00:00Z"
    await log.read(layout(store, made), event(store, "ZONE_ENTER", zone_id="FRONT"))
    if forgets:
        log.restart()
    await log.read(layout(store, made, zones=[{"zone_id": "FRONT", "type": "BILLING"}]))
    assert log.visits(store, "has_billing_presence") == [(True,)]


async def test_poison_is_buried_with_its_bytes_and_the_rest_is_derived(log: Log) -> None:
    store = log.store()
    poison: list[tuple[str, bytes | None]] = [
        (EVENTS, b"\x00\xff\xfe"),
        (EVENTS, None),
        (EVENTS, b'{"event_id":'),
        (EVENTS, b"[]"),
        (EVENTS, json.dumps({**event(store)[1], "timestamp": "2999-01-01T00:00:00Z"}).encode()),
        (EVENTS, b"[" * 100_000),
        (RECEIPTS, b'{"store_id": "S"}'),
        (RECEIPTS, json.dumps({**receipt(store, "T", "2026-03-03T10:00:00Z")[1], "basket_value": "NaN"}).encode()),
        (LAYOUTS, b'{"store_id": "S", "timestamp": "2026-03-03T10:00:00Z", "time_zone": "Mars/Base"}'),
    ]
    await log.read(event(store), *poison, event(store, "EXIT", "2026-03-03T10:05:00Z"))
    assert log.visits(store) == [("V", 2)]
    buried = sorted((letter.source_topic, letter.value or b"") for letter in log.box.letters)
    assert buried == sorted((topic, value or b"") for topic, value in poison)
    assert {letter.key for letter in log.box.letters} == {b"key"}
    assert all(letter.refusal.reason for letter in log.box.letters)
    offsets = [letter.offset for letter in log.box.letters if letter.source_topic == EVENTS]
    assert offsets == [1, 2, 3, 4, 5, 6]


async def test_what_lies_in_a_wrong_partition_is_moved_and_not_derived_there(log: Log) -> None:
    log.settings = log.settings.model_copy(update={"store_partitions": 8})
    log.restart()
    here = next(store for store in iter(log.store, "") if partition_of(store, 8) == 0)
    elsewhere = next(store for store in iter(log.store, "") if partition_of(store, 8) != 0)
    at = "2026-03-03T10:00:00Z"
    sent = [event(here), event(elsewhere), (EVENTS, b"{"), layout(elsewhere, at), receipt(elsewhere, "T", at)]
    batches = log.batches(*sent, receipt(here, "T", at))
    await derived(log.derivation, batches)
    assert (log.visits(here), log.visits(elsewhere)) == ([("V", 1)], [])
    assert len(log.box.letters) == 1
    moved = [(stray.topic, stray.store_id, json.loads(stray.record.value)) for stray in log.box.strays]
    assert sorted(moved, key=str) == sorted(((topic, elsewhere, body) for topic, body in (sent[1], *sent[3:])), key=str)
    assert log.box.strays[0].headers == [(MOVED_HEADER, b"visit-events/0/1")]
    # Moved once and still here: then the partitions are other ones than we think, and it is derived.
    batches = log.batches(event(elsewhere))
    batches[0].records[0] = replace(batches[0].records[0], headers=((MOVED_HEADER, b"visit-events/3/1"),))
    await derived(log.derivation, batches)
    assert log.visits(elsewhere) == [("V", 1)]


async def test_too_many_invalid_records_stop_the_worker_before_they_are_buried(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INVALID_WINDOW", 100)
    log.settings.max_invalid_share = 0.5
    store = log.store()
    for _ in range(5):
        await log.read(*[event(store)] * 11, *[(EVENTS, b"x")] * 9)
    assert len(log.box.letters) == 45
    with pytest.raises(TooManyInvalid, match="is not JSON"):
        for _ in range(5):
            await log.read(event(store), *[(EVENTS, b"y")] * 19)
    assert len([letter for letter in log.box.letters if letter.value == b"y"]) < 95
    log.settings.max_invalid_share = 0.9


STEPS = (None, "events", "event_ids", "transactions", "store_layouts", "zone_visits", "queue_depth", "visits")


@pytest.mark.parametrize("dies_before", STEPS[1:])
@pytest.mark.parametrize("same_cut", [True, False])
async def test_killed_between_any_two_inserts(log: Log, dies_before: str, same_cut: bool) -> None:
    store = log.store()
    await log.read(event(store, at="2026-03-03T09:00:00Z"))
    records = [
        event(store, "ZONE_ENTER", "2026-03-03T09:10:00Z", zone_id="CASH"),
        event(store, "BILLING_QUEUE_JOIN", "2026-03-03T09:11:00Z", zone_id="CASH"),
        receipt(store, "T", "2026-03-03T09:12:00Z"),
        layout(store, "2026-03-01T00:00:00Z", zones=[{"zone_id": "CASH", "type": "BILLING"}]),
    ]
    batches = log.batches(*records)
    log.sink.dies_before = dies_before
    with pytest.raises(Killed):
        await derived(log.derivation, batches)
    log.sink.dies_before = None
    log.restart()
    more = log.batches(event(store, "ZONE_EXIT", "2026-03-03T09:13:00Z", zone_id="CASH"))
    if same_cut:
        await derived(log.derivation, batches)
        await derived(log.derivation, more)
    else:
        await derived(log.derivation, batches[:1])
        await derived(log.derivation, batches[1:] + more)
    columns = "visitor_id, events, purchased, attributed_transaction_id, has_billing_presence, zone_visits"
    assert log.visits(store, columns) == [("V", 4, True, "T", True, 1)]
    query = "SELECT zone_id, is_open, dwell_ms FROM zone_visits FINAL WHERE store_id = %(store)s"
    assert log.rows(query, store) == [("CASH", False, 180_000)]
    query = "SELECT toUnixTimestamp(timestamp) %% 3600 / 60, depth FROM queue_depth FINAL WHERE store_id = %(store)s ORDER BY 1"
    assert log.rows(query, store) == [(11, 1), (12, 0)]


async def test_who_looks_at_touched_stores_finds_their_rows(log: Log) -> None:
    """Whoever judges anomalies takes a store out and looks at it: told before its rows are there, it would look in vain."""
    store = log.store()
    log.sink.dies_before = "visits"
    with pytest.raises(Killed):
        await log.read(event(store))
    assert log.derivation.touched_stores == set()
    log.sink.dies_before = None
    log.restart()
    await log.read(event(store))
    assert log.derivation.touched_stores == {store}


async def test_rows_that_follow_from_more_facts_are_written_though_the_records_were_derived_before(log: Log) -> None:
    """Derived, not yet acknowledged; the next records stored, then killed. The same records again now lead to other
    rows.
    """
    store = log.store()
    first = log.batches(event(store, "BILLING_QUEUE_JOIN", "2026-03-03T09:11:00Z"))
    second = log.batches(receipt(store, "T", "2026-03-03T09:12:00Z"))
    await derived(log.derivation, first)
    log.sink.dies_before = "visits"
    with pytest.raises(Killed):
        await derived(log.derivation, second)
    log.sink.dies_before = None
    log.restart()
    await derived(log.derivation, first)
    await derived(log.derivation, second)
    assert log.visits(store, "purchased, attributed_transaction_id") == [(True, "T")]


async def test_what_the_cycle_before_stores_after_this_one_was_looked_up_is_a_duplicate(log: Log) -> None:
    store = log.store()
    entry, paid = event(store), receipt(store, "T", "2026-03-03T10:02:00Z")
    first = await log.derivation.prepare(log.batches(entry, paid))
    second = await log.derivation.prepare(
        log.batches(entry, receipt(store, "T", "2026-03-03T10:02:00Z", 1.25), (EVENTS, {**entry[1], "visitor_id": "W"}))
    )
    await log.derivation.finish(first)
    await log.derivation.finish(second)
    assert log.visits(store, "visitor_id, events") == [("V", 1)]
    assert log.rows(
        "SELECT count(), toFloat64(any(basket_value)) FROM transactions WHERE store_id = %(store)s", store
    ) == [(1, 10.5)]


async def test_what_another_worker_stored_meanwhile_is_found(log: Log) -> None:
    store = log.store()
    loser = Derivation(log.settings, log.sink, History(log.client), log.box)  # type: ignore[arg-type]
    await log.read(event(store))
    batches = log.batches(
        event(store, "ZONE_ENTER", "2026-03-03T10:01:00Z", zone_id="A"), receipt(store, "T", "2026-03-03T10:02:00Z")
    )
    log.sink.dies_before = "zone_visits"
    with pytest.raises(Killed):
        await derived(loser, batches)
    log.sink.dies_before = None
    await derived(log.derivation, batches)
    assert log.visits(store, "events, zone_visits") == [(2, 1)]


async def test_any_cut_with_crashes_and_evictions_is_what_the_oracle_says(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shops over two days with every fault, read in cycles of any size, the worker killed again and again."""
    monkeypatch.setattr(module, "IDLE_S", 0.3)
    monkeypatch.setattr(module, "EVICT_EVERY_S", 0)
    chance = random.Random(7)
    shops = make_shops(10, seed=11, first_number=chance.randrange(10_000, 90_000))[4::5]
    records: list[tuple[str, Any]] = [(LAYOUTS, made) for _, made in layouts(shops, LAYOUTS_MADE)]
    faults = Faults(duplicates=0.1, changed=0.05, late=0.1, shuffled=0.2, malformed=0.02)
    found = [
        (sent.topic, sent.value) for sent in stream(shops, [date(2026, 3, 2), date(2026, 3, 3)], 11, faults=faults)
    ]
    # A thinned day has all that a whole one has, and a worker restored forty times is quick to restore.
    found = found[:: max(1, len(found) // 6000)]
    records[len(records) :] = found
    chance.shuffle(records[: len(shops)])
    while records:
        # Mostly one cycle; sometimes a second is prepared before the first is finished.
        cycles = []
        for _ in range(chance.choice((1, 1, 2))):
            cycles.append(log.batches(*records[: (size := chance.randrange(1, 500))]))
            del records[:size]
        log.sink.dies_before = chance.choice(STEPS) if chance.random() < 0.5 else None
        try:
            prepared = [await log.derivation.prepare(batches) for batches in cycles]
            for cycle in prepared:
                await log.derivation.finish(cycle)
        except Killed:
            log.sink.dies_before = None
            log.restart()
            for batches in cycles:
                await derived(log.derivation, batches)
    world = log.world()
    assert world.duplicates > 100
    for shop in shops:
        for day in world.days(shop.store_id):
            asked = {"store": shop.store_id, "day": day}
            where = "WHERE store_id = %(store)s AND business_day = %(day)s"
            (counts,) = log.client.query(
                f"""SELECT countIf(is_visitor), countIf(is_visitor AND (zone_visits > 0 OR has_billing_presence)),
                    countIf(is_visitor AND has_billing_presence), countIf(is_visitor AND purchased), countIf(is_staff)
                FROM visits FINAL {where}""",
                asked,
            ).result_rows
            metrics, funnel = world.metrics(shop.store_id, day), world.funnel(shop.store_id, day)
            assert counts == (*funnel.values(), metrics["staff_visits"])
            zones = log.client.query(
                f"SELECT zone_id, count(), sum(dwell_ms) FROM zone_visits FINAL {where} AND NOT is_staff GROUP BY 1",
                asked,
            ).result_rows
            stays = world.day(shop.store_id, day).all_stays
            assert sorted(zones) == sorted(
                (zone, len(dwells), sum(dwells))
                for zone in {stay.zone_id for stay in stays}
                if (dwells := [stay.dwell_ms for stay in stays if stay.zone_id == zone])
            )
            depth = log.client.query(
                f"SELECT argMax(depth, timestamp) FROM queue_depth FINAL {where}", asked
            ).result_rows
            assert depth == [(metrics["queue_depth_current"],)]


async def test_a_known_id_under_another_content_makes_no_visit_and_repairs_its_own(log: Log) -> None:
    """The same id again for another visitor and for another store; and in one replay after a crash, before the record
    that was stored.
    """
    store, other = log.store(), log.store()
    first = event(store, at="2026-03-03T09:00:00Z")
    again = (EVENTS, {**first[1], "visitor_id": "W", "timestamp": "2026-03-03T09:01:00Z"})
    elsewhere = (EVENTS, {**first[1], "store_id": other})
    await log.read(first)
    await log.read(again, elsewhere)
    assert log.visits(store) == [("V", 1)]
    assert log.visits(other) == []
    second = event(store, "ZONE_ENTER", "2026-03-03T09:02:00Z", zone_id="CASH")
    log.sink.dies_before = "zone_visits"
    with pytest.raises(Killed):
        await log.read(second)
    log.sink.dies_before = None
    log.restart()
    await log.read((EVENTS, {**second[1], "visitor_id": "X"}), second)
    assert log.visits(store) == [("V", 2)]


def test_only_ids_can_be_asked_for(log: Log) -> None:
    stored = "0a0a0a0a-0000-4000-8000-00000000000a"
    log.client.insert("event_ids", [[stored]], column_names=["event_id"])
    history = History(log.client)
    assert history.stored_events([stored, "0b0b0b0b-0000-4000-8000-00000000000b"]) == {stored}
    with pytest.raises(ValueError, match="no UUID"):
        history.stored_events([stored, "') OR 1 --"])


def camera_state(store: str, at: str, state: str, **more: Any) -> tuple[str, Any]:
    return CAMERA_HEALTH.name, {
        "event_id": str(uuid5(NAMESPACE_URL, f"{store} {at}")),
        "store_id": store,
        "camera_id": "CAM",
        "timestamp": at,
        "state": state,
        **more,
    }


async def test_what_cameras_say_of_themselves_is_kept_and_the_newest_holds(log: Log) -> None:
    store, other = log.store(), log.store()
    first = camera_state(store, "2026-03-03T09:00:00Z", "ONLINE", entries=3, exits=1, entrance_balance=2, drift=0.667)
    last = camera_state(store, "2026-03-03T09:10:00.250Z", "FROZEN", since="2026-03-03T09:10:00Z", reason="still")
    await log.read(last, event(store), camera_state(other, "2026-03-03T09:00:00Z", "OFFLINE"))
    await log.read(first, camera_state(store, "2026-03-03T09:11:00Z", "ASLEEP"))
    log.restart()
    await log.read(last)
    columns = "state, kind, toUnixTimestamp64Milli(timestamp) % 3600000, entries, entrance_balance, drift"
    query = f"SELECT {columns} FROM camera_states FINAL WHERE store_id = %(store)s ORDER BY timestamp".replace(
        "% 36", "%% 36"
    )
    assert log.rows(query, store) == [("ONLINE", "CHANGE", 0, 3, 2, 0.667), ("FROZEN", "CHANGE", 600_250, 0, 0, None)]
    query = "SELECT state, reason, toMinute(since) FROM camera_states_newest FINAL WHERE store_id = %(store)s"
    assert log.rows(query, store) == [("FROZEN", "still", 10)]
    assert log.rows(query, other) == [("OFFLINE", "", None)]
    assert [
        (letter.source_topic, letter.refusal.field) for letter in log.box.letters if b"ASLEEP" in (letter.value or b"")
    ] == [("camera-health", "state")]
