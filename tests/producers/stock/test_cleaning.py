"""Whole files: what each fault becomes, that nothing is invented or lost, and that cleaning the cleaned changes nothing."""

from __future__ import annotations

import base64
import csv
import io
import re
import tempfile
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from aisleflow.cli import app
from producers.stock import duplicates, reading
from producers.stock.cleaning import DOUBTED, DUPLICATE, EMPTIED, NO_PRODUCT, REFUSED, Options, Summary, clean

TODAY = date(2026, 11, 21)
OPTIONS = Options(TODAY)


class Cleaned:
    """A text, cleaned: ``rows`` and ``rejects`` as dictionaries, ``bytes`` of the output."""

    def __init__(self, content: bytes | str, options: Options = OPTIONS, suffix: str = ".csv") -> None:
        with tempfile.TemporaryDirectory() as folder:
            source, out, rejects = (Path(folder) / name for name in (f"in{suffix}", "out.csv", "rejects.csv"))
            source.write_bytes(content.encode() if isinstance(content, str) else content)
            self.summary: Summary = clean(source, out, rejects, options)
            self.bytes = out.read_bytes()
            self.rows = list(csv.DictReader(io.StringIO(self.bytes.decode(), newline="")))
            self.rejects = list(csv.DictReader(io.StringIO(rejects.read_text(), newline="")))

    def column(self, name: str) -> list[str]:
        return [row[name] for row in self.rows]

    def reasons(self, what: str = EMPTIED) -> list[tuple[int, str, str, str]]:
        return [
            (int(one["line"]), one["column"], one["original"], one["reason"])
            for one in self.rejects
            if one["what"] == what
        ]


SMALL = "sku,name,qty,price\nA1, tea ,5,2.50\nA2,Tea,two hundred,$3\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_delimiters_and_ends_of_lines(encoding: str, delimiter: str, end: str) -> None:
    text = delimiter.join(("Product ID", "Product Name", "Qty (pcs)")) + "\n"
    text += delimiter.join(("1", "Café crème", "12")) + "\n" + delimiter.join(("2", "Müsli", "3")) + "\n"
    found = Cleaned(text.replace("\n", end).encode(encoding))
    assert found.column("name") == ["Café crème", "Müsli"]
    assert found.column("quantity") == ["12", "3"]
    assert found.column("unit") == ["pcs", "pcs"]


def test_header_synonyms_and_other_columns() -> None:
    found = Cleaned(
        "Inventory of May\n\nEAN;Artikel Nr;QTY on hand;Unit Price (EUR);Colour\n4006381333931;7;5;9,99; red \n"
    )
    assert found.bytes == b"sku,gtin,quantity,price,currency,Colour\n7,4006381333931,5,9.99,EUR,red\n"
    assert [(one["line"], one["reason"]) for one in found.rejects] == [("1", "stands before the header")]


def test_the_column_decides_what_a_cell_cannot() -> None:
    """The same cell, 1.234, is read in three ways: each by what else its column holds."""
    for other, value in (("9,99", "1234"), ("9.99", "1.2340"), ("7", "")):
        found = Cleaned(f"sku;qty\nA;1.234\nB;{other}\n")
        assert found.column("quantity")[0] == value
    assert found.reasons() == [(2, "quantity", "1.234", "can be read in two ways, and the column does not tell which")]
    both = Cleaned('sku;price;qty\nA;"1.234,50";1\nB;"1,234.50";1\nC;1.234;1\n')
    assert both.column("price") == ["1234.50", "1234.50", ""]


def test_five_forms_of_a_date_in_one_column() -> None:
    forms = ["2023-12-25", "25/12/2023", "04/03/2023", "25 Dec 2023", "Dec 25, 2023", "25.12.23"]
    found = Cleaned("sku,qty,last restocked\n" + "".join(f'{n},1,"{one}"\n' for n, one in enumerate(forms)))
    assert found.column("last_restocked") == ["2023-12-25", "2023-12-25", "2023-03-04", *["2023-12-25"] * 3]
    untold = Cleaned("sku,qty,last restocked\n1,1,04/03/2023\n2,1,05/05/2023\n")
    assert untold.column("last_restocked") == ["", "2023-05-05"]
    assert untold.reasons()[0][:3] == (2, "last_restocked", "04/03/2023")


def test_impossible_values() -> None:
    found = Cleaned(
        "sku,qty,price,last restocked\nA,-5,0,2027-05-01\nB,1,99999999,1900-01-01\nC,2,-1,2023-02-30\nD,,1,\n"
    )
    assert found.rows[0] == {"sku": "A", "quantity": "", "price": "", "last_restocked": ""}
    assert [(line, name, reason) for line, name, _, reason in found.reasons()] == [
        (2, "last_restocked", "is in the future"),
        (2, "price", "a price of 0 or below"),
        (2, "quantity", "is negative"),
        (3, "last_restocked", "is before 1980, a spreadsheet's or program's zero"),
        (3, "price", "is above 1,000,000"),
        (4, "last_restocked", "no such date"),
        (4, "price", "a price of 0 or below"),
        (5, "quantity", "is empty"),
    ]


def test_returns_and_corrections_of_a_till_stay() -> None:
    found = Cleaned(
        "invoice no,sku,qty,unit price,invoice date\nC1,A,-5,2.50,2023-01-01 10:00\n2,B,1,0,2023-01-01 10:00\n3,C,1,-9,\n"
    )
    assert found.summary.schema.name == "sales"
    assert found.column("quantity") == ["-5", "1", "1"]
    assert found.column("unit_price") == ["2.50", "0", "-9"]
    assert [one[:2] for one in found.reasons(DOUBTED)] == [(3, "unit_price"), (4, "unit_price")]


def test_records_that_are_none() -> None:
    content = (
        b'sku,name,qty\nA,"two\nlines",1\n\nB,x\nC,5" pipe,2\nD,"never closed,3\nE,fine,4\n,,5\nF,a,1,,\nG,b,1,2\n'
    )
    found = Cleaned(content)
    assert [(row["sku"], row["name"]) for row in found.rows] == [
        *(("A", "two lines"), ("C", '5" pipe'), ("D", '"never closed'), ("E", "fine"), ("F", "a"))
    ]
    refused = {
        int(one["line"]): (one["reason"], base64.b64decode(one["record_base64"]))
        for one in found.rejects
        if one["what"] == REFUSED
    }
    assert refused == {
        5: ("has 2 fields where the header has 3", b"B,x"),
        9: (NO_PRODUCT, b",,5"),
        11: ("has 4 fields where the header has 3", b"G,b,1,2"),
    }


def test_bytes_that_are_not_in_the_encoding() -> None:
    found = Cleaned("sku,name,qty\nA,Café,1\nB,Müsli,1\nC,Crème,1\n".encode() + b"D,\xff\xfe,1\nE,tea,1\n")
    assert found.column("sku") == ["A", "B", "C", "E"]
    assert [(one["line"], one["reason"], base64.b64decode(one["record_base64"])) for one in found.rejects] == [
        ("5", "has bytes that are not UTF-8", b"D,\xff\xfe,1")
    ]


def test_duplicates_and_the_rule_that_chose() -> None:
    text = (
        "sku,name,warehouse,qty,last restocked,supplier\n"
        "A,Green tea,W1,5,2023-01-13,S\n"
        "A,Green tea,W1,5,2023-01-13,S\n"
        "A, green  tea,W1,five,13/01/2023,S\n"
        'A,"tea, GREEN",w1,5,2023-01-13,\n'
        "A,Green tea,W1,7,2023-03-01,S\n"
        "A,Green tea,W2,5,2023-01-13,S\n"
        "B,Milk,W1,5,2023-01-13,S\n"
        "B,Milk,W1,9,2023-01-13,S\n"
        "C,Milk,W1,5,,\n"
        "C,Milk,W1,5,,S\n"
    )
    found = Cleaned(text)
    assert [(row["sku"], row["warehouse"], row["quantity"], row["supplier"]) for row in found.rows] == [
        *(
            ("A", "W1", "7", "S"),
            ("A", "W2", "5", "S"),
            ("B", "W1", "5", "S"),
            ("B", "W1", "9", "S"),
            ("C", "W1", "5", "S"),
        )
    ]
    gone = {int(one["line"]): (one["reason"], one["stays"]) for one in found.rejects if one["what"] == DUPLICATE}
    assert gone == {
        2: (duplicates.OLDER, "6"),
        3: (duplicates.EXACT, "2"),
        4: (duplicates.CLEANED, "2"),
        5: (duplicates.OLDER, "6"),
        10: (duplicates.NEAR, "11"),
    }
    assert [(one["line"], one["stays"]) for one in found.rejects if one["what"] == DOUBTED] == [("9", "8")]
    assert (found.summary.products, found.summary.repeated_products) == (3, 7)
    kept = Cleaned(text, Options(TODAY, keep_duplicates=True))
    assert len(kept.rows) == 10


def test_what_most_cells_say_is_the_spelling() -> None:
    found = Cleaned("sku,category,qty\n1,Dairy,1\n2,dairy,1\n3,DAIRY ,1\n4,Dairy,1\n5,USB,1\n")
    assert found.column("category") == ["Dairy", "Dairy", "Dairy", "Dairy", "USB"]


def test_units_and_packs() -> None:
    found = Cleaned("sku,qty,uom\n1,500,g\n2,2,kg\n3,3,box\n4,4,\n5,1 lb,\n6,5 kg,pcs\n")
    assert found.column("quantity") == ["0.5", "2", "3", "4", "0.45359237", ""]
    assert found.column("unit") == ["kg", "kg", "box", "", "kg", "pcs"]
    packs = Cleaned("sku,qty,pack size\n1,6x330ml,\n2,4,12 x 1 l\n3,1,500 g\n4,2,large\n")
    assert packs.column("quantity") == ["6", "4", "1", "2"]
    assert packs.column("content") == ["0.33", "1", "0.5", ""]
    assert packs.column("content_unit") == ["l", "l", "kg", ""]
    assert packs.column("pack_count") == ["", "12", "", ""]
    assert packs.column("size") == ["", "12 x 1 l", "500 g", "large"]


def test_date_and_time_in_two_columns() -> None:
    found = Cleaned(
        "order id,order date,order time,sku,qty,price\n1,25/04/2023,14:30:00,A,1,2\n",
        Options(TODAY, ZoneInfo("Asia/Kolkata")),
    )
    assert found.column("sold_at") == ["2023-04-25T09:00:00Z"]


def test_nothing_that_we_know() -> None:
    for content in (b"", b"\n\n", b"a,b\n1,2\n", b"\x00\x01\x02" * 50, b"name,colour\nx,y\n"):
        with pytest.raises(reading.UnreadableError):
            Cleaned(content)


def test_an_output_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out, rejects = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "rejects.csv"
    source.write_text(SMALL)
    out.write_text("old")
    monkeypatch.setattr(duplicates, "decide", lambda *_: 1 / 0)
    monkeypatch.setattr("producers.stock.cleaning.model", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clean(source, out, rejects, OPTIONS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    assert out.read_text() == "old"


def test_parquet(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("invoice,sku,qty,unit price,date\n1,A,2,2.5,2023-01-01 10:00\n2,B,-1,,\n")
    clean(source, tmp_path / "out.parquet", tmp_path / "rejects.csv", OPTIONS)
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert dict(found.schema) == {
        "transaction_id": pl.String,
        "sku": pl.String,
        "quantity": pl.Float64,
        "sold_at": pl.Datetime("us", "UTC"),
        "unit_price": pl.Float64,
    }
    assert found["quantity"].to_list() == [2.0, -1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.parquet", "rejects.csv"]


CELLS: dict[str, list[str]] = {
    "Product ID": ["A", "a", " A ", "B", "10.0", "1.5E+10", "", "nan"],
    "EAN": ["4006381333931", "36000291452", "4.0E+12", "", "123"],
    "Product Name": ["Tea", "tea", " TEA ", "tea, green", "Green Tea", "5\" pipe", "two\nlines", "", "a;b"],
    "Warehouse": ["W1", "w1", "", "W2"],
    "Qty": ["1", "two", "1.234", "1,234", "9.5", "9,5", "-3", "500 g", "2 kg", "6x330ml", "", "?", "1.5k"],
    "UOM": ["", "kg", "g", "box"],
    "Price": ["1", "1.00", "$2", "€1.234,50", "0", "1e9", "", "abc"],
    "Last Restocked": ["2023-01-05", "05/01/2023", "25/01/2023", "Jan 5, 2023", "2030-01-01", "", "45000"],
    "Colour": ["red", "Red", "", " red "],
}  # fmt: skip


@st.composite
def messy(draw: st.DrawFn) -> bytes:
    """A small stock list with faults of every kind, in some encoding and with some delimiter."""
    names = draw(st.lists(st.sampled_from(list(CELLS)), min_size=3, max_size=len(CELLS), unique=True))
    names = list(dict.fromkeys(["Product ID", "Qty", *names]))
    rows = draw(st.lists(st.tuples(*(st.sampled_from(CELLS[name]) for name in names)), max_size=14))
    output = io.StringIO(newline="")
    csv.writer(
        output, delimiter=draw(st.sampled_from(",;\t")), lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
    ).writerows([names, *rows])
    return output.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"])))


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(messy(), st.sampled_from([60, 400, reading.BLOCK]))
def test_cleaning_the_cleaned_changes_nothing(content: bytes, block: int) -> None:
    once = Cleaned(content, Options(TODAY, block=block))
    twice = Cleaned(once.bytes, Options(TODAY, block=block))
    assert twice.bytes == once.bytes
    assert (twice.summary.refused.total(), twice.summary.duplicates.total()) == (0, 0)
    assert once.summary.rows == once.summary.written + once.summary.refused.total() + once.summary.duplicates.total()
    # However the file is cut into blocks, the output is the same.
    assert Cleaned(content, Options(TODAY)).bytes == once.bytes


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(messy())
def test_every_cell_is_written_or_listed(content: bytes) -> None:
    """Each cell with something in it is in the output or in the list with its line, and each row in one of the two."""
    found = Cleaned(content, Options(TODAY, keep_duplicates=True))
    text = content.decode(
        "utf-16"
        if content[:1] in b"\xff\xfe"
        else "utf-8-sig"
        if content.isascii() or content[:1] == b"\xef"
        else "cp1252"
    )
    source = found.summary.source
    listed: set[tuple[int, str]] = {(int(one["line"]), one["column"]) for one in found.rejects}
    rows = iter(found.rows)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=source.delimiter)
    assert next(reader) == source.header
    line = reader.line_num + 1
    outputs = {column.written: column.name for column in found.summary.columns if column.written}
    for cells in reader:
        at, line = line, reader.line_num + 1
        if not any(cells) and len(cells) < 2:
            continue
        if (at, "") in listed and any(one["what"] == REFUSED and one["line"] == str(at) for one in found.rejects):
            continue
        row = next(rows)
        for written, cell in zip(source.header, cells, strict=True):
            name = outputs[written]
            assert row[name] or (at, name) in listed or not cell.strip(), (at, name, cell)
    assert next(rows, None) is None


def test_the_command(tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    source.write_text(SMALL)
    told = CliRunner().invoke(app, ["clean", str(source), "--today", "2026-11-21"])
    assert (told.exit_code, "2 rows read, 2 written" in told.output) == (0, True), told.output
    assert (tmp_path / "list.cleaned.csv").read_text() == "sku,name,quantity,price\nA1,Tea,5,2.50\nA2,Tea,200,3\n"
    page = (tmp_path / "list.report.html").read_text()
    assert "two hundred" in page
    assert not re.search(r"(?:src|href)=.?(?:https?:|//)", page)
    (tmp_path / "empty.csv").write_text("")
    failed = CliRunner().invoke(app, ["clean", str(tmp_path / "empty.csv")])
    assert (failed.exit_code, "is empty" in failed.output) == (3, True)
    missing = CliRunner().invoke(app, ["clean", str(tmp_path / "missing.csv")])
    assert (missing.exit_code, "No such file" in missing.output) == (3, True)
    for wrong in (
        ["--schema", "x"],
        ["--decimal", "x"],
        ["--time-zone", "x"],
        ["--today", "x"],
        ["--out", str(source)],
    ):
        assert CliRunner().invoke(app, ["clean", str(source), *wrong]).exit_code == 2
