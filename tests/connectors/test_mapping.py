"""The language of mappings: each way to a field, and what becomes of a record that lacks one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.mapping import Map, Value
from connectors.rest import render
from schemas.reading import Refusal

LATEST_MS = 1_900_000_000_000
MOVEMENT = {
    "to": "stock-movements",
    "identity": ["name"],
    "fields": {
        "store_id": {"path": "warehouse", "lookup": "shops"},
        "timestamp": {
            "path": ["posting_date", "posting_time"],
            "time": "%Y-%m-%d %H:%M:%S.%f",
            "zone": "Asia/Kolkata",
        },
        "sku": "item_code",
        "quantity": {"path": "actual_qty", "absolute": True},
        "reference": "voucher_no",
    },
    "cases": [
        {"when": "is_cancelled == `1`", "skip": True},
        {"when": "voucher_type == 'Purchase Receipt'", "fields": {"kind": {"const": "RECEIVE"}}},
        {"when": "actual_qty < `0`", "fields": {"kind": {"const": "SALE"}}},
    ],
}
ENTRY = {
    "name": "SLE-1",
    "warehouse": "Stores - BLR",
    "posting_date": "2026-03-03",
    "posting_time": "19:52:10.250000",
    "item_code": 22423,
    "actual_qty": -3.5,
    "voucher_type": "Sales Invoice",
    "voucher_no": "INV-7",
    "is_cancelled": 0,
}
SHOPS = {"shops": {"Stores - BLR": "ST1"}}


def facts(record: Any, **changes: Any) -> list[dict[str, Any]] | Refusal:
    found = Map.model_validate({**MOVEMENT, **changes}).facts(record, "erp\nledger", SHOPS, LATEST_MS)
    return found if isinstance(found, Refusal) else [orjson.loads(fact.value) for fact in found]


def test_an_entry_of_a_ledger_becomes_a_movement() -> None:
    assert facts(ENTRY) == [
        {
            "event_id": "33dff030-eadd-5f81-b5cc-b33599af9591",
            "store_id": "ST1",
            "timestamp": "2026-03-03T14:22:10.250000Z",
            "sku": "22423",
            "quantity": "3.5",
            "reference": "INV-7",
            "kind": "SALE",
        }
    ]


def test_the_first_case_that_holds_counts() -> None:
    assert facts({**ENTRY, "is_cancelled": 1}) == []
    received = facts({**ENTRY, "voucher_type": "Purchase Receipt", "actual_qty": 12})
    assert isinstance(received, list)
    assert (received[0]["kind"], received[0]["quantity"]) == ("RECEIVE", "12")


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"warehouse": "Elsewhere"}, "store_id", "the lookup 'shops' does not know 'Elsewhere'"),
        ({"posting_time": "later"}, "timestamp", "is no time"),
        ({"posting_time": None}, "timestamp", "required"),
        ({"item_code": False}, "sku", "required"),  # Odoo's empty
        ({"actual_qty": "many", "voucher_type": "Purchase Receipt"}, "quantity", "is no number"),
        ({"voucher_type": "?", "actual_qty": 1}, "kind", "required"),
        ({"name": ""}, "name", "is missing"),
        ({"posting_date": "2199-01-01"}, "timestamp", "future"),
        ({"item_code": "a\nb"}, "sku", "pattern"),
    ],
)
def test_what_a_record_lacks_is_said(change: dict[str, Any], field: str, reason: str) -> None:
    refusal = facts({**ENTRY, **change})
    assert isinstance(refusal, Refusal)
    assert refusal.field == field
    assert reason in refusal.reason.lower() or reason in refusal.reason


def test_the_same_identity_is_the_same_fact_and_another_is_another() -> None:
    def id_of(record: dict[str, Any], origin: str = "erp\nledger", **changes: Any) -> str:
        found = Map.model_validate({**MOVEMENT, **changes}).facts(record, origin, SHOPS, LATEST_MS)
        assert isinstance(found, list)
        return str(orjson.loads(found[0].value)["event_id"])

    assert id_of(ENTRY) == id_of({**ENTRY, "actual_qty": -9})
    assert len({id_of(ENTRY), id_of({**ENTRY, "name": "SLE-2"}), id_of(ENTRY, "erp\nother")}) == 3
    assert id_of(ENTRY, identity=["name", "actual_qty"]) != id_of(
        {**ENTRY, "actual_qty": -9}, identity=["name", "actual_qty"]
    )


def test_each_element_is_a_fact_of_its_own() -> None:
    found = facts(
        {"name": "TR-1", "at": 1_772_547_730, "items": [{"code": "A", "qty": 1}, {"code": "A", "qty": 2}]},
        each="items",
        identity=["parent.name"],
        cases=[],
        fields={
            "store_id": {"const": "ST1"},
            "timestamp": {"path": "parent.at", "time": "epoch_s"},
            "kind": {"const": "WASTE"},
            "sku": "code",
            "quantity": "qty",
        },
    )
    assert isinstance(found, list)
    assert [one["quantity"] for one in found] == ["1", "2"]
    assert len({one["event_id"] for one in found}) == 2
    assert found[0]["timestamp"] == "2026-03-03T14:22:10Z"


def test_lines_of_a_receipt() -> None:
    found = Map.model_validate(
        {
            "to": "transactions",
            "identity": ["no"],
            "fields": {
                "store_id": {"const": "ST1"},
                "transaction_id": "no",
                "timestamp": {"path": "at", "time": "iso"},
                "basket_value": {"path": "Grand Total", "decimal": ","},
                "lines": {"each": "rows", "fields": {"sku": "sku", "quantity": "n", "unit_price": "price"}},
            },
        }
    ).facts(
        {
            "no": 17,
            "at": "2026-03-03 14:00",
            "Grand Total": "1.234,50",
            "rows": [{"sku": "A", "n": "2", "price": "617.25"}],
        },
        "till\nsales",
        {},
        LATEST_MS,
    )
    assert isinstance(found, list)
    assert orjson.loads(found[0].value) == {
        "store_id": "ST1",
        "transaction_id": "17",
        "timestamp": "2026-03-03T14:00:00Z",
        "basket_value": "1234.50",
        "lines": [{"sku": "A", "quantity": "2", "unit_price": "617.25"}],
    }


@pytest.mark.parametrize(
    "value", [{}, {"path": "a", "const": 1}, {"each": "a"}, {"path": "a", "zone": "Mars"}, {"path": "a", "tiem": "iso"}]
)
def test_a_mapping_that_cannot_be_meant_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Value.model_validate(value)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(-(10**9), 10**9))
def test_numbers_keep_their_value(number: float, whole: int) -> None:
    assert float(str(Value.model_validate({"path": "n", "scale": 1}).of({"n": number}, {}))) == number
    assert int(Value.model_validate({"path": "n", "scale": "-1"}).of({"n": whole}, {})) == -whole


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(ENTRY, json_values)))
def test_any_record_is_a_fact_or_refused(record: dict[str, Any]) -> None:
    found = facts({**ENTRY, **record})
    assert isinstance(found, (list, Refusal))


def test_templates_of_requests() -> None:
    template = {
        "supplier": "${supplier_id}",
        "title": "Order ${order_id} of ${store_id}",
        "company": {"$value": {"path": "store_id", "lookup": "companies"}},
        "schedule_date": {"$value": {"path": "at", "time": "iso", "write": "%d.%m.%Y", "zone": "Asia/Kolkata"}},
        "items": {
            "$each": "lines",
            "item": {"code": "${sku}", "qty": {"$value": {"path": "n", "as_number": True}}, "of": "${parent.order_id}"},
        },
    }
    order = {
        "order_id": "PO-1",
        "store_id": "ST1",
        "supplier_id": 7,
        "at": "2026-03-03T20:00:00Z",
        "lines": [{"sku": "A", "n": "2.5"}],
    }
    assert render(template, order, {"companies": {"ST1": "Shop Ltd"}}) == {
        "supplier": 7,
        "title": "Order PO-1 of ST1",
        "company": "Shop Ltd",
        "schedule_date": "04.03.2026",
        "items": [{"code": "A", "qty": 2.5, "of": "PO-1"}],
    }
    with pytest.raises(ValueError, match="nothing at"):
        render("x ${missing}", order, {})
