"""From movements, receipts and shelf scans to positions: the cycle of a stock worker.

The same order as everywhere (``docs/delivery.md``): read, drop what is stored, insert facts, then what follows from them,
then acknowledge. A position in memory is a cache of its row; what is late or may have been stored before a crash is
derived anew from all movements of the article.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID, uuid5

from aisleflow import metrics, tracing
from aisleflow.settings import Settings
from schemas import topics
from schemas.events import ShelfScan, StockMovement, dump
from schemas.reading import (
    READERS,
    Refusal,
    TransactionFact,
    epoch_ms,
    read_product,
    read_question,
    read_transaction,
)
from stream_processors.engine import dead_letters
from stream_processors.engine.dead_letters import DeadLetter, DeadLetterBox
from stream_processors.engine.scheduler import RecordBatch
from stream_processors.engine.sink import ClickHouseSink
from stream_processors.engine.strays import Stray, Strays
from stream_processors.stock import plain
from stream_processors.stock.history import SkuKey, StockHistory
from stream_processors.stock.ledger import STEP, Discrepancy, Movement, Position, derive, fits, fold

RECEIPT_NAMESPACE = UUID("5f6f3a52-2f0c-5c8e-9a43-0f6f8d1c7a11")
ANNOUNCEMENT_NAMESPACE = UUID("c1f5f2f8-7a65-5b5c-8f0e-6a2f4a9b3d22")
MOST_POSITIONS = 400_000
COMPLAINT = "transfers could not be announced to the shops that they go to"

EVENT_ID_COLUMNS = ("event_id",)
MOVEMENT_COLUMNS = (
    *("event_id", "store_id", "sku", "timestamp", "kind", "quantity", "location", "shelf", "backroom", "reference"),
    *("to_store_id", "from_store_id", "actor", "reason", "source", "received_at"),
)
POSITION_COLUMNS = (
    *("store_id", "sku", "shelf", "backroom", "in_transit", "shelf_known", "backroom_known", "on_the_way"),
    *("counted_at", "moved_at", "newest_count", "newest_event", "seen_missing", "gap", "gap_since", "version"),
)
READ = {**READERS, topics.PRODUCTS.name: read_product, topics.QUESTIONS.name: read_question}
DISCREPANCY_COLUMNS = (
    *("store_id", "sku", "location", "counted_at", "event_id", "expected", "counted", "difference", "is_opening"),
    *("actor", "version"),
)


@dataclass
class Cycle:
    """What one cycle read, by identity: a movement's own id, or that of a receipt or scan, stored as a whole."""

    facts: dict[str, list[Movement]] = field(default_factory=dict)
    plain: defaultdict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    """Rows of what is stored as it comes, by topic."""
    refused: list[DeadLetter] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    records: int = 0


@dataclass
class Prepared:
    """A cycle that is read and looked up."""

    token: str
    cycle: Cycle
    stored: set[str]


def movement_of(event: StockMovement, arrived: int) -> Movement:
    """A movement as it is derived from."""
    event_id = event.event_id.lower()
    return Movement(
        event_id=event_id,
        store_id=event.store_id,
        sku=event.sku,
        at=epoch_ms(event.timestamp),
        kind=event.kind,
        quantity=_whole(event.quantity),
        location=event.location,
        # A transfer without a name goes by its own id, which its announcement repeats.
        reference=event.reference or (event_id if event.to_store_id else ""),
        to_store_id=event.to_store_id or "",
        from_store_id=event.from_store_id or "",
        actor=event.actor or "",
        reason=event.reason or "",
        arrived=arrived,
    )


def receipt_id(store_id: str, transaction_id: str) -> str:
    """The identity under which a receipt's lines are remembered as stored."""
    return str(uuid5(RECEIPT_NAMESPACE, f"{store_id}|{transaction_id}"))


def sales_of(receipt: TransactionFact) -> list[Movement]:
    """What a receipt takes off the shelf, a movement a line; a line with a negative quantity brings it back."""
    identity = UUID(receipt_id(receipt.store_id, receipt.transaction_id))
    return [
        Movement(
            event_id=str(uuid5(identity, str(number))),
            store_id=receipt.store_id,
            sku=line.sku,
            at=receipt.at,
            kind="SALE",
            quantity=_whole(line.quantity),
            reference=receipt.transaction_id,
            source="TILL",
            arrived=receipt.arrived,
        )
        for number, line in enumerate(receipt.lines)
    ]


def sightings_of(scan: ShelfScan, arrived: int) -> list[Movement]:
    """What a photo of a shelf showed, a movement an article, which moves nothing."""
    identity = UUID(scan.event_id.lower())
    return [
        Movement(
            event_id=str(uuid5(identity, sku)),
            store_id=scan.store_id,
            sku=sku,
            at=epoch_ms(scan.timestamp),
            kind="SCAN",
            quantity=facings * STEP,
            reference=scan.scan_id,
            source="SCAN",
            arrived=arrived,
        )
        for sku, facings in scan.facings.items()
    ]


def announcement_of(movement: Movement) -> StockMovement:
    """What the store that a transfer is sent to is told. Repeated, it says the same under the same id."""
    return StockMovement(
        event_id=str(uuid5(ANNOUNCEMENT_NAMESPACE, movement.event_id)),
        store_id=movement.to_store_id,
        from_store_id=movement.store_id,
        timestamp=datetime.fromtimestamp(movement.at / 1000, UTC),
        sku=movement.sku,
        kind="TRANSFER",
        quantity=Decimal(movement.quantity) / STEP,
        reference=movement.reference,
    )


def decimal(quantity: int) -> str:
    """Ten-thousandths as a decimal in text."""
    return f"{Decimal(quantity) / STEP:f}"


def read(batches: Sequence[RecordBatch], prefix: str, max_future_ms: int, partitions: int) -> Cycle:
    """Read the records of a cycle, each judged alone; the first of an identity holds. Those of stores that belong to another of
    ``partitions`` are set aside.

    Receipts that cannot be read, and those that lie elsewhere, are the business of the workers that derive visits.
    """
    strays, receipt_strays = Strays(partitions), Strays(partitions)
    cycle = Cycle(strays=strays.found)
    for batch in batches:
        topic = batch.tp.topic.removeprefix(prefix)
        for record in batch.records:
            latest_ms = record.timestamp + max_future_ms
            if topic == topics.TRANSACTIONS.name:
                receipt = Refusal("", "") if record.value is None else read_transaction(record.value, latest_ms)
                if isinstance(receipt, Refusal) or not receipt.lines:
                    continue
                if not receipt_strays.takes(batch, record, receipt.store_id):
                    receipt.arrived = record.timestamp
                    cycle.facts.setdefault(receipt_id(receipt.store_id, receipt.transaction_id), sales_of(receipt))
                continue
            found = Refusal("", "has no value") if record.value is None else READ[topic](record.value, latest_ms)
            if isinstance(found, Refusal):
                place = batch.tp.topic, batch.tp.partition, record.offset
                traceparent = tracing.traceparent_of(record.headers)
                cycle.refused.append(
                    DeadLetter(*place, record.key, record.value, "read", found, traceparent=traceparent)
                )
            elif hasattr(found, "store_id") and strays.takes(batch, record, found.store_id):
                continue
            elif topic in plain.KEPT:
                cycle.plain[topic] += plain.KEPT[topic].rows(found, record.timestamp)
            elif isinstance(found, ShelfScan):
                cycle.facts.setdefault(found.event_id.lower(), sightings_of(found, record.timestamp))
            else:
                movement = movement_of(found, record.timestamp)
                cycle.facts.setdefault(movement.event_id, [movement])
        cycle.records += len(batch.records)
        metrics.RECORDS.labels(topic).inc(len(batch.records))
    return cycle


class StockDerivation:
    """The positions that a worker holds, and the cycle over them."""

    def __init__(self, settings: Settings, sink: ClickHouseSink, history: StockHistory, letters: DeadLetterBox) -> None:
        self._settings = settings
        self._sink = sink
        self._history = history
        self._letters = letters
        self.touched_stores: set[str] = set()
        """Stores whose stock or outlook has changed, for whom it concerns to take out."""
        self._positions: dict[SkuKey, Position] = {}
        self._latest: set[str] = set()
        """Identities that the cycle finished last has stored: the next one was looked up before."""

    def forget(self) -> None:
        """Drop all state; a cycle under way finishes on what it holds."""
        self._positions = {}

    async def prepare(self, batches: Sequence[RecordBatch]) -> Prepared:
        """Read a cycle's records and ask ClickHouse which of them it holds. Changes nothing."""
        token = hashlib.sha256(" ".join(sorted(batch.offsets for batch in batches)).encode()).hexdigest()[:32]
        chosen = self._settings
        cycle = read(batches, chosen.topic_prefix, chosen.max_future_minutes * 60_000, chosen.store_partitions)
        ids = list(cycle.facts)
        return Prepared(
            token, cycle, await self._sink.until_answered(self._history.stored_events, ids) if ids else set()
        )

    async def finish(self, prepared: Prepared) -> None:
        """Derive a cycle; on return everything that follows from its records is confirmed by ClickHouse and Kafka.

        Raises:
            CannotWrite, CannotBury: nothing may be acknowledged; the worker must stop.
        """
        cycle, token, positions = prepared.cycle, prepared.token, self._positions
        await self._letters.put(cycle.refused)
        await self._letters.move(cycle.strays)
        refused = dead_letters.letter_rows(cycle.refused)
        await self._sink.insert(dead_letters.TABLE, dead_letters.COLUMNS, refused, token)
        for topic, rows in cycle.plain.items():
            await self._sink.insert(plain.KEPT[topic].table, plain.KEPT[topic].columns, rows, token)
        stored = prepared.stored | (self._latest & cycle.facts.keys())
        new_ids = [identity for identity in cycle.facts if identity not in stored]
        new = [movement for identity in new_ids for movement in cycle.facts[identity]]
        known = [movement for identity in stored for movement in cycle.facts[identity]]
        self._latest = set(new_ids)
        await self._sink.insert("stock_movements", MOVEMENT_COLUMNS, movement_rows(new), token)
        await self._announce([movement for movement in (*new, *known) if movement.to_store_id])
        # Only now: an id that is known must be stored.
        await self._sink.insert("event_ids", EVENT_ID_COLUMNS, [(identity,) for identity in new_ids], token)
        touched, discrepancies = await self._settle(positions, new, {movement.sku_key for movement in known})
        await asyncio.gather(
            self._sink.insert("stock_discrepancies", DISCREPANCY_COLUMNS, discrepancies, token),
            self._sink.insert("stock_positions", POSITION_COLUMNS, position_rows(touched), token),
        )
        self.touched_stores.update(store_id for store_id, _ in touched)
        for topic in (topics.STOCK_OUTLOOK.name, topics.FORECAST_ACCURACY.name):
            self.touched_stores.update(row[0] for row in cycle.plain.get(topic, ()))
        metrics.CYCLE_RECORDS.observe(cycle.records)
        for key in list(positions)[: max(0, len(positions) - MOST_POSITIONS)]:
            del positions[key]

    async def _settle(
        self, positions: dict[SkuKey, Position], new: Sequence[Movement], suspects: set[SkuKey]
    ) -> tuple[dict[SkuKey, Position], list[tuple[Any, ...]]]:
        """Bring the positions of a cycle up to date.

        Args:
            positions: those in memory.
            new: what the cycle has stored.
            suspects: articles of which something was stored before: by another worker, or before a crash that may have come
                between a movement and its position.
        """
        by_sku: defaultdict[SkuKey, list[Movement]] = defaultdict(list)
        for movement in new:
            by_sku[movement.sku_key].append(movement)
        if missing := by_sku.keys() - positions.keys() - suspects:
            positions |= await self._sink.until_answered(self._history.positions, missing)
        late = set(suspects)
        found: list[tuple[Discrepancy, int]] = []
        for key, movements in by_sku.items():
            if key in late:
                continue
            # Taken out and put back in: the dict's order is that of use.
            position = positions[key] = positions.pop(key) if key in positions else Position()
            for movement in sorted(movements, key=lambda movement: movement.key):
                if not fits(position, movement):
                    late.add(key)
                    break
                if (discrepancy := fold(position, movement)) is not None:
                    found.append((discrepancy, position.movements))
        if late:
            metrics.EXACT_PATH.inc(len(late))
            for key, movements in (await self._sink.until_answered(self._history.movements, late)).items():
                if not movements:  # a known receipt, sent again with other articles
                    late.discard(key)
                    continue
                position, discrepancies = derive(movements)
                positions[key] = position
                found += [(discrepancy, position.movements) for discrepancy in discrepancies]
        rows = {
            # What the exact path says of a count comes last and holds.
            discrepancy.counted.event_id: discrepancy_row(discrepancy, version)
            for discrepancy, version in found
        }
        return {key: positions[key] for key in by_sku.keys() | late}, list(rows.values())

    async def _announce(self, transfers: Sequence[Movement]) -> None:
        topic = self._settings.topic_prefix + topics.STOCK_MOVEMENTS.name
        said = [announcement_of(transfer) for transfer in transfers]
        await self._letters.publish([(topic, one.store_id.encode(), dump(one), []) for one in said], COMPLAINT)


def movement_rows(movements: Iterable[Movement]) -> list[tuple[Any, ...]]:
    """Movements as rows of ``stock_movements``."""
    return [
        (
            *(movement.event_id, movement.store_id, movement.sku, movement.at / 1000, movement.kind),
            *(decimal(movement.quantity), movement.location, *map(decimal, movement.changes), movement.reference),
            *(movement.to_store_id, movement.from_store_id, movement.actor, movement.reason, movement.source),
            movement.arrived / 1000,
        )
        for movement in movements
    ]


def position_rows(positions: dict[SkuKey, Position]) -> list[tuple[Any, ...]]:
    """Positions as rows of ``stock_positions``."""
    return [
        (
            *(store_id, sku, decimal(position.shelf), decimal(position.backroom), decimal(position.in_transit)),
            *(position.shelf_known, position.backroom_known),
            {reference: decimal(quantity) for reference, quantity in position.on_the_way.items()},
            None if position.counted_at is None else position.counted_at / 1000,
            *(position.newest[0] / 1000, position.newest[1], position.newest[2], position.seen_missing),
            *(position.gap, position.gap_since / 1000, position.movements),
        )
        for (store_id, sku), position in positions.items()
    ]


def discrepancy_row(discrepancy: Discrepancy, version: int) -> tuple[Any, ...]:
    """A discrepancy as a row of ``stock_discrepancies``."""
    count = discrepancy.counted
    return (
        *(count.store_id, count.sku, count.location, count.at / 1000, count.event_id, decimal(discrepancy.expected)),
        *(decimal(count.quantity), decimal(discrepancy.difference), discrepancy.is_opening, count.actor, version),
    )


def _whole(amount: Decimal) -> int:
    return int(amount.quantize(Decimal("0.0001"), rounding=ROUND_HALF_UP) * STEP)
