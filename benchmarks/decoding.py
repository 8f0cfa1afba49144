"""How fast records are read: ``python -m benchmarks.decoding``.

The same simulated visit events by each way that the worker could read them, in one process: medians of the CPU time of several
rounds. Texts are where the time is: msgspec alone decodes three times as fast as with a regular expression for each text. Our
reader checks them too, but each name once, and the ids of a batch in one expression.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Annotated

import msgspec
import orjson
from pydantic import TypeAdapter

from benchmarks._report import report
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from schemas.events import NAME_PATTERN, STORE_PATTERN, UUID_PATTERN, VisitEvent
from schemas.reading import VisitFact, read_visit_event
from schemas.topics import VISIT_EVENTS

BATCH = 2_000
LATEST_MS = 4_000_000_000_000

_list_adapter = TypeAdapter(list[VisitEvent])
_adapter = TypeAdapter(VisitEvent)


class PatternFact(VisitFact):
    """As a reader would be declared that leaves the texts to msgspec, which asks Python's ``re`` for each."""

    event_id: Annotated[str, msgspec.Meta(pattern=UUID_PATTERN)]
    store_id: Annotated[str, msgspec.Meta(pattern=STORE_PATTERN)]
    camera_id: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    visitor_id: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]


_pattern_decoder = msgspec.json.Decoder(PatternFact)
_list_decoder = msgspec.json.Decoder(list[VisitFact])
_decoder = msgspec.json.Decoder(VisitFact)


def joined(batch: Sequence[bytes]) -> bytes:
    """Records as one JSON list."""
    return b"[" + b",".join(batch) + b"]"


def each(read: Callable[[bytes], object], batch: Sequence[bytes]) -> None:
    """One record after another."""
    for raw in batch:
        read(raw)


WAYS: dict[str, Callable[[Sequence[bytes]], object]] = {
    "orjson, a record (no validation)": partial(each, orjson.loads),
    "Pydantic TypeAdapter, a record": partial(each, _adapter.validate_json),
    "Pydantic TypeAdapter, joined": lambda batch: _list_adapter.validate_json(joined(batch)),
    "msgspec with patterns, a record": partial(each, _pattern_decoder.decode),
    "msgspec, a record": partial(each, _decoder.decode),
    "msgspec, joined": lambda batch: _list_decoder.decode(joined(batch)),
    "schemas.reading (all rules), a record": partial(each, partial(read_visit_event, latest_ms=LATEST_MS)),
}


def cpu_seconds(way: Callable[[Sequence[bytes]], object], batches: Sequence[Sequence[bytes]]) -> float:
    """CPU time of reading all batches once."""
    began = time.process_time()
    for batch in batches:
        way(batch)
    return time.process_time() - began


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    # The first four shops have cameras that speak our own dialect.
    sent = stream(make_shops(4, 1), [date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)], 1)
    records = [message.value for message in sent if message.topic == VISIT_EVENTS.name][: chosen.records]
    batches = [records[first : first + BATCH] for first in range(0, len(records), BATCH)]
    rows = []
    for name, way in WAYS.items():
        seconds = statistics.median(cpu_seconds(way, batches) for _ in range(chosen.rounds))
        rows.append((name, round(len(records) / seconds), round(seconds / len(records) * 1e6, 2)))
    mean = round(sum(map(len, records)) / len(records))
    report(
        "decoding",
        ("msgspec", "pydantic", "orjson"),
        ("way", "events/s of CPU", "µs an event"),
        rows,
        records=len(records),
        mean_bytes=mean,
        rounds=chosen.rounds,
    )


if __name__ == "__main__":
    main()
