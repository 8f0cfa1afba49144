"""From which requests a cycle's records come: their trace ids in the log, and a span that links to theirs.

Only records that carry a ``traceparent`` are looked at, and a cycle has one line whatever it holds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from aisleflow import log, tracing
from stream_processors.engine.scheduler import RecordBatch

if TYPE_CHECKING:
    from stream_processors.engine.worker import Finish, Prepare

logger = log.get(__name__)
T = TypeVar("T")

MOST_TRACES = 500
"""More in one cycle are counted and not named."""


@dataclass
class Traced(Generic[T]):
    """A prepared cycle and where it comes from."""

    prepared: T
    parents: dict[str, str]
    """``traceparent`` by trace id."""
    offsets: list[str]
    records: int
    began: float


def parents(batches: Sequence[RecordBatch]) -> dict[str, str]:
    """``traceparent`` by trace id, of the records that carry one."""
    found: dict[str, str] = {}
    for batch in batches:
        for headers in [record.headers for record in batch.records if record.headers]:
            traceparent = tracing.traceparent_of(headers)
            if traceparent is not None:
                found[tracing.trace_id_of(traceparent) or ""] = traceparent
    return found


def traced(prepare: Prepare[T], finish: Finish[T]) -> tuple[Prepare[Traced[T]], Finish[Traced[T]]]:
    """The two halves of a cycle, with a span around what is written and a line when it is."""

    async def prepare_traced(batches: Sequence[RecordBatch]) -> Traced[T]:
        began = time.perf_counter()
        offsets = [batch.offsets for batch in batches]
        records = sum(len(batch.records) for batch in batches)
        return Traced(await prepare(batches), parents(batches), offsets, records, began)

    async def finish_traced(cycle: Traced[T]) -> None:
        links, attributes = list(cycle.parents.values()), {"records": cycle.records}
        with tracing.span("cycle", "CONSUMER", links=links, attributes=attributes):
            await finish(cycle.prepared)
        if cycle.parents:
            logger.info(
                "cycle_stored",
                trace_ids=list(cycle.parents)[:MOST_TRACES],
                traces=len(cycle.parents),
                cycle=getattr(cycle.prepared, "token", None),
                records=cycle.records,
                offsets=cycle.offsets,
                took_ms=round((time.perf_counter() - cycle.began) * 1000),
            )

    return prepare_traced, finish_traced
