"""Stock behind the receipts of simulated shops: orders, deliveries, shelves filled in time or not, waste, theft, counts.

Receipts are made first, as if everything were always there; here what the shelf lacks is taken off them, so that what tills say
and what the shelves hold agree. Nobody writes theft down, nor some of the shelves that are filled: counts find it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid5

import orjson

from producers.simulator.catalogue import Article, articles
from producers.simulator.shops import BUYERS, Shop
from producers.simulator.traffic import HOUR_MS, Fact, money
from schemas.topics import ORDERS, STOCK_MOVEMENTS, TRANSACTIONS

MINUTE_MS = 60_000
NAMESPACE = UUID("0d1c0b6e-5a5d-5a51-9f2c-6e0f9a1b7c33")
UNITS_A_RECEIPT = 3.5 * 1.6
FRESH = ("Dairy", "Bakery")
UNSCANNED, STOLEN, WASTED, MISTYPED = 0.003, 0.015, 0.08, 0.01
COUNTED_EVERY_DAYS = 6
DELIVERED_EVERY_DAYS, COVER_DAYS = 2, 5
# Of each fortnight, the days on which some suppliers deliver nothing.
FAILS_FROM_DAY = 5


class Backroom:
    """The stock of one shop from day to day. The same seed and the same days give the same movements.

    ``stock`` is what there really is, by SKU: on the shelf, in the back.
    """

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop = shop
        self._chance = Random(f"backroom {seed} {shop.store_id}")  # noqa: S311 - a simulation, not a secret
        # How well the shop is run: the share of empty shelves that somebody fills within the hour, and of stock ordered in time.
        self._care = self._chance.choice((0.95, 0.95, 0.9, 0.8, 0.6))
        self._phase = self._chance.randrange(14)
        self._failing = set(self._chance.sample([article.sku for article in articles()], 2))
        daily = shop.groups_per_hour * 12 * BUYERS * 1.1 * UNITS_A_RECEIPT
        # Units sold on a usual day, as the shop believes; it learns.
        self._usual = {article.sku: daily * article.share for article in articles()}
        # Room for half a usual day, in whole packs.
        self._room = {
            article.sku: article.pack * math.ceil(self._usual[article.sku] * 0.5 / article.pack)
            for article in articles()
        }
        self.stock: dict[str, list[int]] = {}
        self._coming: dict[str, int] = {}
        self._number = 0

    def history(self, day: date) -> list[Fact]:
        """A past day of which only stock is told: what was sent, in time order, with a SALE an article."""
        opens, closes = self.shop.open_between(day)
        found = list(self._morning(day, opens))
        sold = dict.fromkeys(self._usual, 0)
        busy = self._chance.uniform(0.75, 1.25)
        for article in articles():
            at = self._chance.randrange(opens + 10 * MINUTE_MS, closes)
            wanted = round(self._chance.gauss(1, 0.3) * busy * self._usual[article.sku])
            if filled := self._fill(article, wanted + self._room[article.sku] // 2):
                found.append(self._fact(article.sku, "FILL_SHELF", filled, at - MINUTE_MS, actor="shelf-team"))
            if quantity := self._take(article.sku, 0, wanted):
                sold[article.sku] = quantity
                found.append(self._fact(article.sku, "SALE", quantity, at))
        found += self._evening(day, closes, sold)
        return sorted(found)

    def day(self, day: date, facts: Sequence[Fact]) -> list[Fact]:
        """What is sent about a day: these facts in time order, receipts without what was not there, and the movements."""
        opens, closes = self.shop.open_between(day)
        found = list(self._morning(day, opens))
        sold = dict.fromkeys(self._usual, 0)
        hour = opens
        for fact in facts:
            while hour <= min(fact.at_ms, closes):
                found += self._round(hour)
                hour += HOUR_MS
            found.append(self._sell(fact, sold) if fact.topic == TRANSACTIONS.name else fact)
        found += self._evening(day, max(closes, facts[-1].at_ms if facts else closes), sold)
        return sorted(found)

    def _morning(self, day: date, opens: int) -> Iterator[Fact]:
        """Before opening: at first everything is counted, from the second day on what was ordered arrives; then an order."""
        first = not self.stock
        for place, article in enumerate(articles()):
            sku, at = article.sku, opens - 29 * MINUTE_MS + place * 1000
            if first:
                there = self.stock[sku] = [
                    self._room[sku],
                    article.pack * math.ceil(self._usual[sku] * COVER_DAYS / article.pack),
                ]
                for location, quantity in zip(("SHELF", "BACKROOM"), there, strict=True):
                    yield self._fact(sku, "COUNT", quantity, at, location=location, actor="stocktaker")
                continue
            if quantity := self._coming.pop(sku, 0):
                self.stock[sku][1] += quantity
                yield self._fact(
                    sku,
                    "RECEIVE",
                    quantity,
                    at,
                    location="BACKROOM",
                    reference=self._order_id(day - timedelta(days=1)),
                    actor="goods-in",
                )
        yield from self._order(day, opens - 5 * MINUTE_MS)

    def _order(self, day: date, at: int) -> Iterator[Fact]:
        """What comes tomorrow before opening: for a few days more than are left. Some suppliers have nothing to send."""
        for place, article in enumerate(articles()):
            sku, left = article.sku, sum(self.stock[article.sku])
            if sku in self._failing and (day.toordinal() + self._phase) % 14 >= FAILS_FROM_DAY:
                continue
            wanted = self._usual[sku] * (1 + DELIVERED_EVERY_DAYS + COVER_DAYS) - left
            # Each article has its own days, and a careless shop forgets some.
            due = (day.toordinal() + place) % DELIVERED_EVERY_DAYS == 0 or self._usual[sku] > left
            if wanted > 0 and due and self._chance.random() < 0.5 + self._care / 2:
                self._coming[sku] = article.pack * math.ceil(wanted / article.pack)
        if not self._coming:
            return
        tomorrow, _ = self.shop.open_between(day + timedelta(days=1))
        order_id = self._order_id(day)
        order = {
            "event_id": str(uuid5(NAMESPACE, f"{self.shop.store_id} {order_id}")),
            "store_id": self.shop.store_id,
            "order_id": order_id,
            "timestamp": _rfc3339(at),
            "supplier_id": "WHOLESALE",
            "status": "PLACED",
            "expected_at": _rfc3339(tomorrow - 29 * MINUTE_MS),
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in self._coming.items()],
        }
        yield Fact(at, ORDERS.name, orjson.dumps(order))

    @staticmethod
    def _order_id(day: date) -> str:
        return f"PO-{day:%y%m%d}"

    def _round(self, hour: int) -> Iterator[Fact]:
        """Somebody looks at the shelves: those that are nearly empty are filled, not all of them by everybody; some is stolen."""
        for place, article in enumerate(articles()):
            sku, shelf = article.sku, self.stock[article.sku]
            if shelf[0] <= self._room[sku] / 3 and shelf[1] > 0 and self._chance.random() < self._care:
                quantity = self._fill(article)
                if self._chance.random() >= UNSCANNED:
                    yield self._fact(sku, "FILL_SHELF", quantity, hour + place, actor="shelf-team")
            if self._chance.random() < STOLEN / 12:
                self._take(sku, 0, self._chance.randint(1, 3))

    def _evening(self, day: date, closed: int, sold: dict[str, int]) -> Iterator[Fact]:
        """After closing: waste, the shelves that are due to be counted, and what the shop learns."""
        for place, article in enumerate(articles()):
            sku, at = article.sku, closed + 5 * MINUTE_MS + place * 1000
            if (
                article.category in FRESH
                and self._chance.random() < WASTED
                and (quantity := self._take(sku, 0, self._chance.randint(1, 4)))
            ):
                yield self._fact(sku, "WASTE", quantity, at, reason="past its date")
            if (day.toordinal() + place) % COUNTED_EVERY_DAYS == 0:
                wrong = self._chance.choice((-1, 1)) if self._chance.random() < MISTYPED else 0
                for where, location in enumerate(("SHELF", "BACKROOM")):
                    quantity = max(0, self.stock[sku][where] + wrong)
                    yield self._fact(
                        sku, "COUNT", quantity, at + (where + 1) * MINUTE_MS, location=location, actor="stocktaker"
                    )
            self._usual[sku] += 0.2 * (sold[sku] - self._usual[sku])

    def _sell(self, fact: Fact, sold: dict[str, int]) -> Fact:
        """The receipt, as it is with what is there; a customer who finds nothing takes what there is most of."""
        receipt = orjson.loads(fact.value)
        if not receipt["lines"]:
            return fact
        lines = []
        for line in receipt["lines"]:
            if quantity := self._take(line["sku"], 0, line["quantity"]):
                lines.append(line | {"quantity": quantity})
        if not lines:
            most = max(self.shop.products, key=lambda product: self.stock[product.sku][0])
            if quantity := self._take(most.sku, 0, 1):
                lines = [{"sku": most.sku, "gtin": most.gtin, "quantity": quantity, "unit_price": money(most.cents)}]
        for line in lines:
            sold[line["sku"]] += line["quantity"]
        if lines == receipt["lines"]:
            return fact
        cents = sum(line["quantity"] * round(float(line["unit_price"]) * 100) for line in lines)
        return fact._replace(value=orjson.dumps(receipt | {"lines": lines, "basket_value": money(cents)}))

    def _fill(self, article: Article, at_least: int = 0) -> int:
        """Bring the shelf up to its room, or to what is about to be sold; returns by how much."""
        shelf, back = self.stock[article.sku]
        quantity = min(back, max(self._room[article.sku], at_least) - shelf)
        if quantity <= 0:
            return 0
        self.stock[article.sku] = [shelf + quantity, back - quantity]
        return quantity

    def _take(self, sku: str, where: int, most: int) -> int:
        taken = max(0, min(most, self.stock[sku][where]))
        self.stock[sku][where] -= taken
        return taken

    def _fact(self, sku: str, kind: str, quantity: int, at: int, **more: str) -> Fact:
        self._number += 1
        movement: dict[str, Any] = {
            "event_id": str(uuid5(NAMESPACE, f"{self.shop.store_id} {self._number}")),
            "store_id": self.shop.store_id,
            "timestamp": _rfc3339(at),
            "sku": sku,
            "kind": kind,
            "quantity": quantity,
            **more,
        }
        return Fact(at, STOCK_MOVEMENTS.name, orjson.dumps(movement))


def _rfc3339(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
