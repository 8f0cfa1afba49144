"""The floor for the raw half: ``python -m benchmarks.peers.floor``.

What ClickHouse's documentation recommends for getting a topic into a table with one's own client: consume in large
batches, insert each in one go, commit after the insert. The records go in as the very bytes that Kafka held, with the
time at which Kafka took them spliced in (``FORMAT JSONEachRow``; the server parses times, nulls and metadata): nothing is
validated, deduplicated or derived. Receipts become rows, because their lines are columns.

Tuned: batches of 5,000, 20,000 and 50,000 records; the next batch is consumed while the one before is inserted.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaException

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from benchmarks.peers.work import settings, topics
from stream_processors.derivation import EVENT_COLUMNS, TRANSACTION_COLUMNS

BATCH = 20_000
EVENT_SETTINGS = {"date_time_input_format": "best_effort", "max_partitions_per_insert_block": 0}


Handle = Callable[[list[Any]], None]


def insert(client: Client, transactions: str, messages: list[Any]) -> None:
    """Insert a batch."""
    events, receipts = [], []
    for message in messages:
        value = message.value()
        if message.topic() == transactions:
            receipts.append(receipt_row(value, message.timestamp()[1]))
        else:
            events.append(b'%s,"received_at":%d.%03d}' % (value[:-1], *divmod(message.timestamp()[1], 1000)))
    for table, columns, lines, form in (
        ("events", EVENT_COLUMNS, events, "JSONEachRow"),
        ("transactions", TRANSACTION_COLUMNS, receipts, "JSONCompactEachRow"),
    ):
        if lines:
            client.raw_insert(table, list(columns), b"\n".join(lines), EVENT_SETTINGS, fmt=form)


def receipt_row(value: bytes, arrived: int) -> bytes:
    """A receipt as a row of ``transactions``."""
    receipt = orjson.loads(value)
    lines = receipt["lines"]
    return orjson.dumps(
        [
            *(receipt[name] for name in ("store_id", "transaction_id", "timestamp", "basket_value")),
            *(receipt["currency"] or "", receipt["payment_kind"] or ""),
            *([line[name] for line in lines] for name in ("sku", "gtin")),
            *([str(line[name]) for line in lines] for name in ("quantity", "unit_price")),
            f"{arrived // 1000}.{arrived % 1000:03}",
        ]
    )


def consume(chosen: Settings, handle: Handle) -> None:
    """Hand over batches and commit each once it is handled, until told to stop; the next is read meanwhile."""
    consumer = Consumer(
        {
            "bootstrap.servers": chosen.kafka_bootstrap,
            "group.id": chosen.consumer_group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.min.bytes": 100_000,
            "fetch.wait.max.ms": 100,
        }
    )

    def finish(messages: list[Any]) -> None:
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
        handle(messages)
        for message in {(message.topic(), message.partition()): message for message in messages}.values():
            consumer.store_offsets(message)
        consumer.commit(asynchronous=False)

    consumer.subscribe(list(topics(chosen)))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    under_way: Future[None] | None = None
    with ThreadPoolExecutor(1) as thread:
        while not stopping:
            messages = consumer.consume(BATCH, timeout=0.2)
            if under_way is not None:
                under_way.result()
            under_way = thread.submit(finish, messages) if messages else None
    consumer.close()


def main() -> None:
    """Copy until told to stop."""
    chosen = settings()
    consume(chosen, partial(insert, clickhouse_client(chosen), topics(chosen)[1]))


if __name__ == "__main__":
    main()
