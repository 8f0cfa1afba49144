"""Cleaned lists as counts and receipts: what is summed, what is refused, and the whole way through a real Kafka."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from aisleflow.settings import Settings
from producers.publish import CONFIRM_EVERY, stock_records, transaction_records
from producers.stock.cleaning import Options, clean
from producers.stock.counts import Row, counts
from tests.producers.test_publish import consumed, kinds, run

LATEST_MS = 1_800_000_000_000
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def read(text: str, **options: Any) -> list[Row]:
    lines = enumerate(text.encode().splitlines(), 1)
    return list(counts(lines, **{"store": "S", "as_of": NOON, **options}))


def quantities(rows: list[Row]) -> dict[str, str]:
    return {one["sku"]: one["quantity"] for row in rows if row.movement for one in [orjson.loads(row.movement)]}


def test_an_article_is_the_sum_of_its_rows() -> None:
    rows = read("sku,location,quantity\nA,Aisle 1,5\nB,Aisle 1,1.5\nA,Aisle 2,7\n", location="BACKROOM")
    assert quantities(rows) == {"A": "12", "B": "1.5"}
    first = orjson.loads(rows[0].movement or b"")
    assert (first["timestamp"], first["kind"], first["location"]) == (
        "2026-03-03T12:00:00.000000Z",
        "COUNT",
        "BACKROOM",
    )
    assert rows == read("sku,location,quantity\nA,Aisle 1,5\nB,Aisle 1,1.5\nA,Aisle 2,7\n", location="BACKROOM")


def test_an_article_that_cannot_be_summed_is_refused_as_a_whole() -> None:
    rows = read("sku,quantity,unit\nA,5,\nA,,\nA,1,\nB,1,kg\nB,1,pcs\nC,many,\n,1,\nD,3,kg\nshort\n")
    assert quantities(rows) == {"D": "3"}
    assert [(row.line, row.field) for row in rows if row.movement is None] == [
        *((3, "quantity"), (6, "unit"), (7, "quantity"), (8, "sku"), (10, "")),
        *((2, "sku"), (4, "sku"), (5, "sku")),
    ]


def test_shops_and_times_of_the_file_go_before_those_of_the_command() -> None:
    text = "sku,gtin,store_id,quantity,counted_at\nA,,S1,1,2026-03-01T00:00:00Z\nA,,,2,\n,4006381333931,S1,3,\n"
    found = [orjson.loads(row.movement or b"") for row in read(text)]
    assert [(one["store_id"], one["sku"], one["timestamp"][:10]) for one in found] == [
        *(("S1", "A", "2026-03-01"), ("S", "A", "2026-03-03"), ("S1", "4006381333931", "2026-03-03"))
    ]
    assert len({one["event_id"] for one in found}) == 3


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("name,quantity\n", {}, "aisleflow clean"),
        ("sku,quantity\n", {"store": ""}, "--store"),
        ("sku,quantity\n", {"as_of": None}, "--as-of"),
        ("", {}, "aisleflow clean"),
    ],
)
def test_what_is_not_known_is_asked_for(text: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(text, **options)


def test_counts_are_held_to_the_contract() -> None:
    records = list(stock_records(io.BytesIO(b"sku,quantity\nA,-5\nB,1e12\nC,4\n"), LATEST_MS, "S", NOON))
    assert kinds(records) == ["refused", "refused", "sent"]
    assert records[2].key == "S"


SALES = """Invoice No;Stock Code;Description;Qty;Invoice Date;Unit Price (EUR)
1;A;Tea;2;25/04/2023 10:00;1,50
1;B;Milk;-1;25/04/2023 10:01;2,25
2;C;Bread;1;26/04/2023 09:00;
"""


def test_cleaned_sales_become_receipts_with_lines(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(SALES)
    clean(tmp_path / "sales.csv", tmp_path / "out.csv", tmp_path / "rejects.csv", Options(date(2026, 11, 21)))
    with (tmp_path / "out.csv").open("rb") as file:
        records = list(transaction_records(file, LATEST_MS, ZoneInfo("UTC"), "S"))
    assert kinds(records) == ["refused", "sent"]
    assert records[0].refusal is not None
    assert records[0].refusal.field == "unit_price"
    receipt = orjson.loads(records[1].value or b"")
    assert Decimal(receipt["basket_value"]) == Decimal("0.75")
    assert (receipt["currency"], receipt["timestamp"]) == ("EUR", "2023-04-25T10:00:00.000000Z")
    assert receipt["lines"] == [
        {"sku": "A", "quantity": "2", "unit_price": "1.50"},
        {"sku": "B", "quantity": "-1", "unit_price": "2.25"},
    ]


def test_from_a_messy_list_to_kafka(kafka: str, make_world: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_world(kafka, None)
    messy = tmp_path / "list.csv"
    messy.write_text("Item Code;Qty on hand\n" + "".join(f" A{n} ;two hundred\n" for n in range(30)) + "B;lots\n")
    clean(messy, tmp_path / "clean.csv", tmp_path / "rejects.csv", Options(date(2026, 11, 21)))
    arguments = ("stock", str(tmp_path / "clean.csv"), "--store", "ST1001", "--as-of", "2026-03-03T06:00:00Z")
    for _ in range(2):
        code, told = run(settings, *arguments)
        assert (code, "30 sent" in told, "1 refused" in told) == (1, True, True), told
    records = consumed(settings, "stock-movements")
    assert {key for key, _ in records} == {b"ST1001"}
    assert len(records) == 60
    assert len({orjson.loads(value)["event_id"] for _, value in records}) == 30
    assert {orjson.loads(value)["quantity"] for _, value in records} == {"200"}
    assert CONFIRM_EVERY > 30
    code, told = run(settings, *arguments[:-2])
    assert (code, "--as-of" in told) == (3, True)
