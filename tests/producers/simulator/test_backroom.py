"""Stock of simulated shops: receipts and shelves agree, only counts find what nobody wrote down, and there is always some."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from producers.simulator import backroom
from producers.simulator.backroom import Backroom
from producers.simulator.catalogue import articles, entries
from producers.simulator.faults import Message
from producers.simulator.shops import make_shops
from producers.simulator.stream import stream
from schemas.events import Order, Product
from schemas.reading import Refusal, read_stock_movement, read_transaction
from schemas.topics import ORDERS, STOCK_MOVEMENTS, TRANSACTIONS
from stream_processors.stock.derivation import movement_of, sales_of
from stream_processors.stock.ledger import STEP, Discrepancy, Movement, Position, derive

FIRST = date(2026, 3, 2)
HISTORY = [FIRST + timedelta(days=n) for n in range(8)]
DAYS = [FIRST + timedelta(days=8)]
LATEST_MS = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000)
(SHOP,) = make_shops(1, 7)


def told() -> list[Message]:
    return list(stream([SHOP], DAYS, 7, stock=True, history=HISTORY))


def ledger(messages: list[Message]) -> dict[str, tuple[Position, list[Discrepancy]]]:
    by_sku: defaultdict[str, list[Movement]] = defaultdict(list)
    for message in messages:
        if message.topic == STOCK_MOVEMENTS.name:
            event = read_stock_movement(message.value, LATEST_MS)
            assert not isinstance(event, Refusal), message.value
            by_sku[event.sku].append(movement_of(event, 0))
        elif message.topic == TRANSACTIONS.name:
            receipt = read_transaction(message.value, LATEST_MS)
            assert not isinstance(receipt, Refusal), message.value
            for sale in sales_of(receipt):
                by_sku[sale.sku].append(sale)
    return {sku: derive(movements) for sku, movements in by_sku.items()}


def test_what_is_written_down_is_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without theft, unscanned fills and mistyped counts no count disagrees, and the ledger ends with what there really is."""
    for name in ("UNSCANNED", "STOLEN", "MISTYPED"):
        monkeypatch.setattr(backroom, name, 0.0)
    shop = Backroom(SHOP, 7)
    facts = [fact for day in HISTORY for fact in shop.history(day)]
    found = ledger([Message(fact.at_ms, fact.topic, SHOP.store_id, fact.value) for fact in facts])
    assert {
        sku: [position.shelf // STEP, position.backroom // STEP] for sku, (position, _) in found.items()
    } == shop.stock
    assert all(one.difference == 0 for _, differences in found.values() for one in differences)
    found = ledger(told())
    assert all(one.difference == 0 for _, differences in found.values() for one in differences)


def test_counts_find_what_nobody_wrote_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backroom, "STOLEN", 2.0)
    found = ledger(told())
    differences = [one.difference for _, each in found.values() for one in each]
    assert sum(difference < 0 for difference in differences) > 5


def test_receipts_hold_what_the_shelves_did_and_add_up() -> None:
    receipts = [orjson.loads(message.value) for message in told() if message.topic == TRANSACTIONS.name]
    assert len(receipts) > 20
    for receipt in receipts:
        if receipt["lines"]:
            assert Decimal(receipt["basket_value"]) == sum(
                Decimal(line["unit_price"]) * line["quantity"] for line in receipt["lines"]
            )
    known = {article.sku for article in articles()}
    assert {line["sku"] for receipt in receipts for line in receipt["lines"]} <= known


def test_movements_of_every_common_kind_in_sending_order() -> None:
    messages = told()
    assert [message.at_ms for message in messages] == sorted(message.at_ms for message in messages)
    assert messages == told()
    kinds = Counter(
        orjson.loads(message.value)["kind"] for message in messages if message.topic == STOCK_MOVEMENTS.name
    )
    assert {"COUNT", "RECEIVE", "FILL_SHELF", "SALE", "WASTE"} <= kinds.keys()
    assert not [message for message in stream([SHOP], DAYS, 7) if message.topic == STOCK_MOVEMENTS.name]


def test_the_catalogue_names_every_article_once() -> None:
    products = [Product.model_validate_json(value) for _, value in entries(datetime(2026, 3, 1, tzinfo=UTC))]
    assert [one.sku for one in products] == [article.sku for article in articles()]
    assert len({one.name for one in products}) == len({one.gtin for one in products}) == len(products)
    assert all(one.name and one.category and one.pack >= 1 for one in products)
    assert sum(article.share for article in articles()) == pytest.approx(1)


def test_what_arrives_was_ordered_for_that_morning() -> None:
    """Each delivery is a line of an order placed the day before, whole, and not before it is due."""
    ordered: dict[tuple[str, str], tuple[Decimal, datetime]] = {}
    arrived = 0
    for message in told():
        if message.topic == ORDERS.name:
            order = Order.model_validate_json(message.value)
            assert order.expected_at is not None
            for line in order.lines:
                ordered[order.order_id, line.sku] = line.quantity, order.expected_at
        elif message.topic == STOCK_MOVEMENTS.name:
            movement = orjson.loads(message.value)
            if movement["kind"] == "RECEIVE":
                quantity, due = ordered.pop((movement["reference"], movement["sku"]))
                assert movement["quantity"] == quantity
                assert timedelta(0) <= datetime.fromisoformat(movement["timestamp"]) - due < timedelta(minutes=1)
                arrived += 1
    assert arrived > 50
    assert {order_id for order_id, _ in ordered} <= {f"PO-{DAYS[-1]:%y%m%d}"}  # what has not come is due tomorrow
