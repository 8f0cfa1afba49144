"""Many shops over many days as one stream of messages in sending order."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from datetime import date
from random import Random

from producers.simulator.backroom import Backroom
from producers.simulator.faults import NO_FAULTS, Faults, Message, send
from producers.simulator.shops import Shop
from producers.simulator.traffic import Rush, facts

# Staff come in up to half an hour before opening; nothing of a day is sent earlier than that.
_BEFORE_OPENING_MS = 1_800_000 + 1_000


def stream(
    shops: Sequence[Shop],
    days: Sequence[date],
    seed: int,
    *,
    faults: Faults = NO_FAULTS,
    rush: Rush | None = None,
    until_ms: int | None = None,
    stock: bool = False,
    history: Sequence[date] = (),
) -> Iterator[Message]:
    """Everything that these shops send about these business days (ascending), in sending order.

    With ``stock`` movements as well, and receipts hold what the shelves did; then ``history`` may name days of which only stock is
    told. The same arguments give the same messages. Days are made when they are reached: memory holds one day of each shop.
    """
    return heapq.merge(
        *(
            _of_shop(shop, days, seed, faults, rush, until_ms, Backroom(shop, seed) if stock else None, history)
            for shop in shops
        )
    )


def _of_shop(
    shop: Shop,
    days: Sequence[date],
    seed: int,
    faults: Faults,
    rush: Rush | None,
    until_ms: int | None,
    backroom: Backroom | None,
    history: Sequence[date],
) -> Iterator[Message]:
    # What is sent late may belong after what the next day sends first.
    held: list[Message] = []
    for day in sorted({*days, *history}):
        begins = shop.open_between(day)[0] - _BEFORE_OPENING_MS
        held.reverse()
        while held and held[-1].at_ms < begins:
            yield held.pop()
        rng = Random(f"faults {seed} {shop.store_id} {day}")  # noqa: S311 - a simulation, not a secret
        told = facts(shop, day, seed, rush=rush, until_ms=until_ms) if day in days else []
        if backroom is not None:
            told = backroom.day(day, told) if day in days else backroom.history(day)
        held = sorted(held + send(shop, told, faults if day in days else NO_FAULTS, rng))
    yield from held
