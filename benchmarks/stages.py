"""Where an event's microseconds go, inside a worker: ``python -m benchmarks.stages``.

Simulated records go through the stages of a cycle one after another, in one process, with nothing beside it: reading the fetch
as aiokafka hands it over, reading the facts, making rows of them, folding and settling the store days, encoding what ClickHouse
gets. CPU time of each stage, medians of several rounds, Python's collector off: it would charge whichever stage it happens to
interrupt. What is left of a worker's whole cost (``make bench-throughput``) is
Faust, HTTP and waiting.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from benchmarks._report import report
from producers.simulator.faults import Faults
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from schemas.layouts import StoreCalendar
from schemas.reading import read_visit_events
from schemas.topics import VISIT_EVENTS
from stream_processors.derivation import event_id_rows, event_rows
from stream_processors.engine.scheduler import BareRecords
from stream_processors.engine.sink import encode_rows
from stream_processors.store_day import StoreDay

BATCH = 20_000
ARRIVED = 1_800_000_000_000
LZ4 = 3


def fetched(values: list[bytes]) -> bytes:
    """Records as the broker sends them: one compressed batch."""
    builder = DefaultRecordBatchBuilder(2, LZ4, 0, -1, -1, -1, 1 << 30)
    for offset, value in enumerate(values):
        builder.append(offset, ARRIVED, b"ST1001", value, [])
    return bytes(builder.build())


def unpack(records: type[Any], raw: bytes) -> list[Any]:
    """The records of a fetch, by one of aiokafka's readers."""
    return list(records(TP(VISIT_EVENTS.name, 0), MemoryRecords(raw), [], 0, None, None, True, 0))


def once(batches: list[bytes]) -> dict[str, float]:
    """CPU seconds of each stage over all batches."""
    spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        spent[name] += time.process_time() - began

    days: dict[tuple[str, date], StoreDay] = {}
    calendars: dict[str, StoreCalendar] = {}
    seen: set[str] = set()
    for raw in batches:
        with stage("unpack the fetch (as aiokafka does, not in the sum)"):
            unpack(fetcher.PartitionRecords, raw)
        with stage("unpack the fetch"):
            unpack(BareRecords, raw)
        records = unpack(BareRecords, raw)
        with stage("read and check"):
            facts, _ = read_visit_events(records, 0)
        with stage("drop repeats"):
            facts = [fact for fact in facts if fact.event_id not in seen]
            seen.update([fact.event_id for fact in facts])
        with stage("rows of the facts"):
            rows = event_rows(facts), event_id_rows(facts)
        with stage("encode the facts"):
            for table in rows:
                encode_rows(table)
        with stage("fold into visits"):
            touched: set[StoreDay] = set()
            for fact in facts:
                calendar = calendars.get(fact.store_id)
                if calendar is None:
                    calendar = calendars[fact.store_id] = StoreCalendar(fact.store_id)
                day = days.get(key := (fact.store_id, date.fromordinal(719_163 + fact.at // 86_400_000)))
                if day is None:
                    day = days[key] = StoreDay(calendar, key[1])
                day.take(fact)
                touched.add(day)
        with stage("settle the days"):
            settled = [day.settle() for day in touched]
        with stage("encode the rows"):
            for changed in settled:
                for derived in (changed.zone_visits, changed.queue_depth, changed.visits, changed.day_figures):
                    encode_rows(derived)
    return spent


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    gc.disable()
    shops = [replace(shop, dialect=False) for shop in make_shops(40, 1)]
    faults = Faults.parse("duplicates=0.02")
    sent = stream(shops, [date(2026, 3, 2 + n) for n in range(7)], 1, faults=faults)
    values = [
        message.value
        for message, _ in zip(
            (message for message in sent if message.topic == VISIT_EVENTS.name), range(chosen.records), strict=False
        )
    ]
    batches = [fetched(values[first : first + BATCH]) for first in range(0, len(values), BATCH)]
    rounds = [once(batches) for _ in range(chosen.rounds)]
    medians = {name: statistics.median(spent[name] for spent in rounds) / len(values) * 1e6 for name in rounds[0]}
    rows = [(name, round(cost, 2)) for name, cost in medians.items()]
    whole = sum(cost for name, cost in medians.items() if "not in the sum" not in name)
    report(
        "stages",
        ("msgspec", "aiokafka"),
        ("stage", "µs of CPU an event"),
        [*rows, ("sum", round(whole, 2))],
        records=len(values),
        mean_bytes=round(sum(map(len, values)) / len(values)),
        rounds=chosen.rounds,
    )


if __name__ == "__main__":
    main()
