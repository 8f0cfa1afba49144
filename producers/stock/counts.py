"""Cleaned stock lists as counts: each article of a shop once, with the sum of its rows.

A count says how much there is of an article at one place and moment, so two rows of an article (two aisles, two pallets) must
become one. An article with a row that cannot be summed is refused as a whole: a sum without it would be wrong.
"""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import orjson

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "aisleflow:stock-list")


@dataclass(frozen=True)
class Row:
    """One COUNT as JSON, or one row that cannot become one (``field`` and ``reason``); ``line`` counts from 1."""

    line: int
    raw: bytes
    movement: bytes | None = None
    field: str = ""
    reason: str = ""


@dataclass
class _Article:
    line: int
    unit: str
    total: Decimal = Decimal(0)
    rows: list[tuple[int, bytes]] = field(default_factory=list)
    spoilt_by: int | None = None


def counts(
    lines: Iterable[tuple[int, bytes]], store: str = "", as_of: datetime | None = None, location: str = "SHELF"
) -> Iterator[Row]:
    """The counts of a list, in the order of the articles' first rows, after the rows that had to be refused.

    Args:
        lines: the file's lines with their numbers from 1.
        store: the shop of rows that name none; rows of another shop keep theirs.
        as_of: when the list was true, for rows without ``counted_at``.
        location: SHELF or BACKROOM.

    An article's event id is made of shop, article, place and time: the same list sent again changes nothing, and a list
    that was wrong is put right by one of a later time.

    Raises:
        ValueError: the header is not that of a cleaned stock list, or the shop or the time is not known.
    """
    found = iter(lines)
    _, header = next(found, (0, b""))
    names = next(csv.reader([header.decode("utf-8-sig", "replace")]), [])
    if "quantity" not in names or not {"sku", "gtin"} & set(names):
        raise ValueError(
            f"the header must name sku or gtin, and quantity: `aisleflow clean` makes such a file; it names {', '.join(names)[:300]}"
        )
    if not store and "store_id" not in names:
        raise ValueError("no column store_id: say with --store whose stock it is")
    if as_of is None and "counted_at" not in names:
        raise ValueError("no column counted_at: say with --as-of when the list was true")
    return _counts(found, names, store, as_of, location)


def _counts(
    lines: Iterator[tuple[int, bytes]], names: list[str], store: str, as_of: datetime | None, location: str
) -> Iterator[Row]:
    usual = as_of.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if as_of else ""
    articles: dict[tuple[str, str, str], _Article] = {}
    for line, raw in lines:
        cells = _cells(raw, names)
        if not cells:
            yield Row(line, raw, reason="has another number of fields than the header")
            continue
        identity = (
            cells.get("store_id") or store,
            cells.get("sku") or cells.get("gtin") or "",
            cells.get("counted_at") or usual,
        )
        if "" in identity:
            yield Row(line, raw, field=("store_id", "sku", "counted_at")[identity.index("")], reason="is required")
            continue
        article = articles.setdefault(identity, _Article(line, cells.get("unit", "")))
        field, reason = _added(article, cells)
        if reason:
            article.spoilt_by = article.spoilt_by or line
            yield Row(line, raw, field=field, reason=reason)
        else:
            article.rows.append((line, raw))
    for (store_id, sku, timestamp), article in articles.items():
        if article.spoilt_by is not None:
            for line, raw in article.rows:
                yield Row(line, raw, field="sku", reason=f"line {article.spoilt_by} of the same article was refused")
            continue
        movement = {
            "event_id": str(uuid.uuid5(_NAMESPACE, f"{store_id}\n{sku}\n{location}\n{timestamp}")),
            "store_id": store_id,
            "timestamp": timestamp,
            "sku": sku,
            "kind": "COUNT",
            "quantity": format(article.total, "f"),
            "location": location,
            "reason": "stock list",
        }
        yield Row(article.line, b"\n".join(raw for _, raw in article.rows), orjson.dumps(movement))


def _cells(raw: bytes, names: list[str]) -> dict[str, str]:
    cells = next(csv.reader([raw.decode("utf-8", "replace")]), [])
    return dict(zip(names, cells, strict=True)) if len(cells) == len(names) else {}


def _added(article: _Article, cells: dict[str, str]) -> tuple[str, str]:
    """Add a row to its article; (field, reason) if it cannot be."""
    if not cells["quantity"]:
        return "quantity", "is empty: how much there is of this article is not known"
    try:
        quantity = Decimal(cells["quantity"])
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite():
        return "quantity", "must be a number: `aisleflow clean` makes one of it, or lists why not"
    if cells.get("unit", "") != article.unit:
        return (
            "unit",
            f"is {cells['unit'] or 'empty'} where line {article.line} of the same article has {article.unit or 'none'}",
        )
    article.total += quantity
    return "", ""
