"""How many of 150 written questions are answered right: ``python -m benchmarks.questions`` (``make bench-questions``).

Six simulated shops live through half a month: visitors, queues, receipts, deliveries, theft, miscounts, movements that come late. Real
workers derive it from a real Kafka into a real ClickHouse, and every question of ``questions_tuned.yaml`` and
``questions_held_out.yaml`` is asked. What is right is computed from the simulator's records by plain Python in this file, for the measure,
the shops, the articles and the days that a person wrote beside each question: neither the parser nor its SQL has a part in it.

The keys of a question: ``q`` the question; ``measure`` what it asks for; ``shops``, ``skus``, ``category``, ``zone``, ``action`` of what;
``days`` first and last business day, ``hours`` of the day, ``at`` a moment on the shop's clock; ``by`` what; ``top``, ``bottom`` how many;
``refuse`` that it must not be answered. An answer is right if every figure of it is, to the last digit that is shown, and no row is
missing or too many.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import yaml
from confluent_kafka import Consumer, TopicPartition

from aisleflow.clients import kafka_producer, produce
from aisleflow.settings import Settings
from api.database import Database
from api.questions.answers import Answer, Asker, answer
from api.questions.catalogue import Catalogue
from api.questions.measures import MEASURES
from benchmarks._parts import Part, kafka_and_clickhouse
from benchmarks._report import report
from producers.simulator.answers import World
from producers.simulator.shops import Shop, make_shops
from producers.simulator.stock import StockDays
from producers.simulator.stream import stream
from schemas.topics import (
    DERIVED_TOPICS,
    PRODUCTS,
    STOCK_MOVEMENTS,
    STOCK_TOPICS,
    STORE_LAYOUTS,
    TRANSACTIONS,
    VISIT_EVENTS,
)

HERE = Path(__file__).parent
SETS = {"held out": "questions_held_out.yaml", "tuned on": "questions_tuned.yaml"}
NOW = datetime(2026, 3, 18, 15, tzinfo=UTC)
STOCK_SINCE, STOCK_DAYS = datetime(2026, 3, 2, tzinfo=UTC), 17
VISITS_SINCE, VISIT_DAYS = date(2026, 3, 7), 12
SHOPS = (
    ("ST1001", "Leeds Briggate", "Europe/London", "GBP"),
    ("ST1002", "York Coney Street", "Europe/London", "GBP"),
    ("ST1003", "Bristol Harbour", "Europe/London", "GBP"),
    ("ST1004", "Manchester Arndale", "Europe/London", "GBP"),
    ("ST1005", "Berlin Mitte", "Europe/Berlin", "EUR"),
    ("ST1006", "Mumbai Bandra", "Asia/Kolkata", "INR"),
)
ZONES = ("DAIRY", "BAKERY", "FRUIT", "HOUSEHOLD")
PRODUCTS_SOLD = (
    ("10001", "Whole Milk 2 L", "Milk"),
    ("50001", "Bananas", "Fruit"),
    ("20001", "Sliced White Bread 800 g", "Bread"),
    ("30001", "Ground Coffee 250 g", "Coffee"),
    ("10002", "Semi-Skimmed Milk 1 L", "Milk"),
    ("50002", "Gala Apples 6 Pack", "Fruit"),
    ("20002", "Sourdough Loaf", "Bread"),
    ("70001", "Orange Juice 1 L", "Drinks"),
    ("10003", "Oat Milk Barista 1 L", "Milk"),
    ("40001", "Milk Chocolate Bar 100 g", "Chocolate"),
    ("20003", "Bagels 5 Pack", "Bread"),
    ("30003", "Instant Coffee 100 g", "Coffee"),
    ("50003", "Blueberries 150 g", "Fruit"),
    ("60001", "Washing-Up Liquid 500 ml", "Cleaning"),
    ("40002", "Dark Chocolate 70%", "Chocolate"),
    ("60002", "Kitchen Roll 2 Pack", "Cleaning"),
    ("30002", "Espresso Beans 1 kg", "Coffee"),
    ("22423", "Regency Cakestand 3 Tier", "Kitchenware"),
    ("60003", "Laundry Detergent 2 L", "Cleaning"),
    ("85123A", "White Hanging Heart T-Light Holder", "Homeware"),
)
# What suppliers do not deliver: (shop, articles, first and last day).
STRIKES = (
    ("ST1001", {"10001", "10002", "20001"}, date(2026, 3, 10), date(2026, 3, 18)),
    ("ST1003", {"10001", "50001", "30001"}, date(2026, 3, 8), date(2026, 3, 18)),
    ("ST1005", {"50001", "20001"}, date(2026, 3, 9), date(2026, 3, 18)),
    ("ST1002", {"10001", "50001"}, date(2026, 3, 8), date(2026, 3, 15)),
)


class Stock(StockDays):
    """The simulator's stock, with articles that have names and suppliers who do not always deliver."""

    def __init__(self) -> None:
        super().__init__([shop for shop, *_ in SHOPS], len(PRODUCTS_SOLD), 8, STOCK_SINCE)
        self._skus = [sku for sku, *_ in PRODUCTS_SOLD]
        self._demand = {sku: 24 / (rank + 2) for rank, sku in enumerate(self._skus)}

    def _move(self, store: str, sku: str, kind: str, quantity: int, at: datetime, **more: str) -> str:
        if kind == "RECEIVE" and more["reference"].startswith("PO-"):
            for shop, skus, first, last in STRIKES:
                if store == shop and sku in skus and first <= at.date() <= last:
                    self._stock[store, sku, "BACKROOM"] -= quantity
                    return ""
        return super()._move(store, sku, kind, quantity, at, **more)


class Sent(NamedTuple):
    """A record on its way."""

    topic: str
    key: str
    value: bytes


def shops() -> list[Shop]:
    """The simulated shops, with the names that people ask by."""
    return [
        dataclasses.replace(
            shop,
            store_id=store_id,
            name=name,
            time_zone=zone,
            currency=currency,
            shelves=ZONES,
            groups_per_hour=10.0,
            tills=1,
            has_layout=True,
        )
        for shop, (store_id, name, zone, currency) in zip(make_shops(len(SHOPS), 4), SHOPS, strict=True)
    ]


def records() -> list[Sent]:
    """Everything that was sent until now."""
    made, now_ms = shops(), int(NOW.timestamp() * 1000)
    sent = [Sent(STORE_LAYOUTS.name, shop.store_id, shop.layout(datetime(2026, 1, 1, tzinfo=UTC))) for shop in made]
    for sku, name, category in PRODUCTS_SOLD:
        product = {"sku": sku, "name": name, "category": category, "timestamp": "2026-01-01T00:00:00Z"}
        sent.append(Sent(PRODUCTS.name, sku, json.dumps(product).encode()))
    days = [VISITS_SINCE + timedelta(days=n) for n in range(VISIT_DAYS)]
    for message in stream(made, days, 4, until_ms=now_ms):
        value = message.value
        if message.at_ms > now_ms or message.topic not in (VISIT_EVENTS.name, TRANSACTIONS.name):
            continue
        if message.topic == TRANSACTIONS.name:  # the stock has receipts of its own, with lines
            value = json.dumps({**json.loads(value), "lines": []}).encode()
        sent.append(Sent(message.topic, message.key, value))
    stock = Stock()
    stock.run(STOCK_DAYS)
    sent += [Sent(one.topic, one.store_id, one.value) for one in stock.records if one.at <= NOW]
    for number, (source, sku, quantity) in enumerate(
        (("ST1002", "10003", 3), ("ST1004", "30001", 5), ("ST1004", "10003", 2))
    ):
        said = {"event_id": f"7e57f00d-0000-4000-8000-00000000000{number}", "store_id": source, "sku": sku}
        said |= {
            "kind": "TRANSFER",
            "timestamp": "2026-03-18T08:30:00Z",
            "location": "BACKROOM",
            "to_store_id": "ST1001",
        }
        value = json.dumps({**said, "quantity": quantity, "reference": f"TODAY-{number}"}).encode()
        sent.append(Sent(STOCK_MOVEMENTS.name, source, value))
    return sent


# --- What is right, from the records alone -------------------------------------------------------------------------------------------


class Moved(NamedTuple):
    """A change of one place, or what a count found there."""

    at: datetime
    is_count: bool
    event_id: str
    quantity: float


@dataclass
class Atom:
    """What one thing adds to a figure: a visitor, a receipt, a line; where and when it belongs."""

    store: str
    local: datetime
    value: float
    weight: float = 1
    zone: str = ""
    sku: str = ""
    currency: str = ""


class Truth:
    """The figures of the simulated world, computed the plain way."""

    def __init__(self, sent: Sequence[Sent]) -> None:
        self.world = World(int((NOW + timedelta(days=1)).timestamp() * 1000))
        self.zones = {store: ZoneInfo(zone) for store, _, zone, _ in SHOPS}
        self.currencies = {store: currency for store, *_, currency in SHOPS}
        self.categories = {sku: category for sku, _, category in PRODUCTS_SOLD}
        self.places: defaultdict[tuple[str, str, str], list[Moved]] = defaultdict(list)
        self.coming: defaultdict[tuple[str, str, str], list[tuple[bool, float]]] = defaultdict(list)
        self.moves: list[tuple[str, dict[str, Any], datetime]] = []
        self.receipts: list[tuple[str, datetime, float]] = []
        for one in sent:
            self.world.take(one.topic, one.value)
            said = json.loads(one.value)
            if one.topic == STOCK_MOVEMENTS.name:
                self._movement(said)
            elif one.topic == TRANSACTIONS.name:
                at = datetime.fromisoformat(said["timestamp"])
                self.receipts.append((said["store_id"], at, float(said["basket_value"])))
                for line in said["lines"]:
                    quantity = float(line["quantity"])
                    sale = {"store_id": said["store_id"], "sku": line["sku"], "quantity": quantity}
                    self.moves.append(("SALE", sale, at))
                    self._change(said["store_id"], line["sku"], "SHELF", at, -quantity)
        for place in self.places.values():
            place.sort(key=lambda moved: (moved.at, moved.is_count, moved.event_id))

    def _movement(self, said: dict[str, Any]) -> None:
        store, sku, quantity, at = (
            *(said["store_id"], said["sku"], float(said["quantity"])),
            datetime.fromisoformat(said["timestamp"]),
        )
        location, kind = said.get("location", "SHELF"), said["kind"]
        self.moves.append((kind, {**said, "quantity": quantity}, at))
        match kind:
            case "COUNT":
                self.places[store, sku, location].append(Moved(at, True, said["event_id"], quantity))
            case "RECEIVE":
                self._change(store, sku, location, at, quantity)
                self.coming[store, sku, said["reference"]].append((False, quantity))
            case "FILL_SHELF":
                self._change(store, sku, "SHELF", at, quantity)
                self._change(store, sku, "BACKROOM", at, -quantity)
            case "WASTE":
                self._change(store, sku, location, at, -quantity)
            case "TRANSFER":
                self._change(store, sku, location, at, -quantity)
                self.coming[said["to_store_id"], sku, said["reference"]].append((True, quantity))

    def _change(self, store: str, sku: str, location: str, at: datetime, quantity: float) -> None:
        self.places[store, sku, location].append(Moved(at, False, "", quantity))

    def balance(self, store: str, sku: str, location: str, at: datetime) -> float:
        """What was last counted there, and all that moved since."""
        held = 0.0
        for moved in self.places[store, sku, location]:
            if moved.at <= at:
                held = moved.quantity if moved.is_count else held + moved.quantity
        return held

    def local(self, store: str, at: datetime) -> datetime:
        """A moment on a shop's clock."""
        return at.astimezone(self.zones[store])

    def _ms(self, store: str, ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, self.zones[store])

    def days(self) -> Iterator[tuple[str, Any]]:
        """Every shop's business days that have visits."""
        for store in self.zones:
            first = VISITS_SINCE - timedelta(days=1)
            for number in range(VISIT_DAYS + 2):
                yield store, self.world.day(store, first + timedelta(days=number))

    def atoms(self, measure: str) -> Iterator[Atom]:
        """What a figure is made of."""
        if measure in (
            "visitors",
            "conversion",
            "stay",
            "gave_up",
            "abandonment",
            "dwell",
            "zone_visits",
            "wait",
            "queue_max",
        ):
            for store, day in self.days():
                yield from self._of_day(measure, store, day)
        elif measure in ("revenue", "receipts", "basket"):
            for store, at, amount in self.receipts:
                currency = "" if measure == "receipts" else self.currencies[store]
                yield Atom(store, self.local(store, at), 1 if measure == "receipts" else amount, currency=currency)
        elif measure == "missing":
            for store, sku, _, at, difference in self.counted():
                yield Atom(store, self.local(store, at), -difference, sku=sku)
        else:
            kind = {"units": "SALE", "received": "RECEIVE", "wasted": "WASTE", "transferred": "TRANSFER"}[measure]
            for found, said, at in self.moves:
                if found == kind:
                    store = said["store_id"]
                    yield Atom(store, self.local(store, at), said["quantity"], sku=said["sku"])

    def _of_day(self, measure: str, store: str, day: Any) -> Iterator[Atom]:
        noon = datetime(day.day.year, day.day.month, day.day.day, 12, tzinfo=self.zones[store])
        if measure in ("visitors", "conversion", "stay"):
            for visit in day.visitors:
                first, last = min(e.at for e in visit.events), max(e.at for e in visit.events)
                value = {
                    "visitors": 1.0,
                    "conversion": float(visit.visitor_id in day.purchasers),
                    "stay": (last - first) / 60_000,
                }[measure]
                yield Atom(store, self._ms(store, first), value)
        elif measure == "gave_up":
            yield from (Atom(store, noon, 1) for _ in day.abandoned)
        elif measure == "abandonment":
            yield Atom(store, noon, len(day.abandoned), len(day.joined))
        elif measure == "queue_max":
            yield from (Atom(store, noon, depth) for _, depth in day.depths())
        else:
            for stay in day.all_stays:
                billing = day.calendar.is_billing(stay.zone_id)
                if measure != "wait" or billing:
                    value = 1 if measure == "zone_visits" else stay.dwell_ms / 1000
                    yield Atom(store, noon, value, zone=stay.zone_id)

    def counted(self) -> Iterator[tuple[str, str, str, datetime, float]]:
        """By how much each count, but the first of a place, differs from what was held until then."""
        for (store, sku, location), moved in self.places.items():
            held, known = 0.0, False
            for one in moved:
                if one.is_count:
                    if known:
                        yield store, sku, location, one.at, one.quantity - held
                    held, known = one.quantity, True
                else:
                    held += one.quantity

    def sold_out(self) -> Iterator[tuple[str, str, datetime]]:
        """Each moment at which the last of an article left a shop."""
        for store in self.zones:
            for sku in self.categories:
                both = [self.places[store, sku, location] for location in ("SHELF", "BACKROOM")]
                every = sorted(
                    ((m, n) for n in (0, 1) for m in both[n]), key=lambda x: (x[0].at, x[0].is_count, x[0].event_id)
                )
                held, before = [0.0, 0.0], 0.0
                for at, together in groupby(every, key=lambda x: x[0].at):
                    for moved, place in together:
                        held[place] = moved.quantity if moved.is_count else held[place] + moved.quantity
                    if before > 0 >= sum(held):
                        yield store, sku, at
                    before = sum(held)

    def listed(self, case: dict[str, Any]) -> set[tuple[Any, ...]]:
        """The rows of a list, by what tells them apart."""
        measure = case["measure"].removesuffix("_count")
        of_shop, of_sku = self._stores(case), self._skus(case)
        if measure == "sold_out":
            first, last = case["days"]
            return {
                (store, sku, at)
                for store, sku, at in self.sold_out()
                if store in of_shop and sku in of_sku and first <= self.local(store, at).date() <= last
            }
        if measure == "discrepancies":
            first, last = case["days"]
            return {
                (store, sku, location, at)
                for store, sku, location, at, difference in self.counted()
                if store in of_shop and sku in of_sku and difference and first <= self.local(store, at).date() <= last
            }
        rows = set()
        for store in of_shop:
            sales = [
                (said["sku"], said["quantity"], at)
                for kind, said, at in self.moves
                if kind == "SALE" and said["store_id"] == store
            ]
            span = min(28.0, max(1.0, (NOW - min(at for *_, at in sales)).total_seconds() / 86400))
            for sku in of_sku:
                shelf, back = (self.balance(store, sku, place, NOW) for place in ("SHELF", "BACKROOM"))
                a_day = (
                    max(
                        0.0,
                        sum(sold for article, sold, at in sales if article == sku and NOW - at <= timedelta(days=28)),
                    )
                    / span
                )
                gap = "COUNT" if min(shelf, back) < 0 else "" if shelf > 0 else "FILL_SHELF" if back > 0 else "ORDER"
                if {
                    "gaps": bool(gap) and case.get("action", gap) == gap,
                    "empty_shelf": shelf <= 0,
                    "out": shelf + back <= 0,
                    "low": shelf + back <= 0 or shelf + back < 2 * a_day,
                }[measure]:
                    rows.add((store, sku))
        return rows

    def balances(self, case: dict[str, Any]) -> Iterator[Atom]:
        """What is held, by shop and article."""
        for store in self._stores(case):
            at = datetime.fromisoformat(case["at"]).replace(tzinfo=self.zones[store]) if "at" in case else NOW
            for sku in self._skus(case):
                if case["measure"] == "in_transit":
                    value = 0.0
                    for (to, article, _), moved in self.coming.items():
                        if (to, article) == (store, sku) and any(sent for sent, _ in moved):
                            value += max(0.0, sum(q if sent else -q for sent, q in moved))
                else:
                    held = {place: self.balance(store, sku, place, at) for place in ("SHELF", "BACKROOM")}
                    value = {"shelf": held["SHELF"], "backroom": held["BACKROOM"]}.get(
                        case["measure"], sum(held.values())
                    )
                yield Atom(store, NOW, value, sku=sku)

    def queues(self, case: dict[str, Any]) -> Iterator[Atom]:
        """How many wait now."""
        newest = {store: day.depths()[-1][1] for store, day in self.days() if day.depths()}
        yield from (Atom(store, NOW, depth) for store, depth in newest.items() if store in self._stores(case))

    def _stores(self, case: dict[str, Any]) -> list[str]:
        wanted = case.get("shops")
        return [store for store, name, *_ in SHOPS if wanted is None or name.split()[0] in wanted]

    def _skus(self, case: dict[str, Any]) -> list[str]:
        category = case.get("category", "")
        return [s for s, c in self.categories.items() if s in case.get("skus", [s]) and c in (category or c)]

    def figures(self, case: dict[str, Any]) -> dict[tuple[str, ...], float]:
        """The figures of a question, by what it asks them by."""
        measure = case["measure"]
        if measure in ("on_hand", "shelf", "backroom", "in_transit"):
            kept = list(self.balances(case))
        elif measure == "queue_now":
            kept = list(self.queues(case))
        elif measure in ("low_count", "sold_out_count"):
            kept = [Atom(row[0], NOW, 1, sku=row[1]) for row in self.listed(case)]
        else:
            (first, last), hours = case["days"], case.get("hours", [0, 24])
            of_shop, of_sku = self._stores(case), self._skus(case)
            kept = [
                atom
                for atom in self.atoms(measure)
                if atom.store in of_shop
                and first <= atom.local.date() <= last
                and hours[0] <= atom.local.hour < hours[1]
                and (not atom.sku or atom.sku in of_sku)
                and ("zone" not in case or atom.zone == case["zone"])
            ]
        groups: defaultdict[tuple[str, ...], list[Atom]] = defaultdict(list)
        for atom in kept:
            groups[*self._key(atom, case.get("by")), *((atom.currency,) if atom.currency else ())].append(atom)
        return {key: _together(measure, atoms) for key, atoms in groups.items()}

    def _key(self, atom: Atom, by: str | None) -> tuple[str, ...]:
        match by:
            case None:
                return ()
            case "shop":
                return (atom.store,)
            case "day":
                return (atom.local.date().isoformat(),)
            case "weekday":
                return (str(atom.local.isoweekday()),)
            case "hour":
                return (str(atom.local.hour),)
            case "zone":
                return (atom.zone,)
            case "category":
                return (self.categories[atom.sku],)
        return (atom.sku,)


def _together(measure: str, atoms: Sequence[Atom]) -> float:
    if measure == "queue_max":
        return max(atom.value for atom in atoms)
    total = sum(atom.value for atom in atoms)
    if measure in ("conversion", "stay", "dwell", "basket", "wait", "abandonment"):
        weight = sum(atom.weight for atom in atoms)
        return total / weight if weight else 0.0
    return total


# --- Asking and judging --------------------------------------------------------------------------------------------------------------

DECIMALS = {"conversion": 4, "abandonment": 4, "stay": 1, "dwell": 1, "wait": 1, "basket": 2}
COLUMNS = {"shop": "store_id", "zone": "zone_id"}
LISTS = ("gaps", "empty_shelf", "low", "out", "sold_out", "discrepancies")


def wrong(case: dict[str, Any], found: Answer, truth: Truth) -> str:
    """What is wrong with an answer; empty if nothing is."""
    if case.get("refuse"):
        return "it should have been refused" if found.answered else ""
    if not found.answered:
        return f"refused: {found.reason}"
    if case["measure"] in LISTS:
        return _wrong_list(case, found, truth)
    value = truth.figures(case)
    names = [COLUMNS.get(case["by"], case["by"])] if case.get("by") else []
    if found.rows and "currency" in found.rows[0]:
        names.append("currency")
    try:
        rows = {tuple(str(row[name]) for name in names): float(row["value"] or 0) for row in found.rows}
    except KeyError as missing:
        return f"no column {missing}"
    if len(rows) != len(found.rows):
        return "rows that cannot be told apart"
    within = 0.51 * 10 ** -DECIMALS.get(case["measure"], 2)
    for key, figure in rows.items():
        if abs(figure - value.get(key, 0.0)) > within:
            return f"{'/'.join(key) or 'the figure'} is {value.get(key, 0.0):.4f}, not {figure}"
    count = case.get("top") or case.get("bottom")
    if count is None:
        missed = [key for key, figure in value.items() if key not in rows and abs(figure) > within]
        return f"no row for {missed[:3]}" if missed else ""
    by_currency: defaultdict[str, list[float]] = defaultdict(list)
    for key, figure in value.items():
        by_currency[key[-1] if "currency" in names else ""].append(figure)
    right = [f for found in by_currency.values() for f in sorted(found, reverse="top" in case)[:count]]
    same = len(right) == len(rows) and all(
        abs(a - b) <= within for a, b in zip(sorted(right), sorted(rows.values()), strict=True)
    )
    return "" if same else f"other rows are the {'largest' if 'top' in case else 'smallest'}: {right[:5]}"


def _wrong_list(case: dict[str, Any], found: Answer, truth: Truth) -> str:
    right = truth.listed(case)
    extra = {"sold_out": ["sold_out_at"], "discrepancies": ["location", "counted_at"]}.get(case["measure"], [])
    try:
        rows = [tuple(row[name] for name in ("store_id", "sku", *extra)) for row in found.rows]
    except KeyError as missing:
        return f"no column {missing}"
    if len(set(rows)) != len(rows):
        return "a row twice"
    if missing_rows := right - set(rows):
        return f"{len(missing_rows)} of {len(right)} rows are missing, such as {min(missing_rows, key=str)}"
    return f"{len(set(rows) - right)} rows too many" if set(rows) - right else ""


async def asked(
    settings: Settings, truth: Truth, cases: Sequence[dict[str, Any]]
) -> list[tuple[dict[str, Any], Answer, str]]:
    """Each question with its answer and what is wrong with it."""
    database = Database(settings)
    try:
        names = await Catalogue(database).names()
        return [
            (case, found, wrong(case, found, truth))
            for case in cases
            for found in [await answer(case["q"], Asker("benchmark"), names, database, None, NOW)]
        ]
    finally:
        database.close()


def caught_up(settings: Settings, group: str, topics: Sequence[str], check: Callable[[], None]) -> None:
    """Return when a group of workers has confirmed everything on its topics."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": group, "log_level": 0})
    places = [
        TopicPartition(settings.topic_prefix + name, n) for name in topics for n in range(settings.store_partitions)
    ]
    deadline, quiet = time.monotonic() + 900, 0
    try:
        while quiet < 3:
            check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the workers of {group} did not catch up")
            time.sleep(0.5)
            behind = 0
            for place in consumer.committed(places, timeout=20):
                end = consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=20)[1]
                behind += end - max(0, place.offset)
            quiet = quiet + 1 if behind == 0 else 0
    finally:
        consumer.close()


def publish(settings: Settings, sent: Sequence[Sent]) -> None:
    """Put everything on Kafka."""
    producer = kafka_producer(settings)
    for one in sent:
        produce(producer, settings.topic_prefix + one.topic, one.value, one.key)
        producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("Kafka did not take everything")


def with_measures(page: str) -> str:
    """A page with the table of what can be asked as it is now."""
    rows = ["| measure | means | by | for example |", "| --- | --- | --- | --- |"]
    for measure in MEASURES.values():
        example = measure.examples[0].format(shop="Leeds", sku="22423", category="milk")
        unit = f" ({measure.unit})" if measure.kind != "list" else ""
        rows.append(f"| {measure.title}{unit} | {measure.definition} | {', '.join(measure.dimensions)} | {example} |")
    head, rest = page.split("--measures` -->\n", 1)
    return f"{head}--measures` -->\n\n{chr(10).join(rows)}\n\n<!-- end{rest.split('<!-- end', 1)[1]}"


def main() -> None:
    """Ask, judge, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=[*SETS, "all"], default="all", help="which questions")
    parser.add_argument(
        "--show", action="store_true", help="print each wrong answer; never use it on those held out to improve"
    )
    parser.add_argument("--measures", action="store_true", help="only write the table of docs/questions.md anew")
    chosen = parser.parse_args()
    if chosen.measures:
        page = HERE.parent / "docs" / "questions.md"
        page.write_text(with_measures(page.read_text()))
        return
    sets = {
        name: yaml.safe_load((HERE / file).read_text()) for name, file in SETS.items() if chosen.only in (name, "all")
    }
    sent = records()
    truth = Truth(sent)
    rows: list[Sequence[Any]] = []
    with kafka_and_clickhouse() as settings:
        publish(settings, sent)
        with (
            Part(settings, "worker") as visits,
            Part(settings, "worker", "--derives", "stock", "--index", "1") as stock,
        ):
            caught_up(settings, settings.consumer_group, DERIVED_TOPICS, visits.check)
            caught_up(settings, settings.stock_group, STOCK_TOPICS, stock.check)
            for name, cases in sets.items():
                rows.append(_row(name, asyncio.run(asked(settings, truth, cases)), show=chosen.show))
    if len(rows) > 1:
        rows.append(
            (
                "all",
                *(sum(row[n] for row in rows) for n in range(1, 6)),
                round(_share(rows), 1),
                max(row[7] for row in rows),
            )
        )
    columns = (
        "questions",
        "number",
        "right",
        "refused though answerable",
        "wrong",
        "wrong without SQL",
        "right, %",
        "slowest, ms",
    )
    report("questions", ["rapidfuzz", "chdb-core"], columns, rows, records=len(sent))


def _share(rows: Sequence[Sequence[Any]]) -> float:
    return float(100 * sum(row[2] for row in rows) / sum(row[1] for row in rows))


def _row(name: str, results: Sequence[tuple[dict[str, Any], Answer, str]], *, show: bool) -> list[Any]:
    right = sum(1 for *_, fault in results if not fault)
    refused = sum(1 for _, found, fault in results if fault and not found.answered)
    blind = sum(1 for _, found, fault in results if fault and found.answered and not found.sql)
    if show:
        for case, found, fault in results:
            if fault:
                print(f"{case['q']}\n    {found.understood}\n    {fault}")
    counts = [len(results), right, refused, len(results) - right - refused, blind]
    return [name, *counts, round(100 * right / len(results), 1), max(found.took_ms for _, found, _ in results)]


if __name__ == "__main__":
    main()
