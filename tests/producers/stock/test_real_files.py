"""Real files against the fault counts of their README: 1,000 rows of a warehouse, 541,909 rows of a shop's sales."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from producers.stock import cells, duplicates, numbers, rules
from producers.stock.cleaning import ColumnReport, Options, Summary, clean

DATA = Path(__file__).parents[3].parent / "shared/data"
OPTIONS = Options(date(2026, 11, 21))
FLOAT_END = "end of .0 taken off a number that a spreadsheet made of an identifier"


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no real material at {path}")
    return path


def columns(summary: Summary) -> dict[str, ColumnReport]:
    return {column.name: column for column in summary.columns}


def test_the_warehouse(tmp_path: Path) -> None:
    source, out = real("inventory/warehouse_messy_data.csv"), tmp_path / "out.csv"
    summary = clean(source, out, tmp_path / "rejects.csv", OPTIONS)
    found = columns(summary)
    assert (summary.rows, summary.written, summary.repeated_products) == (1_000, 1_000, 385)
    assert summary.duplicates.total() == 0
    assert found["name"].done == {cells.BLANKS: 1_000}
    assert found["quantity"].done == {numbers.WORDS: 160}
    assert found["quantity"].emptied == {cells.MISSING: 158}
    assert found["price"].emptied == {cells.MISSING: 207}
    assert found["last_restocked"].emptied == {cells.MISSING: 200}
    assert found["last_restocked"].done == {"date from dd/mm/yyyy": 800}
    # Nothing is invented: what was readable sums to the same, and what was not is empty (another's cleaning fills in means).
    cleaned = pl.read_csv(out)
    raw = pl.read_csv(source, infer_schema=False)["Quantity"]
    known = raw.replace("two hundred", "200").cast(pl.Float64, strict=False).fill_nan(None)
    assert cleaned["quantity"].sum() == known.sum()
    assert cleaned["quantity"].null_count() == 158
    again = clean(out, tmp_path / "again.csv", tmp_path / "rejects.csv", OPTIONS)
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()
    assert (
        sum(column.done.total() + column.emptied.total() for column in again.columns) == 158 + 0
    )  # empty quantities are listed


def test_a_year_of_sales(tmp_path: Path) -> None:
    source, out = real("sales/online_retail.csv.gz"), tmp_path / "out.csv"
    summary = clean(source, out, tmp_path / "rejects.csv", OPTIONS)
    found = columns(summary)
    assert summary.schema.name == "sales"
    assert summary.rows == 541_909
    assert summary.products == 4_070
    assert summary.duplicates[duplicates.EXACT] == 5_268
    assert found["customer_id"].filled == 541_909 - 135_080
    assert found["customer_id"].done == {FLOAT_END: 541_909 - 135_080}
    assert found["sold_at"].done == {"time from yyyy-mm-dd": 541_909}
    assert found["unit_price"].doubted.total() == 2_517
    assert found["name"].done[rules.SPELLING] > 0
    # 1,454 rows have no description; 47 more say "?" and the like.
    assert found["name"].filled == 541_909 - 1_454
    cleaned = pl.read_csv(out, infer_schema=False).with_columns(pl.col("quantity", "unit_price").cast(pl.Float64))
    assert (cleaned["transaction_id"].n_unique(), cleaned["sku"].n_unique(), cleaned["country"].n_unique()) == (
        25_900,
        4_070,
        38,
    )
    assert cleaned["customer_id"].drop_nulls().n_unique() == 4_372
    assert (cleaned["sold_at"].min(), str(cleaned["sold_at"].max())[:10]) == ("2010-12-01T08:26:00Z", "2011-12-09")
    # What was written and what was removed make the whole, to the unit and the penny.
    rejects = pl.read_csv(tmp_path / "rejects.csv", infer_schema=False).filter(pl.col("what") == "duplicate removed")
    records = "\n".join(rejects["record"]).encode()
    removed = pl.read_csv(records, has_header=False, infer_schema=False)
    removed = removed.select(
        quantity=pl.col("column_3").cast(pl.Float64), unit_price=pl.col("column_5").cast(pl.Float64)
    )
    rows = pl.concat([cleaned.select("quantity", "unit_price"), removed])
    assert rows.height == 541_909
    assert rows["quantity"].sum() == 5_176_450
    assert round((rows["quantity"] * rows["unit_price"]).sum(), 2) == 9_747_747.93
    assert cleaned.filter(pl.col("transaction_id").str.starts_with("C")).height + _cancelled(records) == 9_288


def _cancelled(records: bytes) -> int:
    return sum(1 for line in records.splitlines() if line.startswith(b"C"))


def test_where_nothing_is_refused_the_sums_stay(tmp_path: Path) -> None:
    source, out = real("sales/online_retail.csv.gz"), tmp_path / "out.parquet"
    options = Options(date(2026, 11, 21), keep_duplicates=True)
    clean(source, out, tmp_path / "rejects.csv", options)
    cleaned = pl.read_parquet(out)
    assert cleaned.height == 541_909
    assert cleaned["quantity"].sum() == 5_176_450
    assert round((cleaned["quantity"] * cleaned["unit_price"]).sum(), 2) == 9_747_747.93
    assert cleaned["sold_at"].dt.date().min() == date(2010, 12, 1)
