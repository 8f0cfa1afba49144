"""Quix Streams 3.28: ``python -m benchmarks.peers.quix``.

After its documentation: the two topics are joined by ``concat`` ("Consuming multiple topics"), so that one stateful
function sees both; the function keeps the logs of store days in ``State`` as bytes ("Stateful processing": ``set_bytes``,
RocksDB with a changelog topic); rows leave by a sink of our own ("Creating a custom sink": ``add`` gathers, ``flush`` writes
when the checkpoint commits, offsets are committed only after it).

State is per message key, which is the store. A day's log is kept in pieces: the open piece is set again with each record,
and as a checkpoint sends one changelog message per key that changed, a piece costs one message however many records it
gained. Tuned: ``commit_every`` 5,000, 20,000 and 50,000 (50,000 was best by a tenth; ``commit_interval`` 2 s for what is left over);
pieces of 16, 64 and 256 records (64); ``max_partition_buffer_size`` of 10,000, its default, and 50,000 (no difference);
``consumer_poll_timeout`` of 0.1 s (at the default of 1 s the time alignment of ``concat`` waits that long at a topic's end);
values as bytes, without JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from quixstreams import Application, State, message_context
from quixstreams.sinks.base import BaseSink

from benchmarks.peers.work import Batch, DayKey, Record, Work, settings, topics

COMMIT_EVERY = 50_000
COMMIT_INTERVAL_S = 2.0
PIECE_RECORDS = 64
POLL_S = 0.1

_pieces = msgspec.msgpack.Decoder(list[Record])


@dataclass
class Log:
    """The end of a day's log: how many pieces are full, and the packed records of the open one."""

    full: int = 0
    open: list[bytes] = field(default_factory=list)


def piece(key: DayKey, number: int) -> bytes:
    """The state's key for a piece of a day's log."""
    return f"{key[1]}|{number}".encode()


class Rows(BaseSink):
    """Derives with the state of the store at hand, and writes what follows when the checkpoint commits."""

    def __init__(self) -> None:
        super().__init__()
        self._work = Work(settings(), self._load)
        self._batch = Batch()
        self._logs: dict[DayKey, Log] = {}
        self._state: State[Any, Any]
        self._pack = msgspec.msgpack.Encoder().encode

    def derive(self, value: bytes, _key: Any, arrived: int, _headers: Any, state: State[Any, Any]) -> None:
        """Take one record."""
        self._state = state
        record = self._work.record(message_context().topic, value, arrived)
        for key, _ in self._work.take((record,), self._batch):
            log = self._logs[key]
            log.open.append(self._pack(record))
            state.set_bytes(piece(key, log.full), _as_list(log.open))
            if len(log.open) == PIECE_RECORDS:
                log.full += 1
                log.open = []

    def _load(self, key: DayKey) -> Iterable[Record]:
        log = self._logs[key] = Log()
        while (packed := self._state.get_bytes(piece(key, log.full))) is not None:
            records = _pieces.decode(packed)
            yield from records
            if len(records) < PIECE_RECORDS:
                log.open = [self._pack(record) for record in records]
                return
            log.full += 1

    def add(self, *_: Any, **__: Any) -> None:
        """Nothing: ``derive`` has what it takes."""

    def flush(self) -> None:
        """Write everything that follows from the records since the last checkpoint."""
        self._work.settle(self._batch)
        self._work.flush_dead_letters()
        self._work.write(self._batch)
        self._batch = Batch()


def _as_list(packed: list[bytes]) -> bytes:
    """Packed records as one packed list."""
    return b"\xdc" + len(packed).to_bytes(2, "big") + b"".join(packed)


def main() -> None:
    """Run until told to stop."""
    chosen = settings()
    app = Application(
        broker_address=chosen.kafka_bootstrap,
        consumer_group=chosen.consumer_group,
        auto_offset_reset="earliest",
        state_dir=chosen.data_dir / "state",
        commit_every=COMMIT_EVERY,
        commit_interval=COMMIT_INTERVAL_S,
        consumer_poll_timeout=POLL_S,
        loglevel=logging.WARNING,
    )
    first, second = (
        app.dataframe(app.topic(name, key_deserializer="bytes", value_deserializer="bytes")) for name in topics(chosen)
    )
    rows = Rows()
    joined = first.concat(second)
    joined.update(rows.derive, stateful=True, metadata=True).sink(rows)
    app.run()


if __name__ == "__main__":
    main()
