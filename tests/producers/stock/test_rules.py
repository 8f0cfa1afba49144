"""Batches judge as the rules do: what is told by a look at the whole column is what each cell's rule says."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers.stock import cells, dates, gtin, numbers
from producers.stock.cells import Cell
from producers.stock.rules import Column
from producers.stock.schema import EARLIEST, INVENTORY, SALES, Field, assign, best_schema, header

TODAY = date(2026, 11, 21)
BERLIN = ZoneInfo("Europe/Berlin")
TIMES = st.one_of(
    st.datetimes().map(lambda moment: moment.replace(year=1975 + moment.year % 60, day=min(moment.day, 28))),
).flatmap(
    lambda moment: st.sampled_from(
        [
            *(
                moment.strftime(form)
                for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y")
            ),
            *(
                "2023-10-29 02:30:00",
                "2023-02-30 10:00:00",
                "31/02/2023 10:00:00",
                "2023-05-05T25:00:00Z",
                "x",
                "12/25/2023 10:00:00",
            ),
        ]
    )
)
AMOUNTS = st.one_of(
    st.sampled_from(
        [
            "0",
            "-0",
            "-1",
            "1.2340",
            "1.234",
            "1,5",
            "0.00",
            "007",
            "1e9",
            "99999999999999",
            "two",
            "NaN",
            " 5",
            "٣",
            "5\n",
        ]
    ),
    st.decimals(-2_000_000, 2_000_000, places=2).map(str),
)
DIGITS = st.one_of(
    st.sampled_from(["4006381333931", "36000291452", "4006381333932", "00000000", "x"]),
    st.text("0123456789", min_size=7, max_size=14),
)


def field(name: str, sales: bool = False) -> Field:
    found = (SALES if sales else INVENTORY).field(name)
    assert found is not None
    return found


def judged(of: Field, texts: list[str]) -> list[str | None]:
    column = Column("0", of.name, of)
    values = pl.Series("0", texts, pl.String)
    column.note(values)
    column.settle()
    return column.judge(values, TODAY, BERLIN).values.to_list()


@given(st.lists(TIMES, min_size=1, max_size=8))
def test_times(texts: list[str]) -> None:
    order = dates.orders(map(dates.evidence, texts))
    of = field("sold_at", sales=True)
    assert judged(of, texts) == [dates.instant(one, order, of.latest(TODAY), EARLIEST, BERLIN).value for one in texts]


@given(st.lists(DIGITS, min_size=1, max_size=8))
def test_gtins(texts: list[str]) -> None:
    assert judged(field("gtin"), texts) == [gtin.gtin(one).value for one in texts]


@example(["1.234", "-1.00"])
@given(st.lists(AMOUNTS, min_size=1, max_size=8))
def test_amounts(texts: list[str]) -> None:
    of = field("price")
    proven = {mark for one in texts if (mark := numbers.evidence(one))}

    def expected(cell: Cell) -> str | None:
        if cell.value is None or not 0.0001 <= float(cell.value) <= 1_000_000:
            return None
        return cell.value

    decimal = proven.pop() if len(proven) == 1 else ""
    assert judged(of, texts) == [expected(numbers.number(one, decimal)) for one in texts]


@given(
    st.lists(
        st.one_of(st.text(max_size=6), st.sampled_from(["nan", "NaN ", "a  b", "A b", "a b", "?"])),
        min_size=1,
        max_size=8,
    )
)
def test_texts(texts: list[str]) -> None:
    for value, one in zip(judged(field("name"), texts), texts, strict=True):
        alone = cells.text(one).value
        assert (value is None) == (alone is None)
        assert alone is None or (value or "").lower() == alone.lower()


@pytest.mark.parametrize(
    ("written", "words", "unit", "currency"),
    [
        ("Qty (pcs)", "qty", "pcs", ""),
        ("Unit Price (EUR)", "unit price", "", "EUR"),
        ("Price in EUR", "price", "", "EUR"),
        ("price_inr", "price", "", "INR"),
        ("Unit Price £", "unit price", "", "GBP"),
        ("Weight kg", "weight", "kg", ""),
        ("Qty_on_hand", "qty on hand", "", ""),
        ("Units", "units", "", ""),
    ],
)
def test_headers(written: str, words: str, unit: str, currency: str) -> None:
    found = header(written)
    assert (found.words, found.unit, found.currency) == (words, unit, currency)


def test_which_kind_of_file() -> None:
    assert (
        best_schema(["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"])
        is SALES
    )
    assert best_schema(["Product ID", "Product Name", "Quantity", "Price", "Last Restocked"]) is INVENTORY
    assert best_schema(["date", "item", "qty", "total"]) is SALES
    assert best_schema(["colour", "weight"]) is None


@pytest.mark.parametrize("schema", [INVENTORY, SALES], ids=lambda schema: schema.name)
def test_no_spelling_means_two_columns(schema: object) -> None:
    assert schema in (INVENTORY, SALES)
    fields = (INVENTORY if schema is INVENTORY else SALES).fields
    spelled = [one for of in fields for one in {of.name.replace("_", " "), *of.headers}]
    assert sorted(one for one in set(spelled) if spelled.count(one) > 1) == []
    for of in fields:
        for one in of.headers:
            assert assign(INVENTORY if schema is INVENTORY else SALES, [one.title()])[0] is of
