"""Bytewax 0.21: ``python -m benchmarks.peers.bytewax_flow``.

After its documentation: ``KafkaSource`` over both topics with a larger ``batch_size`` and ``flat_map_batch`` for what is done to
many records alike ("Performance"), ``stateful_batch`` keyed by store day ("as fine-grained a key space as possible"), recovery
on ("Recovery": a SQLite partition per worker, snapshots at every epoch; Bytewax keeps its offsets there and commits none
to Kafka). Rows leave by a ``FixedPartitionedSink`` that gathers and writes when its snapshot is taken at the end of an epoch,
as the file connector flushes there, or when it holds enough.

A day's snapshot is its log, a list of bytes, which pickles at the speed of copying. Tuned: ``batch_size`` 1,000, 5,000 and
10,000; epochs of 1, 5 and 10 s; settling a day a moment after its first new fact (``notify_at``) instead of with
every batch, which halves the rows written.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.peers.work import Batch, Day, Record, Work, settings, topics
from schemas.reading import TransactionFact, VisitFact

BATCH_SIZE = 10_000
EPOCH = timedelta(seconds=10)
SETTLE_AFTER = timedelta(seconds=0.5)
WRITE_AT = 20_000
"""Facts that the sink gathers at most before it writes."""

chosen = settings()
work = Work(chosen)
Item = tuple[date, VisitFact | TransactionFact, bool, Record]
"""(business day, fact, whether the day is its own, record): a payment concerns the day before too, just after midnight."""


@cache
def name(store_id: str, day: date) -> str:
    """The key of a store day: Bytewax takes only text."""
    return f"{store_id}|{day}"


def read(messages: list[KafkaSourceMessage[bytes, bytes]]) -> list[tuple[str, Item]]:
    """Records to facts, under the store days that they concern."""
    shops = work.shops
    records = [work.record(message.topic, message.value, message.timestamp[1]) for message in messages]
    found: list[tuple[str, Item]] = []
    for fact, record in work.visits([record for record in records if not record.is_transaction]):
        day = shops.day_of(fact.store_id, fact.at)
        found.append((name(fact.store_id, day), (day, fact, True, record)))
    for paid, record in work.receipts([record for record in records if record.is_transaction]):
        days = shops.days_paid(paid.store_id, paid.at)
        found += [(name(paid.store_id, day), (day, paid, day is days[0], record)) for day in days]
    return found


class DayLogic(StatefulBatchLogic[Item, Batch, tuple[str, date, list[Record]]]):
    """One store day. Its state is its log."""

    def __init__(self, resumed: tuple[str, date, list[Record]] | None) -> None:
        self._log: list[Record] = []
        self._day: Day | None = None
        self._settle_at: datetime | None = None
        if resumed:
            self._store_id, self._date, self._log = resumed
            self._day = Day(work.shops.calendar(self._store_id), self._date)
            self._day.restore(self._log, work.max_future_ms)
            # What was not settled before the snapshot may not have been written.
            self._settle_at = datetime.now(UTC)

    def on_batch(self, values: list[Item]) -> tuple[Iterable[Batch], bool]:
        """Fold facts in and emit the new ones; derived rows follow in a moment."""
        if self._day is None:
            self._date, self._store_id = values[0][0], values[0][1].store_id
            self._day = Day(work.shops.calendar(self._store_id), self._date)
        day, log, new = self._day, self._log, Batch()
        for _, fact, is_own, record in values:
            if isinstance(fact, VisitFact):
                if day.take(fact):
                    new.visits.append(fact)
                    log.append(record)
            elif day.add_receipt(fact):
                log.append(record)
                if is_own:
                    new.transactions.append(fact)
        if self._settle_at is None:
            self._settle_at = datetime.now(UTC) + SETTLE_AFTER
        return (new,), self.RETAIN

    def on_notify(self) -> tuple[Iterable[Batch], bool]:
        """Settle the day."""
        return self._settle()

    def on_eof(self) -> tuple[Iterable[Batch], bool]:
        """Settle what is left."""
        return self._settle()

    def _settle(self) -> tuple[Iterable[Batch], bool]:
        if self._settle_at is None or self._day is None:
            return (), self.RETAIN
        self._settle_at = None
        return (Batch(derived=self._day.rules.settle()),), self.RETAIN

    def notify_at(self) -> datetime | None:
        """When to settle."""
        return self._settle_at

    def snapshot(self) -> tuple[str, date, list[Record]]:
        """What the day can be built from."""
        return self._store_id, self._date, self._log.copy()


class RowsPartition(StatefulSinkPartition[Batch, int]):
    """Gathers rows, and writes them when there are many or an epoch ends."""

    def __init__(self) -> None:
        self._batch = Batch()

    def write_batch(self, values: list[Batch]) -> None:
        """Gather."""
        for value in values:
            self._batch.add(value)
        if len(self._batch.visits) >= WRITE_AT:
            self._write()

    def snapshot(self) -> int:
        """The end of an epoch: what it brought is written before its snapshot is."""
        self._write()
        return 0

    def close(self) -> None:
        """The end of the topics."""
        self._write()

    def _write(self) -> None:
        work.flush_dead_letters()
        work.write(self._batch)
        self._batch = Batch()


class Rows(FixedPartitionedSink[Batch, int]):
    """ClickHouse, as one partition."""

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["clickhouse"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> RowsPartition:
        """It resumes with nothing: rows are replaced by their keys."""
        return RowsPartition()


def flow() -> Dataflow:
    """The dataflow."""
    dataflow = Dataflow("shops")
    source = KafkaSource([chosen.kafka_bootstrap], topics(chosen), tail=False, batch_size=BATCH_SIZE)
    records = op.input("records", dataflow, source)
    facts = op.flat_map_batch("read", records, read)
    days = op.stateful_batch("days", facts, DayLogic)
    op.output("rows", days, Rows())
    return dataflow


def main() -> None:
    """Run until the topics' ends."""
    folder: Path = chosen.data_dir / "recovery"
    if not folder.exists():
        folder.mkdir()
        init_db_dir(folder, 1)
    (chosen.data_dir / "started").touch()
    cli_main(flow(), epoch_interval=EPOCH, recovery_config=RecoveryConfig(folder))


if __name__ == "__main__":
    main()
