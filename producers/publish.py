"""Publish files of facts to Kafka: each record judged alone, none lost in silence, and a killed run continues.

A file becomes a sequence of records. Every so many of them all delivery reports are awaited, and how far Kafka has
confirmed is written to a small state file; the next run over the same unchanged file reads what lies before that point
(to know its ids) and sends from there. What is sent twice around a crash does no harm: ids identify facts.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import orjson
from confluent_kafka import KafkaException

from aisleflow.clients import Failures, kafka_producer, produce
from aisleflow.settings import Settings
from producers.pos import csv_files
from producers.stock.catalogue import products
from producers.stock.counts import counts
from schemas.reading import Refusal, read_layout, read_product, read_stock_movement, read_transaction, read_visit_event
from schemas.topics import PRODUCTS, STOCK_MOVEMENTS, STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS, Topic

MAX_LINE_BYTES = 1_000_000
CONFIRM_EVERY = 20_000
SHOWN_REFUSALS = 20
METADATA_TIMEOUT_S = 10.0


class PublishError(RuntimeError):
    """Publishing cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class Record:
    """One record of a file, up to byte ``end``: to be sent (``value``), a duplicate (neither), or refused."""

    line: int
    end: int
    raw: bytes
    key: str = ""
    value: bytes | None = None
    refusal: Refusal | None = None


@dataclass
class Outcome:
    """What became of a file's records. ``resumed``: sent and confirmed by an earlier run."""

    sent: int = 0
    resumed: int = 0
    duplicates: int = 0
    refused: int = 0
    refusals: list[tuple[int, Refusal]] = field(default_factory=list)
    refused_file: Path | None = None
    seconds: float = 0.0


def event_records(file: IO[bytes], latest_ms: int) -> Iterator[Record]:
    """Visit events of either dialect, one JSON object a line; ids that the file has held before are duplicates."""
    seen: set[str] = set()
    for line, end, raw in numbered_lines(file):
        found = read_visit_event(raw, latest_ms) if len(raw) <= MAX_LINE_BYTES else _too_long(raw)
        if isinstance(found, Refusal):
            yield Record(line, end, raw, refusal=found)
            continue
        ids = {fact.event_id for fact in found}
        value = None if ids <= seen else raw
        seen |= ids
        yield Record(line, end, raw, found[0].store_id, value)


def transaction_records(file: IO[bytes], latest_ms: int, time_zone: ZoneInfo, store: str = "") -> Iterator[Record]:
    """Receipts of a till's CSV export. The same receipt again is a duplicate; another one under its id is refused.

    Raises:
        ValueError: the header is not that of a till's export.
    """
    seen: dict[tuple[str, str], tuple[int, bytes]] = {}
    lines = ((line, raw) for line, _, raw in numbered_lines(file))
    for row in csv_files.receipts(lines, time_zone, store):
        yield _transaction_record(row, file.tell(), latest_ms, seen)


def _transaction_record(
    row: csv_files.Row, end: int, latest_ms: int, seen: dict[tuple[str, str], tuple[int, bytes]]
) -> Record:
    if row.receipt is None:
        return Record(row.line, end, row.raw, refusal=Refusal(row.field, row.reason))
    found = read_transaction(row.receipt, latest_ms)
    if isinstance(found, Refusal):
        return Record(row.line, end, row.raw, refusal=found)
    first_line, first = seen.setdefault(row.identity, (row.line, row.receipt))
    if first_line == row.line:
        return Record(row.line, end, row.raw, row.identity[0], row.receipt)
    if first == row.receipt:
        return Record(row.line, end, row.raw)
    return Record(
        row.line, end, row.raw, refusal=Refusal("transaction_id", f"line {first_line} has it with other content")
    )


def stock_records(
    file: IO[bytes], latest_ms: int, store: str = "", as_of: datetime | None = None, location: str = "SHELF"
) -> Iterator[Record]:
    """Counts of a cleaned stock list; arguments and errors as for ``producers.stock.counts.counts``."""
    lines = ((line, raw) for line, _, raw in numbered_lines(file))
    for row in counts(lines, store, as_of, location):
        if row.movement is None:
            yield Record(row.line, file.tell(), row.raw, refusal=Refusal(row.field, row.reason))
            continue
        found = read_stock_movement(row.movement, latest_ms)
        if isinstance(found, Refusal):
            yield Record(row.line, file.tell(), row.raw, refusal=found)
        else:
            yield Record(row.line, file.tell(), row.raw, found.store_id, row.movement)


def product_records(file: IO[bytes], latest_ms: int, now: datetime) -> Iterator[Record]:
    """Articles of a list; arguments and errors as for ``producers.stock.catalogue.products``."""
    lines = ((line, raw) for line, _, raw in numbered_lines(file))
    for row in products(lines, now):
        found = Refusal(row.field, row.reason) if row.reason else None
        if row.product is not None and isinstance(read := read_product(row.product, latest_ms), Refusal):
            found = read
        if found is not None:
            yield Record(row.line, file.tell(), row.raw, refusal=found)
        else:
            yield Record(row.line, file.tell(), row.raw, row.sku, row.product)


def layout_records(file: IO[bytes], latest_ms: int) -> Iterator[Record]:
    """Store layouts: one JSON document, or one a line."""
    whole = file.read(MAX_LINE_BYTES + 1)
    found = read_layout(whole, latest_ms) if len(whole) <= MAX_LINE_BYTES else _too_long(whole)
    if not isinstance(found, Refusal):
        yield Record(1, len(whole), whole, found.store_id, whole)
        return
    one_each = [line for line in whole.splitlines() if line.strip()]
    if len(whole) <= MAX_LINE_BYTES and not (len(one_each) > 1 and all(_is_object(line) for line in one_each)):
        yield Record(1, len(whole), whole, refusal=found)
        return
    file.seek(0)
    for line, end, raw in numbered_lines(file):
        found = read_layout(raw, latest_ms) if len(raw) <= MAX_LINE_BYTES else _too_long(raw)
        if isinstance(found, Refusal):
            yield Record(line, end, raw, refusal=found)
        else:
            yield Record(line, end, raw, found.store_id, raw)


def _is_object(line: bytes) -> bool:
    return line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}")


def numbered_lines(file: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, byte at which it ends, line without its end) of every line that is not blank.

    Of a line over ``MAX_LINE_BYTES`` only the beginning is kept, one byte too long, so that memory stays bounded.
    """
    number = end = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        end += len(raw)
        rest = raw
        while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
            end += len(rest)
        if stripped := raw.rstrip(b"\r\n"):
            yield number, end, stripped


def _too_long(raw: bytes) -> Refusal:
    return Refusal("", f"is longer than {MAX_LINE_BYTES:,} bytes")


def publish_events(path: Path, settings: Settings, **options: Any) -> Outcome:
    """Publish a file of visit events, one JSON object a line. Options and errors as for ``publish_file``."""
    latest = _latest_ms(settings)
    return publish_file(path, VISIT_EVENTS, lambda file: event_records(file, latest), settings, **options)


def publish_transactions(
    path: Path, settings: Settings, time_zone: ZoneInfo, store: str = "", **options: Any
) -> Outcome:
    """Publish a till's CSV export. Options and errors as for ``publish_file``."""
    latest = _latest_ms(settings)
    return publish_file(
        path,
        TRANSACTIONS,
        lambda file: transaction_records(file, latest, time_zone, store),
        settings,
        variant=f"{time_zone.key} {store}".strip(),
        **options,
    )


def publish_stock(
    path: Path,
    settings: Settings,
    store: str = "",
    as_of: datetime | None = None,
    location: str = "SHELF",
    **options: Any,
) -> Outcome:
    """Publish a cleaned stock list as counts. Arguments as for ``stock_records``, options and errors as for
    ``publish_file``.
    """
    latest = _latest_ms(settings)
    return publish_file(
        path,
        STOCK_MOVEMENTS,
        lambda file: stock_records(file, latest, store, as_of, location),
        settings,
        variant=f"{store} {as_of} {location}",
        **options,
    )


def publish_products(path: Path, settings: Settings, **options: Any) -> Outcome:
    """Publish a list of articles, which holds from now on. Options and errors as for ``publish_file``."""
    latest, now = _latest_ms(settings), datetime.now(UTC)
    return publish_file(path, PRODUCTS, lambda file: product_records(file, latest, now), settings, **options)


def publish_layouts(path: Path, settings: Settings, **options: Any) -> Outcome:
    """Publish store layouts. Options and errors as for ``publish_file``."""
    latest = _latest_ms(settings)
    return publish_file(path, STORE_LAYOUTS, lambda file: layout_records(file, latest), settings, **options)


def publish_file(
    path: Path,
    topic: Topic,
    records: Callable[[IO[bytes]], Iterator[Record]],
    settings: Settings,
    *,
    refused_file: Path | None = None,
    progress: Callable[[int, Outcome], None] = lambda position, outcome: None,
    variant: str = "",
) -> Outcome:
    """Publish one file and wait until Kafka has confirmed all of it.

    Args:
        records: turns the open file into records, always the same ones for the same bytes.
        refused_file: where refused records go, one JSON object each; FILE.refused.jsonl by default.
        progress: told the byte reached and the counts, every now and then.
        variant: options that change what the file means.

    Raises:
        PublishError: the file cannot be read, or Kafka does not answer. What was confirmed is remembered.
    """
    began = time.monotonic()
    outcome = Outcome()
    refused_to = refused_file or path.with_name(f"{path.name}.refused.jsonl")
    # Its own log repeats, many times a second, what PublishError says once.
    producer = kafka_producer(settings, log_level=0)
    name = settings.topic_prefix + topic.name
    failures = Failures()

    def confirm() -> None:
        producer.flush()
        failures.raise_first()

    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            state = _State(settings, path, stat, f"{name} {variant}")
            producer.list_topics(timeout=METADATA_TIMEOUT_S)
            refused_to.unlink(missing_ok=True)
            for place, record in enumerate(records(file), 1):
                if record.refusal is not None:
                    _note(outcome, record, refused_to)
                elif record.value is None:
                    outcome.duplicates += 1
                elif place <= state.confirmed:
                    outcome.resumed += 1
                else:
                    produce(producer, name, record.value, record.key, on_delivery=failures)
                    producer.poll(0)
                    outcome.sent += 1
                if place % CONFIRM_EVERY == 0 and place > state.confirmed:
                    confirm()
                    state.save(place)
                if place % 500 == 0:
                    progress(record.end, outcome)
            confirm()
            state.forget()
            progress(stat.st_size, outcome)
    except KafkaException as error:
        raise PublishError(
            f"Kafka at {settings.kafka_bootstrap} did not take the records ({error.args[0].str()}): start "
            "`aisleflow up`, then run the same command again; it goes on where Kafka had confirmed"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise PublishError(f"{path}: {reason}") from error
    outcome.seconds = time.monotonic() - began
    return outcome


def _note(outcome: Outcome, record: Record, refused_to: Path) -> None:
    refusal = record.refusal or Refusal("", "")
    outcome.refused += 1
    outcome.refused_file = refused_to
    if len(outcome.refusals) < SHOWN_REFUSALS:
        outcome.refusals.append((record.line, refusal))
    entry = {
        "line": record.line,
        "field": refusal.field,
        "reason": refusal.reason,
        "record": record.raw[:MAX_LINE_BYTES].decode(errors="backslashreplace"),
    }
    with refused_to.open("ab") as file:
        file.write(orjson.dumps(entry) + b"\n")


def _latest_ms(settings: Settings) -> int:
    return int(time.time() * 1000) + settings.max_future_minutes * 60_000


class _State:
    """How many records of a file Kafka has confirmed, for one unchanged file, topic and Kafka."""

    def __init__(self, settings: Settings, path: Path, stat: os.stat_result, variant: str) -> None:
        what = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{settings.kafka_bootstrap}\n{variant}"
        folder = settings.data_dir.expanduser() / "publish"
        self.path = folder / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"
        self.file = str(path.resolve())
        self.confirmed = 0
        if self.path.exists():
            try:
                self.confirmed = int(orjson.loads(self.path.read_bytes())["confirmed"])
            except (ValueError, KeyError, TypeError):
                # Unreadable: from the start, which costs time and nothing else.
                self.confirmed = 0

    def save(self, confirmed: int) -> None:
        """Remember, atomically: a run killed here leaves the old or the new state."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        draft.write_bytes(orjson.dumps({"file": self.file, "confirmed": confirmed}))
        draft.replace(self.path)

    def forget(self) -> None:
        """All is sent: the next run of the same file is a new one."""
        self.path.unlink(missing_ok=True)
