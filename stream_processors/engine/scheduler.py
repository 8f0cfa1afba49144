"""Batches for Faust: one message per partition and fetch instead of one per record.

Faust spends some 80 microseconds on every message it delivers: streams, events, acknowledgements.
``faust.App(ConsumerScheduler=...)`` is a public setting whose ``iterate`` decides what is delivered. This one hands
over all records of a partition as one message that carries the offset of the last, so Faust keeps its assignor,
rebalancing, back-pressure and commits, and its cost is paid once a batch.

Offsets: Faust sees a jump from the last message's offset to this one's and books the offsets between as a gap, which it
commits together with the message that follows. It looks at no gap beyond the newest acknowledged message, so a batch is never
passed as long as each partition's messages are acknowledged in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from faust.types.transports import SchedulingStrategyT


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


class BatchingScheduler(SchedulingStrategyT):
    """Delivers each partition's records as one message whose value is a ``RecordBatch``."""

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """One message per partition that has records, with the last record's offset and timestamp."""
        for tp, fetched in records.items():
            if fetched:
                yield tp, replace(fetched[-1], key=None, value=RecordBatch(tp, fetched), headers=())


class BatchingConsumer(Consumer):
    """Faust's consumer, with a gap that ends before the message that follows it.

    Faust counts that message to the gap too, so its offset is there twice once acknowledged, and a commit stops at such a pair.
    With a gap before nearly every message the commits would fall behind for ever.
    """

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        await super()._add_gap(tp, offset_from, offset_to - 1)
