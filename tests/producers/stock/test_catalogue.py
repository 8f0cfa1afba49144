"""Lists of articles as the catalogue: what is taken, what is said twice, what is refused."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import orjson
import pytest

from producers.publish import Record, product_records
from producers.stock.catalogue import products
from schemas.events import Product

LATEST_MS = 1_800_000_000_000
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def read(text: str) -> list[Record]:
    return list(product_records(io.BytesIO(text.encode()), LATEST_MS, NOON))


def test_a_row_is_an_article() -> None:
    rows = read('sku,name,price,category,pack_count,unit\nA,"Milk, whole",1.10,Dairy,6,pcs\nB,Nuts,,,,kg\n')
    found = [Product.model_validate_json(row.value or b"") for row in rows]
    assert [(one.sku, one.name, one.category, one.pack, one.unit) for one in found] == [
        ("A", "Milk, whole", "Dairy", 6, "pcs"),
        ("B", "Nuts", "", 1, "kg"),
    ]
    assert [row.key for row in rows] == ["A", "B"]
    assert {one.timestamp for one in found} == {NOON}


def test_without_a_sku_the_gtin_names_it() -> None:
    (row,) = read("gtin,name\n4006381333931,Pencil\n")
    assert row.key == "4006381333931"
    assert orjson.loads(row.value or b"")["gtin"] == "4006381333931"


def test_what_is_said_twice_counts_once_and_what_differs_is_refused() -> None:
    rows = read("sku,name,aisle\nA,Milk,1\nA,Milk,2\nA,Cream,3\n,Nothing,4\nB\nC,Tea,5\nD,Salt,6,7\n")
    assert [(row.line, row.value is not None, row.refusal and row.refusal.field) for row in rows] == [
        (2, True, None),
        (3, False, None),
        (4, False, "sku"),
        (5, False, "sku"),
        (6, False, ""),
        (7, True, None),
        (8, False, ""),
    ]


def test_what_the_contract_refuses_is_told_by_its_field() -> None:
    rows = read("sku,gtin,pack\nA,12x,\nB,,0\nC,,many\n")
    assert [row.refusal and row.refusal.field for row in rows] == ["gtin", "pack", "pack"]


def test_a_list_of_something_else_is_refused_as_a_whole() -> None:
    with pytest.raises(ValueError, match="sku or gtin"):
        list(products([(1, b"name,colour"), (2, b"Milk,white")], NOON))
