"""Lists of articles as records of the catalogue: an article a row, by the columns that ``aisleflow clean`` writes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

#: What the contract calls it, and the columns that say it, the first that is not empty.
COLUMNS = {
    "sku": ("sku", "gtin"),
    "name": ("name",),
    "category": ("category",),
    "gtin": ("gtin",),
    "unit": ("unit",),
    "pack": ("pack", "pack_count"),
}


@dataclass(frozen=True)
class Row:
    """One article as JSON; without a ``product`` the row cannot be read, or says again what another did (no ``reason``)."""

    line: int
    raw: bytes
    sku: str = ""
    product: bytes | None = None
    field: str = ""
    reason: str = ""


def products(lines: Iterable[tuple[int, bytes]], now: datetime) -> Iterator[Row]:
    """The articles of a list, in its order; other columns are of no matter here.

    Args:
        lines: the file's lines with their numbers from 1; a row is a line.
        now: from when on the list holds.

    Raises:
        ValueError: the header names neither sku nor gtin.
    """
    found = iter(lines)
    _, header = next(found, (0, b""))
    names = next(csv.reader([header.decode("utf-8-sig", "replace")]), [])
    if not {"sku", "gtin"} & set(names):
        raise ValueError(
            f"the header must name sku or gtin, and may name name, category, unit and pack; it names {', '.join(names)[:300]}"
        )
    return _products(found, names, now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def _products(lines: Iterator[tuple[int, bytes]], names: list[str], timestamp: str) -> Iterator[Row]:
    seen: dict[str, tuple[int, bytes]] = {}
    for line, raw in lines:
        cells = next(csv.reader([raw.decode("utf-8", "replace")]), [])
        if len(cells) != len(names):
            yield Row(line, raw, reason="has another number of fields than the header")
            continue
        by_name = {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
        said = {
            field: value
            for field, columns in COLUMNS.items()
            if (value := next((by_name[column] for column in columns if by_name.get(column)), ""))
        }
        if "sku" not in said:
            yield Row(line, raw, field="sku", reason="is required")
            continue
        product = orjson.dumps({**said, "timestamp": timestamp})
        first_line, first = seen.setdefault(said["sku"], (line, product))
        if first_line == line:
            yield Row(line, raw, said["sku"], product)
        elif first == product:
            yield Row(line, raw, said["sku"])
        else:
            yield Row(line, raw, field="sku", reason=f"line {first_line} says something else of it")
