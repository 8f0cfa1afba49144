"""Where sales are: columns found by their usual names, files by their bytes, dates by what fits; and errors that say what to do."""

import gzip
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from forecasting.pipeline import sources
from forecasting.pipeline.sources import Source, SourceError, best, date_format, months, roles_of, sheet

NEEDED = {"product": (0, "sku"), "at": (0, "date"), "quantity": (0, "qty")}


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("postgresql://a@b/c", "postgresql"),
        ("postgres://b/c", "postgresql"),
        ("clickhouse", "clickhouse"),
        ("/a/b.csv", "csv"),
    ],
)
def test_the_address_says_what_it_is(address: str, kind: str) -> None:
    assert Source(address).kind == kind


def test_other_addresses_are_refused_and_passwords_are_not_told() -> None:
    with pytest.raises(SourceError, match="not from mysql://"):
        _ = Source("mysql://a/b").kind
    assert Source("postgresql://me:secret@db:5433/shop?password=secret").told == "postgresql://db:5433/shop"


def test_columns_are_found_by_their_usual_names_or_as_said() -> None:
    header = ["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "Country"]
    assert roles_of([header], {"store": "country"}, "f") == {
        "product": (0, "StockCode"),
        "at": (0, "InvoiceDate"),
        "quantity": (0, "Quantity"),
        "store": (0, "Country"),
        "price": (0, "UnitPrice"),
    }


def test_the_order_says_when_and_where_and_the_item_what() -> None:
    items = ["id", "order_id", "product_id", "quantity", "price", "created_at", "store_id"]
    orders = ["id", "created_at", "store_id", "price", "status"]
    roles = roles_of([items, orders], {}, "order_items and orders")
    assert roles["at"] == (1, "created_at") and roles["store"] == (1, "store_id")
    assert roles["product"] == (0, "product_id") and roles["price"] == (0, "price")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {},
            r"no column that is plainly the product \(product_id, .*it has when, qty: say which with --column product=NAME",
        ),
        ({"product": "nr"}, "has no column 'nr'; it has when, qty"),
        ({"colour": "when"}, "what a column can mean is product, at, quantity"),
    ],
)
def test_a_column_that_is_not_there_is_named(said: dict[str, str], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        roles_of([["when", "qty"]], said, "sales")


@pytest.mark.parametrize(
    ("content", "encoding", "delimiter"),
    [
        ("sku,date,qty\nä,2026-01-01,1\n".encode(), "UTF-8", ","),
        ("\ufeffsku;date;qty\nä;2026-01-01;1\n".encode(), "UTF-8", ";"),
        ("sku\tdate\tqty\nä\t2026-01-01\t1\n".encode("cp1252"), "windows-1252", "\t"),
        ("sku|date|qty\nä|2026-01-01|1\n".encode("utf-16"), "UTF-16", "|"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_files_form_is_found_out(tmp_path: Path, content: bytes, encoding: str, delimiter: str, packed: bool) -> None:
    path = tmp_path / ("sales.csv.gz" if packed else "sales.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    found = sheet(Source(str(path)))
    assert (found.encoding, found.delimiter) == (encoding, delimiter)
    assert found.roles == {role: name for role, (_, name) in NEEDED.items()}


@pytest.mark.parametrize(
    ("content", "said", "message"),
    [
        (b"", "", "is empty"),
        ("sku,date,qty\nä,1,1\n".encode("cp1252"), "utf-8", "is not utf-8: say what it is with --encoding"),
        (b"sku,date,qty\n", "klingon", "is not klingon"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, said: str, message: str) -> None:
    path = tmp_path / "sales.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        sheet(Source(str(path), encoding=said))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        sheet(Source(str(tmp_path / "none.csv")))


def test_dates_are_read_as_what_fits_best_and_asked_for_when_two_forms_do() -> None:
    assert date_format(best({"yyyy-MM-dd": 9, "dd/MM/yyyy": 0}), "date") == "yyyy-MM-dd"
    assert date_format(best({"dd/MM/yyyy": 9, "d/M/yyyy": 9, "MM/dd/yyyy": 4, "M/d/yyyy": 4}), "date") == "dd/MM/yyyy"
    with pytest.raises(SourceError, match="can be read as dd/MM/yyyy and as MM/dd/yyyy: say which with --date-format"):
        date_format(best({"dd/MM/yyyy": 9, "MM/dd/yyyy": 9}), "date")
    with pytest.raises(SourceError, match="no known form of dates"):
        date_format(best({"yyyy-MM-dd": 0}), "date")


def test_months_cover_each_day_once() -> None:
    pieces = months(date(2025, 12, 30), date(2026, 3, 1))
    assert pieces[0] == (date(2025, 12, 30), date(2026, 1, 1)) and pieces[-1] == (date(2026, 3, 1), date(2026, 3, 2))
    assert all(one[1] == other[0] for one, other in pairwise(pieces))


def test_the_login_is_apart_from_the_address() -> None:
    address = "postgresql://me:p%40ss@db.example:5433/shop?sslmode=require"
    assert sources._jdbc(address) == "jdbc:postgresql://db.example:5433/shop"
    assert sources._login(address) == {"user": "me", "password": "p@ss", "sslmode": "require"}
    with pytest.raises(SourceError, match="by network only"):
        sources._jdbc("postgresql:///shop?host=/var/run/postgresql")
