"""The batching scheduler inside Faust's own consumer: what is delivered, and which offsets may be committed when."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer as AIOKafkaClientsConsumer
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AIOKafkaConsumer
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_processors.engine.scheduler import (
    FETCH_AT_LEAST_BYTES,
    FETCH_WAITS_MS,
    BareRecords,
    BatchingConsumer,
    BatchingScheduler,
    ConsumerThread,
    RecordBatch,
)

EVENTS, RECEIPTS = TP("visit-events", 0), TP("transactions", 0)


def record(tp: TP, offset: int) -> Any:
    value = f"{tp.topic} {offset}".encode()
    return ConsumerRecord(tp.topic, tp.partition, offset, 1000 + offset, 0, b"S", value, None, 1, len(value), ())


def test_one_message_per_partition_with_the_offset_of_its_last_record() -> None:
    fetched = {EVENTS: [record(EVENTS, 5), record(EVENTS, 6), record(EVENTS, 9)], RECEIPTS: [record(RECEIPTS, 0)]}
    delivered = list(BatchingScheduler().iterate(fetched))
    assert [(tp, message.offset, message.timestamp) for tp, message in delivered] == [
        (EVENTS, 9, 1009),
        (RECEIPTS, 0, 1000),
    ]
    batch = delivered[0][1].value
    assert isinstance(batch, RecordBatch)
    assert (batch.tp, batch.records, batch.offsets) == (EVENTS, fetched[EVENTS], "visit-events-0-5-9")


def test_a_partition_without_records_delivers_nothing() -> None:
    delivered = BatchingScheduler().iterate({EVENTS: [], RECEIPTS: [record(RECEIPTS, 3)]})
    assert [tp for tp, _ in delivered] == [RECEIPTS]


class Fetched(BatchingConsumer):
    """The consumer as it is, with a broker that returns what ``fetches`` holds and remembers nothing."""

    def __init__(self) -> None:
        async def deliver(message: Any) -> None:
            self.delivered.append(message)

        conf = SimpleNamespace(
            ConsumerScheduler=BatchingScheduler,
            broker_commit_every=None,
            broker_commit_interval=1.0,
            broker_commit_livelock_soft_timeout=1.0,
        )
        app = SimpleNamespace(
            conf=conf,
            in_transaction=False,
            client_only=False,
            consumer_generation_id=1,
            producer=None,
            sensors=SimpleNamespace(on_message_in=None),
            topics=SimpleNamespace(acks_enabled_for=lambda topic: True),
            monitor=SimpleNamespace(track_tp_end_offset=lambda tp, offset: None),
        )
        transport = SimpleNamespace(app=app, create_transaction_manager=lambda **_: None)
        self.fetches: list[dict[TP, list[Any]]] = []
        self.delivered: list[Any] = []
        # The parent of aiokafka's consumer: no thread, no connection.
        Consumer.__init__(self, transport, deliver, None, None, loop=asyncio.get_running_loop())
        self._set_active_tps({EVENTS, RECEIPTS})

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        fetched = self.fetches.pop(0)
        if not self.fetches:
            self._stopped.set()
        return fetched

    def highwater(self, tp: TP) -> int:
        return 0

    async def fetch(self, *fetches: dict[TP, list[Any]]) -> None:
        self._stopped.clear()
        self.fetches = [*fetches, {}]
        await self._drain_messages(self)

    def begin_at(self, committed: int | None) -> None:
        """As ``perform_seek`` does after an assignment."""
        self._read_offset[EVENTS] = committed
        if committed:
            self._committed_offset[EVENTS] = committed

    def commit_now(self) -> int | None:
        """As ``force_commit`` does, without the broker; the offset that the group has committed."""
        self._committed_offset.update(self._filter_committable_offsets(list(self._filter_tps_with_pending_acks())))
        return self._committed_offset[EVENTS]


async def test_an_offset_is_committed_with_the_batch_that_holds_it() -> None:
    consumer = Fetched()
    consumer.begin_at(100)
    await consumer.fetch({EVENTS: [record(EVENTS, n) for n in range(100, 150)]}, {EVENTS: [record(EVENTS, 155)]})
    first, second = consumer.delivered
    assert consumer.commit_now() == 100
    consumer.ack(first)
    assert consumer.commit_now() == 150
    consumer.ack(second)
    assert consumer.commit_now() == 156, "the offsets 150 to 154 (a transaction's markers, say) are nobody's"


@pytest.mark.parametrize("committed", [None, 0, 1, 1000])
async def test_the_first_batch_after_an_assignment(committed: int | None) -> None:
    consumer = Fetched()
    consumer.begin_at(committed)
    first = committed or 0
    await consumer.fetch({EVENTS: [record(EVENTS, n) for n in range(first, first + 7)]})
    assert consumer.commit_now() == (committed or None)
    consumer.ack(consumer.delivered[0])
    assert consumer.commit_now() == first + 7


async def test_one_commit_passes_all_that_is_acknowledged() -> None:
    consumer = Fetched()
    consumer.begin_at(100)
    for first in range(100, 250, 3):
        await consumer.fetch({EVENTS: [record(EVENTS, first + n) for n in range(3)]})
    for message in consumer.delivered:
        consumer.ack(message)
    assert consumer.commit_now() == 250


# A fetch brings so many records, so many offsets after the last one.
STEPS = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from((0, 0, 0, 1, 5))) | st.sampled_from(("ack", "commit")), max_size=30
)


@settings(max_examples=300)
@given(st.sampled_from((None, 1, 2, 50)), STEPS)
def test_what_is_not_acknowledged_is_never_passed(committed: int | None, steps: list[Any]) -> None:
    """Batches are acknowledged in order, as ``Cycles`` does."""

    async def check() -> None:
        consumer = Fetched()
        consumer.begin_at(committed)
        next_offset = committed or 0
        acknowledged = 0
        for step in steps:
            if step == "ack" and acknowledged < len(consumer.delivered):
                consumer.ack(consumer.delivered[acknowledged])
                acknowledged += 1
            elif isinstance(step, tuple):
                first = next_offset + step[1]
                next_offset = first + step[0]
                await consumer.fetch({EVENTS: [record(EVENTS, n) for n in range(first, next_offset)]})
            waiting = consumer.delivered[acknowledged:]
            assert (consumer.commit_now() or 0) <= (waiting[0].value.records[0].offset if waiting else next_offset)
        for message in consumer.delivered[acknowledged:]:
            consumer.ack(message)
        assert (consumer.commit_now() or 0) == (next_offset if consumer.delivered else committed or 0), (
            "and nothing is left over"
        )

    asyncio.run(check())


@pytest.mark.parametrize("taken", [True, False], ids=["while Faust takes messages", "while it rebalances"])
async def test_what_a_fetch_brings_during_a_rebalance_is_put_back(taken: bool) -> None:
    found = {EVENTS: [record(EVENTS, 100), record(EVENTS, 107)], RECEIPTS: [record(RECEIPTS, 3)]}
    sought: dict[TP, int] = {}
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.consumer = SimpleNamespace(flow_active=True)

    class Fetcher:
        _closed = False
        _subscriptions = SimpleNamespace(fetch_context=contextlib.nullcontext)
        seek_to = staticmethod(sought.__setitem__)

        async def fetched_records(self, *_: Any, **__: Any) -> Any:
            await asyncio.sleep(0)
            thread.consumer.flow_active = taken  # it began before, and returns now
            return found

    consumer = SimpleNamespace(_closed=False, _fetcher=Fetcher())
    returned = await thread._fetch_records(consumer, {EVENTS, RECEIPTS}, timeout=1.0, max_records=10)
    assert (returned, sought) == ((found, {}) if taken else ({}, {EVENTS: 100, RECEIPTS: 3}))


@pytest.mark.parametrize(
    ("parent", "method"),
    [
        (fetcher.PartitionRecords, "_consumer_record"),
        (Consumer, "_add_gap"),
        (Consumer, "_new_offset"),
        (AIOKafkaConsumer, "_new_consumer_thread"),
        (AIOKafkaConsumerThread, "_fetch_records"),
        (AIOKafkaConsumerThread, "_create_consumer"),
    ],
)
def test_what_we_override_is_still_there(parent: type, method: str) -> None:
    assert callable(getattr(parent, method)), "a new version has it no more: look at what took its place"


async def test_the_broker_gathers_what_a_fetch_brings(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = ConsumerThread.__new__(ConsumerThread)
    faust_makes = AIOKafkaClientsConsumer(bootstrap_servers=kafka, fetch_max_wait_ms=1500)
    monkeypatch.setattr(AIOKafkaConsumerThread, "_create_consumer", lambda *_: faust_makes)
    async with thread._create_consumer(asyncio.get_running_loop()) as consumer:
        await asyncio.sleep(0)  # closing stumbles over a task that has never run
        asks = consumer._fetcher
        assert (asks._fetch_min_bytes, asks._fetch_max_wait_ms) == (FETCH_AT_LEAST_BYTES, FETCH_WAITS_MS), (
            "a new version of aiokafka keeps them elsewhere"
        )


def test_bare_records_have_all_that_aiokafkas_have() -> None:
    builder = DefaultRecordBatchBuilder(2, 3, 0, -1, -1, -1, 1 << 20)
    for offset in range(5):
        builder.append(offset, 1_000 + offset, b"S" if offset else None, b"v%d" % offset if offset != 3 else None, [])
    raw = bytes(builder.build())

    def read(records: type) -> list[tuple[Any, ...]]:
        found = records(EVENTS, MemoryRecords(raw), [], 0, None, None, True, 0)
        return [(one.offset, one.timestamp, one.timestamp_type, one.key, one.value) for one in found]

    assert read(BareRecords) == read(fetcher.PartitionRecords)
    assert [value for *_, value in read(BareRecords)] == [b"v0", b"v1", b"v2", None, b"v4"]


def test_consumers_of_the_process_read_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    BareRecords.install()
    assert "PartitionRecords" in fetcher.Fetcher._proc_fetch_request.__code__.co_names, (
        "aiokafka looks it up by this name"
    )
    assert fetcher.PartitionRecords is BareRecords
