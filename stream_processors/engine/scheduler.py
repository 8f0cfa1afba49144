"""Batches for Faust: one message per partition and fetch instead of one per record.

Faust spends some 80 microseconds on every message it delivers: streams, events, acknowledgements.
``faust.App(ConsumerScheduler=...)`` is a public setting whose ``iterate`` decides what is delivered. This one hands
over all records of a partition as one message that carries the offset of the last, so Faust keeps its assignor,
rebalancing, back-pressure and commits, and its cost is paid once a batch.

Offsets: messages of one partition are acknowledged in their order (``Cycles`` sees to it), so the newest acknowledged
one says all. ``BatchingConsumer`` commits what follows it and never passes a batch that is not acknowledged. Faust's
own bookkeeping expects a message per offset: it takes the offsets between two of our messages for gaps, loses the gap
behind offset 0 and counts the message after a gap twice, and either way commits stop.

``BareRecords`` saves the dataclass that aiokafka makes of every record, two fifths of what fetching one costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP
from faust.types.transports import SchedulingStrategyT

from aisleflow import log

logger = log.get(__name__)

# The broker answers when it has so much, or has waited for so long.
FETCH_AT_LEAST_BYTES = 262_144
FETCH_WAITS_MS = 50


class RecordBatch(NamedTuple):
    """The records of one partition in one fetch, in offset order; each has ``key``, ``value``, ``offset``,
    ``timestamp`` and ``headers``.
    """

    tp: TP
    records: list[Any]

    @property
    def offsets(self) -> str:
        """Which records these are: ``topic-partition-first-last``."""
        return f"{self.tp.topic}-{self.tp.partition}-{self.records[0].offset}-{self.records[-1].offset}"


class BareRecords(fetcher.PartitionRecords):
    """aiokafka's reader of a fetch, which gives the records as its C code read them: they have all that we ask for."""

    def __iter__(self) -> Iterator[Any]:
        # The generator itself: aiokafka's own iterator around it costs a call a record.
        iterator: Iterator[Any] = self._records_iterator
        return iterator

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record

    @classmethod
    def install(cls) -> None:
        """Have the consumers of this process read so; their class is named nowhere but in the module."""
        fetcher.PartitionRecords = cls


class BatchingScheduler(SchedulingStrategyT):
    """Delivers each partition's records as one message whose value is a ``RecordBatch``."""

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """One message per partition that has records, with the last record's offset and timestamp."""
        for tp, fetched in records.items():
            if fetched:
                last = fetched[-1]
                batch = RecordBatch(tp, fetched)
                yield (
                    tp,
                    ConsumerRecord(
                        *(tp.topic, tp.partition, last.offset, last.timestamp, last.timestamp_type),
                        *(None, batch, None, 0, 0, ()),
                    ),
                )


class ConsumerThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, which puts back what nobody will take.

    A fetch that waits while a rebalance begins may return when it is almost over, after the partition was sought to its
    committed offset and before Faust takes messages again. Faust throws such records away, the position stays behind
    them, and the next batch that is committed would pass them over for good.

    And which fetches in portions: left alone, aiokafka asks for the next byte as soon as it has the one before, which took two
    thirds of a worker's CPU at 1,000 records a second.
    """

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        consumer = super()._create_consumer(loop)
        # Faust hands on neither; aiokafka reads them when it starts.
        consumer._fetch_min_bytes = FETCH_AT_LEAST_BYTES
        consumer._fetch_max_wait_ms = FETCH_WAITS_MS
        return consumer

    async def _fetch_records(self, consumer: Any, *arguments: Any, **named: Any) -> Mapping[Any, list[Any]]:
        records: Mapping[Any, list[Any]] = await super()._fetch_records(consumer, *arguments, **named)
        # Seeking and fetching share this thread, so nothing comes between the two lines.
        if records and not self.consumer.flow_active:
            for tp, fetched in records.items():
                consumer._fetcher.seek_to(tp, fetched[0].offset)
            logger.info("fetch_put_back", partitions=len(records), records=sum(map(len, records.values())))
            return {}
        return records


class BatchingConsumer(Consumer):
    """Faust's consumer, committing the offset after the newest acknowledged batch of each partition."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets between two messages are the records of the second: no gap."""

    def _new_offset(self, tp: TP) -> int | None:
        acked: list[int] = self._acked[tp]
        if not acked:
            return None
        newest = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return newest + 1
