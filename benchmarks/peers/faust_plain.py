"""Plain Faust 0.15: ``python -m benchmarks.peers.faust_plain``.

After the user guide: an agent over the two topics with raw values ("Streams": values can be bytes for manual
deserialization), batches by ``take_events`` ("take(): buffer up values in the stream", with a ``within`` so that nothing
waits), state in an ``app.Table`` ("Tables": memory store, changelog topic), and no setting that the guide does not name.

Tuned: ``take`` of 1,000, 5,000 and 20,000 (no difference beyond 5,000: the cost is delivery, message by message); raw
bytes instead of ``Record``, which costs 7 to 14 microseconds an event; one table update per store day and batch instead of
one per event (some 30 microseconds each). In a batch, Faust's ``table[key] = value`` would send the change to the changelog
partition of the batch's last message, so each change is sent to the partition of its own. The producer is flushed before
the batch is acknowledged: Faust commits offsets without waiting for changelog records.
"""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections import defaultdict
from collections.abc import Iterable

import faust
import msgspec

from benchmarks.peers.work import Batch, DayKey, Record, Work, settings, topics

TAKE = 5_000
WITHIN_S = 0.5

chosen = settings()
app = faust.App(
    chosen.consumer_group,
    broker=f"kafka://{chosen.kafka_bootstrap}",
    datadir=str(chosen.data_dir / "faust"),
    consumer_auto_offset_reset="earliest",
    key_serializer="raw",
    value_serializer="raw",
    topic_partitions=8,
    topic_disable_leader=True,
    web_enabled=False,
    stream_recovery_delay=0.0,
    broker_commit_interval=0.5,
)
logs = app.Table("days", partitions=8, key_type=bytes, value_type=bytes)
chunks: defaultdict[DayKey, int] = defaultdict(int)
"""How many pieces of a day's log the table holds."""
_pieces = msgspec.msgpack.Decoder(list[Record])
_pack = msgspec.msgpack.Encoder().encode


def piece(key: DayKey, number: int) -> bytes:
    """The table's key for a piece of a day's log."""
    return f"{key[0]}|{key[1]}|{number}".encode()


def load(key: DayKey) -> Iterable[Record]:
    """The log that an earlier worker has left in the table."""
    while (packed := logs.data.get(piece(key, chunks[key]))) is not None:
        yield from _pieces.decode(packed)
        chunks[key] += 1


@app.agent(app.topic(*topics(chosen)))
async def derive(stream: faust.StreamT[bytes]) -> None:
    """Take batches, derive, write, and only then let Faust acknowledge."""
    work = Work(chosen, load)
    async for events in stream.take_events(TAKE, within=WITHIN_S):
        try:
            await process(work, events)
        except Exception:
            # Faust would acknowledge the batch and go on.
            traceback.print_exc()
            os._exit(76)


async def process(work: Work, events: list[faust.EventT]) -> None:
    """Derive and write one batch."""
    batch = Batch()
    partitions: dict[str, int] = {}
    records = []
    for event in events:
        message = event.message
        records.append(work.record(message.topic, message.value, int(message.timestamp * 1000)))
        partitions[message.key.decode()] = message.partition
    new: defaultdict[DayKey, list[Record]] = defaultdict(list)
    for key, record in work.take(records, batch):
        new[key].append(record)
    work.settle(batch)
    work.flush_dead_letters()
    await asyncio.to_thread(work.write, batch)
    for key, logged in new.items():
        name, value = piece(key, chunks[key]), _pack(logged)
        chunks[key] += 1
        logs.data[name] = value
        logs.send_changelog(partitions[key[0]], name, value)
    await app.producer.flush()


def main() -> None:
    """Run until told to stop."""
    for chatty in ("faust", "mode", "aiokafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
