"""Till exports: both forms, every way they come, and no row lost in silence."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest

from producers.pos.csv_files import Row, receipts

REAL = Path(__file__).parents[2].parent / "shared/data/events/pos_ST1008_2026-04-10.csv"
HEADER = "store_id,transaction_id,timestamp,basket_value_inr"
LINES = "order_id,order_date,order_time,store_id,product_id,brand_name,total_amount"


def read(text: str | bytes, zone: str = "UTC") -> list[Row]:
    raw = text.encode() if isinstance(text, str) else text
    return list(receipts(enumerate(raw.splitlines(keepends=True), 1), ZoneInfo(zone)))


def good(text: str | bytes, zone: str = "UTC") -> list[dict[str, object]]:
    rows = read(text, zone)
    assert [row.reason for row in rows if row.receipt is None] == []
    return [orjson.loads(row.receipt or b"") for row in rows]


def test_the_real_export() -> None:
    if not REAL.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{REAL} must be there in CI")
        pytest.skip(f"{REAL} is not here")
    found = good(REAL.read_bytes())
    assert len(found) == 24
    assert sum(Decimal(str(one["basket_value"])) for one in found) == Decimal("34331.71")
    assert {one["currency"] for one in found} == {"INR"}


def test_receipts() -> None:
    assert good(f"{HEADER}\nS,T1,2026-04-10T12:15:05Z,1247.98\n") == [
        {
            "store_id": "S",
            "transaction_id": "T1",
            "timestamp": "2026-04-10T12:15:05Z",
            "basket_value": "1247.98",
            "currency": "INR",
            "payment_kind": None,
        }
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{HEADER}\r\n\r\nS,T1,2026-04-10T12:15:05Z,1.50\r\n\r\n",
        '"store_id","transaction_id","timestamp","basket_value_inr"\n"S","T1","2026-04-10T12:15:05Z","1.50"',
        " Store_ID , Transaction_ID ,Timestamp,BASKET_VALUE_INR\nS, T1 ,2026-04-10T12:15:05Z, 1.50 \n",
        "transaction_id,extra,basket_value_inr,timestamp,store_id\nT1,,1.50,2026-04-10T12:15:05Z,S\n",
    ],
)  # fmt: skip
def test_however_it_was_written(text: str) -> None:
    (receipt,) = good(text)
    assert (receipt["transaction_id"], receipt["basket_value"], receipt["currency"]) == ("T1", "1.50", "INR")


def test_the_currency_is_the_columns_suffix() -> None:
    assert good("store_id,transaction_id,timestamp,basket_value_eur\nS,T,t,1")[0]["currency"] == "EUR"
    assert good("store_id,transaction_id,timestamp,basket_value\nS,T,t,1")[0]["currency"] is None


@pytest.mark.parametrize(
    ("day", "clock", "zone", "expected"),
    [
        ("10-04-2026", "12:15:05", "UTC", "2026-04-10T12:15:05.000000Z"),
        ("10/04/2026", "12:15", "UTC", "2026-04-10T12:15:00.000000Z"),
        ("2026-04-10", "00:15:05", "Asia/Kolkata", "2026-04-09T18:45:05.000000Z"),
    ],
)
def test_local_times(day: str, clock: str, zone: str, expected: str) -> None:
    (receipt,) = good(f"{LINES}\nO1,{day},{clock},S,P1,Brand,9.99\n", zone)
    assert receipt["timestamp"] == expected


def test_lines_of_an_order_belong_together_wherever_they_stand() -> None:
    text = f"""{LINES}
O1,10-04-2026,12:15:05,S,P1,"Brand, Inc",9.99
O2,10-04-2026,12:16:00,S,P2,Brand,5
O1,10-04-2026,12:15:04,S,P3,Brand,0.01
O1,10-04-2026,12:17:00,S2,P3,Brand,7
"""
    first, second, third = good(text)
    assert first == {
        "store_id": "S",
        "transaction_id": "O1",
        "timestamp": "2026-04-10T12:15:04.000000Z",
        "basket_value": "10.00",
        "lines": [
            {"sku": "P1", "quantity": 1, "unit_price": "9.99"},
            {"sku": "P3", "quantity": 1, "unit_price": "0.01"},
        ],
    }
    assert [(one["store_id"], one["transaction_id"], one["basket_value"]) for one in (second, third)] == [
        ("S", "O2", "5"),
        ("S2", "O1", "7"),
    ]


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ("S,T1,2026-04-10T12:15:05Z,many", "basket_value_inr", "must be a number"),
        ("S,T1,2026-04-10T12:15:05Z,NaN", "basket_value_inr", "must be a number"),
        ("S,T1,2026-04-10T12:15:05Z", "", "has 3 fields where the header has 4"),
        ('S,"T1,2026-04-10T12:15:05Z,1', "", "is not CSV"),
        ("S,T\\xff,2026-04-10T12:15:05Z,1", "", "is not UTF-8"),
    ],
)
def test_a_bad_receipt_is_refused_alone(row: str, field: str, reason: str) -> None:
    raw = row.encode().replace(b"\\xff", b"\xff")
    before, bad, after = read(HEADER.encode() + b"\nS,T0,t,1\n" + raw + b"\nS,T2,t,1\n")
    assert before.receipt
    assert after.receipt
    assert (bad.line, bad.field, bad.receipt, bad.raw.strip()) == (3, field, None, raw)
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("O1,10-04-2026,12:16:00,S,P2,Brand,free", "total_amount"),
        ("O1,31-02-2026,12:16:00,S,P2,Brand,1", "order_date"),
        ("O1,10-04-2026,noon,S,P2,Brand,1", "order_time"),
        ("O1,10-04-2026,12:16:00,S,,Brand,1", "product_id"),
    ],
)
def test_an_order_with_a_bad_row_is_refused_as_a_whole(row: str, field: str) -> None:
    other = "O2,10-04-2026,12:15:05,S,P1,Brand,3"
    text = f"{LINES}\nO1,10-04-2026,12:15:05,S,P1,Brand,1\n{row}\nO1,10-04-2026,12:15:05,S,P3,Brand,1\n{other}\n"
    rows = read(text)
    refused = {found.line: (found.field, found.reason) for found in rows if found.receipt is None}
    assert refused.keys() == {2, 3, 4}
    assert refused[3][0] == field
    assert refused[2] == refused[4] == ("order_id", "line 3 of the same order was refused")
    assert [orjson.loads(found.receipt)["transaction_id"] for found in rows if found.receipt] == ["O2"]


@pytest.mark.parametrize(
    "text", ["", "a,b,c\n1,2,3\n", '"unclosed\n', "store_id,transaction_id,timestamp\nS,T,t\n", b"\xff\n"]
)
def test_another_header_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        read(text)
