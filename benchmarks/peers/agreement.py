"""What the log says, computed once over all of it, and whether an engine's tables say the same, row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from aisleflow.settings import Settings
from benchmarks.peers.work import Batch, DayKey, Work, topics
from schemas.reading import TransactionFact, VisitFact, read_transaction, read_visit_event
from stream_processors.derivation import EVENT_COLUMNS, TRANSACTION_COLUMNS, payment_of
from stream_processors.store_day import (
    DAY_FIGURE_COLUMNS,
    QUEUE_DEPTH_COLUMNS,
    VISIT_COLUMNS,
    ZONE_VISIT_COLUMNS,
    Payment,
    StoreDay,
    Written,
)

RAW: Mapping[str, tuple[str, ...]] = {
    # Of two copies of one event either may be kept, so the time at which Kafka took it is not compared.
    "events": tuple(name for name in EVENT_COLUMNS if name != "received_at"),
    "transactions": tuple(name for name in TRANSACTION_COLUMNS if name != "received_at"),
}
# The version tells how much was known when a row was last written, which differs with every cut into batches.
DERIVED: Mapping[str, tuple[str, ...]] = {
    table: tuple(name for name in columns if name not in ("version", "is_deleted"))
    for table, columns in (
        ("visits", VISIT_COLUMNS),
        ("zone_visits", ZONE_VISIT_COLUMNS),
        ("queue_depth", QUEUE_DEPTH_COLUMNS),
        ("day_figures", DAY_FIGURE_COLUMNS),
    )
}


def everything(settings: Settings) -> Iterator[tuple[str, bytes, int]]:
    """(topic, value, time Kafka took it in milliseconds) of every record, in the order of each partition."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "truth", "log_level": 0})
    known = consumer.list_topics(timeout=10).topics
    left = {}
    for name in topics(settings):
        for number in known[name].partitions:
            place = TopicPartition(name, number, OFFSET_BEGINNING)
            end = consumer.get_watermark_offsets(place, timeout=10)[1]
            if end:
                left[place.topic, number] = end
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in left])
    while left:
        message: Any  # what is consumed has a place and a value, whatever its annotations say
        for message in consumer.consume(10_000, timeout=1):
            if message.error() is not None:
                raise KafkaException(message.error())
            yield message.topic(), message.value(), message.timestamp()[1]
            if message.offset() + 1 == left[message.topic(), message.partition()]:
                del left[message.topic(), message.partition()]
    consumer.close()


def write_truth(settings: Settings) -> int:
    """Write the rows that follow from the whole log into the database of these settings; returns the log's records.

    A batch computation: no batches, no order of arrival but for which of two records with one id came first, every day
    derived once from the set of its facts.
    """
    work = Work(settings)
    batch = Batch()
    events: dict[str, VisitFact] = {}
    receipts: dict[tuple[str, str], TransactionFact] = {}
    records = 0
    for topic, value, arrived in everything(settings):
        records += 1
        if topic == work.transactions:
            paid = read_transaction(value, arrived + work.max_future_ms)
            if isinstance(paid, TransactionFact):
                paid.arrived = arrived
                receipts.setdefault((paid.store_id, paid.transaction_id), paid)
        else:
            seen = read_visit_event(value, arrived + work.max_future_ms)
            for fact in seen if isinstance(seen, list) else ():
                fact.arrived = arrived
                events.setdefault(fact.event_id, fact)
    batch.visits, batch.transactions = list(events.values()), list(receipts.values())
    seen_on: defaultdict[DayKey, list[VisitFact]] = defaultdict(list)
    paid_on: defaultdict[DayKey, list[Payment]] = defaultdict(list)
    for fact in batch.visits:
        seen_on[fact.store_id, work.shops.day_of(fact.store_id, fact.at)].append(fact)
    for paid in batch.transactions:
        for day in work.shops.days_paid(paid.store_id, paid.at):
            paid_on[paid.store_id, day].append(payment_of(paid))
    for store_id, date_ in seen_on.keys() | paid_on.keys():
        store_day = StoreDay(work.shops.calendar(store_id), date_)
        store_day.restore(seen_on[store_id, date_], paid_on[store_id, date_], Written())
        batch.add_derived(store_day.settle())
    work.write(batch)
    return records


def differences(client: Client, found: str, truth: str, tables: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Where the tables of one database differ from those of the other, with the first row that does."""
    told = []
    for table, names in tables.items():
        columns = ", ".join(f"`{name}`" for name in names)
        rows = {name: f"SELECT {columns} FROM `{name}`.`{table}` FINAL" for name in (found, truth)}
        for here, there in ((found, truth), (truth, found)):
            extra = client.query(f"{rows[here]} EXCEPT DISTINCT {rows[there]}").result_rows
            if extra:
                told.append(f"{table}: {len(extra)} rows only in {here}, such as {extra[0]}")
        counts = [client.query(f"SELECT count() FROM ({rows[name]})").result_rows[0][0] for name in (found, truth)]
        if counts[0] != counts[1]:
            told.append(f"{table}: {counts[0]} rows, not {counts[1]}")
    return told
