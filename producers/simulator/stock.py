"""Stock of simulated shops: what really happens to it, and what gets written down of it.

Shops receive deliveries in the back, fill their shelves, sell over the till, waste, send to one another and count. Beside
that things happen that nobody writes down: goods are stolen, shelves are filled without a scan, a count is mistyped, and
some movements are sent days late. The truth of both is told, so that what the ledger finds can be judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

import orjson

from schemas import topics

NAMESPACE = UUID("6f0d3a0e-9a4b-5c41-8a55-1f0f5c0d9b77")
Place = tuple[str, str, str]
"""(store_id, sku, SHELF or BACKROOM)"""


@dataclass(frozen=True)
class Sent:
    """A record, and when it is sent: late for some."""

    at: datetime
    topic: str
    store_id: str
    value: bytes


@dataclass
class Truth:
    """What really happened.

    Attributes:
        unwritten: what nobody wrote down, by place: (when, change of stock, why).
        miscounts: by event id of a count that was mistyped: how much too much it says.
        counts: event ids of all counts, with their place and time.
    """

    unwritten: dict[Place, list[tuple[datetime, int, str]]] = field(default_factory=lambda: defaultdict(list))
    miscounts: dict[str, int] = field(default_factory=dict)
    counts: list[tuple[str, Place, datetime]] = field(default_factory=list)

    def differences(self) -> dict[str, int]:
        """By event id of a count: by how much it must disagree with the ledger, where it must. That is what nobody wrote
        down since the count before, and what either of the two counts was mistyped by.
        """
        found = {}
        before: dict[Place, tuple[datetime, int]] = {}
        for event_id, place, at in sorted(self.counts, key=lambda count: count[2]):
            mistyped = self.miscounts.get(event_id, 0)
            if place in before:
                since, was_mistyped = before[place]
                missing = sum(change for when, change, _ in self.unwritten[place] if since < when <= at)
                if difference := missing + mistyped - was_mistyped:
                    found[event_id] = difference
            before[place] = (at, mistyped)
        return found


class StockDays:
    """Makes the records of some shops over some days.

    Args:
        stores: ids of the shops.
        skus: articles that each of them sells.
        seed: the same seed makes the same days.
        start: midnight of the first day, UTC.
        late_share: share of movements that are sent up to three days late.
    """

    def __init__(
        self, stores: Sequence[str], skus: int, seed: int, start: datetime, *, late_share: float = 0.03
    ) -> None:
        self.truth = Truth()
        self.records: list[Sent] = []
        self._stores, self._skus = list(stores), [f"SKU-{number:04}" for number in range(skus)]
        self._chance = Random(f"stock {seed}")  # noqa: S311 - makes up shops, guards nothing
        self._start = start
        self._late_share = late_share
        self._stock: dict[Place, int] = defaultdict(int)
        self._arriving: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
        self._number = 0
        # Few articles sell much, most little.
        self._demand = {sku: 24 / (rank + 2) for rank, sku in enumerate(self._skus)}

    def run(self, days: int) -> None:
        """Live through some days; records are kept in the order in which they are sent."""
        for store in self._stores:
            for sku in self._skus:
                for place, most in (("SHELF", 12), ("BACKROOM", 60)):
                    self._stock[store, sku, place] = self._chance.randrange(most // 2, most)
                    self._count(store, sku, place, self._start + timedelta(hours=6), mistypes=0)
        for day in range(days):
            for store in self._stores:
                self._day(store, self._start + timedelta(days=day), counts=day % 5 == 4)
        self.records.sort(key=lambda sent: sent.at)

    def _day(self, store: str, midnight: datetime, *, counts: bool) -> None:
        for sku, quantity, reference in self._arriving.pop(store, []):
            self._stock[store, sku, "BACKROOM"] += quantity
            at = midnight + timedelta(hours=6, minutes=30)
            self._move(store, sku, "RECEIVE", quantity, at, location="BACKROOM", reference=reference)
        for sku in self._skus:
            if self._stock[store, sku, "BACKROOM"] < 20 and self._chance.random() < 0.7:
                quantity = self._chance.randrange(24, 72, 6)
                self._stock[store, sku, "BACKROOM"] += quantity
                at = midnight + timedelta(hours=7, minutes=self._chance.randrange(50))
                self._move(store, sku, "RECEIVE", quantity, at, location="BACKROOM", reference=f"PO-{self._number}")
        for hour in range(9, 20):
            self._hour(store, midnight + timedelta(hours=hour))
        if self._chance.random() < 0.3:
            self._transfer(store, midnight + timedelta(hours=20, minutes=5))
        for sku in self._skus:
            if self._chance.random() < 0.03:
                quantity = self._take(store, sku, "SHELF", 2)
                at = midnight + timedelta(hours=20, minutes=20, seconds=self._chance.randrange(600))
                if quantity:
                    self._move(store, sku, "WASTE", quantity, at, reason="damaged")
            if counts:
                for place in ("SHELF", "BACKROOM"):
                    self._count(store, sku, place, midnight + timedelta(hours=21), mistypes=0.01)

    def _hour(self, store: str, start: datetime) -> None:
        chance = self._chance
        for sku in self._skus:
            shelf, backroom = self._stock[store, sku, "SHELF"], self._stock[store, sku, "BACKROOM"]
            if shelf < 4 and backroom > 0 and chance.random() < 0.8:
                quantity = min(backroom, 12 - shelf)
                self._stock[store, sku, "SHELF"] += quantity
                self._stock[store, sku, "BACKROOM"] -= quantity
                at = start + timedelta(seconds=chance.randrange(300))
                if chance.random() < 0.02:  # without a scan: both places are off until they are counted
                    self.truth.unwritten[store, sku, "SHELF"].append((at, quantity, "unscanned"))
                    self.truth.unwritten[store, sku, "BACKROOM"].append((at, -quantity, "unscanned"))
                else:
                    self._move(store, sku, "FILL_SHELF", quantity, at)
            if chance.random() < 0.002 and (stolen := self._take(store, sku, "SHELF", 3)):
                at = start + timedelta(seconds=chance.randrange(400, 3000))
                self.truth.unwritten[store, sku, "SHELF"].append((at, -stolen, "stolen"))
        for _ in range(chance.randrange(2, 7)):
            self._sell(store, start + timedelta(seconds=chance.randrange(400, 3590)))

    def _sell(self, store: str, at: datetime) -> None:
        lines = []
        for sku in {*self._chance.choices(self._skus, list(self._demand.values()), k=self._chance.randrange(1, 5))}:
            if sold := self._take(store, sku, "SHELF", 2):
                lines.append({"sku": sku, "quantity": sold, "unit_price": "2.50"})
        if lines:
            self._number += 1
            receipt = {
                "store_id": store,
                "transaction_id": f"R{self._number}",
                "timestamp": _text(at),
                "basket_value": str(2.5 * sum(int(str(line["quantity"])) for line in lines)),
                "lines": lines,
            }
            self._send(at, topics.TRANSACTIONS.name, store, receipt)

    def _transfer(self, store: str, at: datetime) -> None:
        sku, receiver = self._chance.choice(self._skus), self._chance.choice(self._stores)
        quantity = self._take(store, sku, "BACKROOM", 6)
        if quantity and receiver != store:
            reference = f"TR-{self._number}"
            self._move(
                store, sku, "TRANSFER", quantity, at, location="BACKROOM", reference=reference, to_store_id=receiver
            )
            self._arriving[receiver].append((sku, quantity, reference))
        else:
            self._stock[store, sku, "BACKROOM"] += quantity

    def _take(self, store: str, sku: str, place: str, most: int) -> int:
        """Take up to so many from a place, as far as there are any."""
        taken = min(self._stock[store, sku, place], self._chance.randrange(1, most + 1))
        self._stock[store, sku, place] -= taken
        return taken

    def _count(self, store: str, sku: str, place: str, at: datetime, mistypes: float) -> None:
        there = self._stock[store, sku, place]
        wrong = 0
        if self._chance.random() < mistypes:
            wrong = self._chance.choice([-1, 1, 10]) if there else 10
        event_id = self._move(store, sku, "COUNT", there + wrong, at, location=place, actor="count")
        self.truth.counts.append((event_id, (store, sku, place), at))
        if wrong:
            self.truth.miscounts[event_id] = wrong

    def _move(self, store: str, sku: str, kind: str, quantity: int, at: datetime, **more: str) -> str:
        self._number += 1
        event_id = str(uuid5(NAMESPACE, f"{store}|{sku}|{kind}|{at.isoformat()}|{self._number}"))
        movement = {
            "event_id": event_id,
            "store_id": store,
            "timestamp": _text(at),
            "sku": sku,
            "kind": kind,
            "quantity": quantity,
            **more,
        }
        late = self._chance.random() < self._late_share
        self._send(
            at + timedelta(hours=self._chance.uniform(1, 72)) if late else at,
            topics.STOCK_MOVEMENTS.name,
            store,
            movement,
        )
        return event_id

    def _send(self, at: datetime, topic: str, store: str, content: dict[str, Any]) -> None:
        self.records.append(Sent(at, topic, store, orjson.dumps(content)))


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
