"""A simulation as files: what was sent, byte for byte, and what every answer must be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from producers.simulator.answers import World
from producers.simulator.catalogue import entries
from producers.simulator.faults import Faults
from producers.simulator.shops import layouts, make_shops
from producers.simulator.stream import stream
from schemas.topics import ORDERS, PRODUCTS, STOCK_MOVEMENTS, STORE_LAYOUTS, TRANSACTIONS, VISIT_EVENTS

# Long before any simulated day, so that it holds for all of them.
LAYOUTS_MADE = datetime(2020, 1, 1, tzinfo=UTC)
FILES = {
    VISIT_EVENTS.name: "events.jsonl",
    TRANSACTIONS.name: "transactions.jsonl",
    STORE_LAYOUTS.name: "layouts.jsonl",
    STOCK_MOVEMENTS.name: "movements.jsonl",
    ORDERS.name: "orders.jsonl",
    PRODUCTS.name: "products.jsonl",
}


@dataclass(frozen=True)
class Written:
    """How many records were written (malformed ones and duplicates included), and how long making them took."""

    events: int
    transactions: int
    movements: int
    seconds: float


def write(out: Path, shops: int, days: Sequence[date], seed: int, faults: Faults, *, answers: bool = True) -> Written:
    """Simulate into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    places = make_shops(shops, seed)
    counts: Counter[str] = Counter()
    began = time.perf_counter()
    with ExitStack() as stack:
        sent = (VISIT_EVENTS.name, TRANSACTIONS.name, STOCK_MOVEMENTS.name, ORDERS.name)
        open_files = {topic: stack.enter_context((out / FILES[topic]).open("wb")) for topic in sent}
        for message in stream(places, days, seed, faults=faults, stock=True):
            counts[message.topic] += 1
            open_files[message.topic].write(message.value + b"\n")
    seconds = time.perf_counter() - began
    with (out / FILES[PRODUCTS.name]).open("wb") as file:
        file.writelines(product + b"\n" for _, product in entries(LAYOUTS_MADE))
    with (out / FILES[STORE_LAYOUTS.name]).open("wb") as file:
        file.writelines(layout + b"\n" for _, layout in layouts(places, LAYOUTS_MADE))
    if answers:
        (out / "answers.json").write_bytes(true_answers(read(out), [shop.store_id for shop in places]))
    return Written(counts[VISIT_EVENTS.name], counts[TRANSACTIONS.name], counts[STOCK_MOVEMENTS.name], seconds)


def read(out: Path) -> Iterable[tuple[str, bytes]]:
    """(topic, bytes) of every record in the folder, each topic in sending order."""
    for topic, name in FILES.items():
        with (out / name).open("rb") as file:
            for line in file:
                yield topic, line.rstrip(b"\n")


def true_answers(records: Iterable[tuple[str, bytes]], store_ids: Sequence[str]) -> bytes:
    """answers.json: for every store what is open at its newest fact, and for each business day its three answers."""
    world = World(int(time.time() * 1000) + 86_400_000)
    for topic, value in records:
        world.take(topic, value)
    stores: dict[str, Any] = {
        store_id: {
            "anomalies": world.anomalies(store_id),
            "days": {
                str(day): {
                    "metrics": world.metrics(store_id, day),
                    "funnel": world.funnel(store_id, day),
                    "heatmap": world.heatmap(store_id, day),
                }
                for day in world.days(store_id)
            },
        }
        for store_id in store_ids
    }
    answers = {"stores": stores, "refused": world.refused, "duplicates": world.duplicates}
    return orjson.dumps(answers, default=str, option=orjson.OPT_INDENT_2)
