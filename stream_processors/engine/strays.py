"""Strays: records in a partition that is not their store's, put there by another partitioner or another key.

Two workers must not derive one store: each would write what follows from the facts it knows. So a stray is not derived
where it lies. It is published again, with its bytes and headers, under its store as key, and derived where that leads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aisleflow.clients import partition_of
from stream_processors.engine.scheduler import RecordBatch

MOVED_HEADER = "moved_from"


@dataclass(frozen=True)
class Stray:
    """A record, where it lay, and the store that it is about."""

    topic: str
    partition: int
    record: Any
    store_id: str

    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """The sender's, and where it lay."""
        return [*self.record.headers, (MOVED_HEADER, f"{self.topic}/{self.partition}/{self.record.offset}".encode())]


class Strays:
    """Finds the strays of a cycle.

    A record is moved once at most: if topics had another number of partitions than ``partitions``, it would be moved for ever.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.found: list[Stray] = []

    def may_hold(self, batch: RecordBatch, stores: Iterable[str]) -> bool:
        """Whether the batch has a record of a store that belongs elsewhere."""
        here = batch.tp.partition
        return any(partition_of(store, self._partitions) != here for store in stores)

    def takes(self, batch: RecordBatch, record: Any, store_id: str) -> bool:
        """Set a record aside if it is a stray."""
        here = batch.tp.partition
        if partition_of(store_id, self._partitions) == here or any(name == MOVED_HEADER for name, _ in record.headers):
            return False
        self.found.append(Stray(batch.tp.topic, here, record, store_id))
        return True
