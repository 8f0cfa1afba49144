"""An installation's terms of supply: a CSV file with defaults, by shop, category and article. See ``docs/restocking.md``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from replenishment.policy import WEEK, Terms
from schemas.layouts import WEEKDAYS

KEYS = ("store_id", "category", "sku")
NUMBERS = frozenset(field.name for field in fields(Terms)) - {"order_days", "policy", "supplier", "category"}
COLUMNS = (*KEYS, *(field.name for field in fields(Terms) if field.name != "category"))
MAX_ROWS = 2_000_000


class TermsError(ValueError):
    """The file cannot be used; the message says which line and why."""


class TermsBook:
    """The terms of every article of every shop.

    Rows name a shop, a category, an article, several of these or none (the defaults of all). An article takes each value from
    the row that names it most closely: shop and article, article, shop and category, category, shop, none. What a row leaves
    empty comes from the next.
    """

    def __init__(self, rows: Mapping[tuple[str, str, str], Mapping[str, Any]] | None = None) -> None:
        """``rows``: values of ``Terms`` by (store_id, category, sku), each empty where the row does not name it."""
        self._rows = dict(rows or {})
        self._terms = lru_cache(maxsize=200_000)(self._find)

    def terms(self, store_id: str, sku: str, category: str = "", pack: float = 1.0) -> Terms:
        """The terms of an article in a shop; ``category`` and ``pack``, as the catalogue has them, where the file does not say."""
        return self._terms(store_id, sku, category, pack)

    def _find(self, store_id: str, sku: str, category: str, pack: float) -> Terms:
        named = [self._rows.get(key, {}) for key in ((store_id, "", sku), ("", "", sku))]
        category = next((row["category"] for row in named if row.get("category")), category)
        general = [(store_id, category, ""), ("", category, "")] if category else []
        chosen: dict[str, Any] = {}
        for row in (*named, *(self._rows.get(key, {}) for key in (*general, (store_id, "", ""), ("", "", "")))):
            chosen = {**row, **chosen}
        return Terms(**{"pack": pack, **chosen, "category": category})


def read_terms(path: Path | None) -> TermsBook:
    """The terms of a file; without one, the defaults of ``Terms`` for all.

    Raises:
        TermsError: the file cannot be read, or a line of it cannot be used.
    """
    if path is None:
        return TermsBook()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return TermsBook(_rows(csv.DictReader(file), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TermsError(f"{path} cannot be read: {error}") from error


def _rows(reader: csv.DictReader[str], path: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    unknown = [name for name in reader.fieldnames or () if name not in COLUMNS]
    if unknown or not reader.fieldnames:
        raise TermsError(f"{path}: {unknown or 'no columns'}; the columns are {', '.join(COLUMNS)}")
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if len(found) >= MAX_ROWS:
            raise TermsError(f"{place}: more than {MAX_ROWS} rows")
        if None in row:
            raise TermsError(f"{place}: more values than columns")
        said = {name: (value or "").strip() for name, value in row.items()}
        store_id, category, sku = (said.get(name, "") for name in KEYS)
        # An article's category belongs to it, in its own row or in that of a shop.
        key = (store_id, "" if sku else category, sku)
        if key in found:
            raise TermsError(f"{place}: there is another row for the same shop, category and article")
        try:
            values = {name: _value(name, said[name]) for name in said if name not in KEYS and said[name]}
            Terms(**values)
        except ValueError as error:
            raise TermsError(f"{place}: {error}") from None
        found[key] = values | ({"category": category} if sku and category else {})
    return found


def _value(name: str, text: str) -> Any:
    if name in NUMBERS:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{name} is {text!r}, which is no number") from None
    if name == "order_days":
        return _order_days(text.lower().split())
    if name == "policy" and text not in ("sS", "RS"):
        raise ValueError(f"policy is {text!r}; it is sS or RS")
    return text


def _order_days(words: Iterable[str]) -> tuple[int, ...]:
    days = tuple(sorted({WEEKDAYS.index(word) + 1 for word in words if word in WEEKDAYS}))
    unknown = [word for word in words if word not in WEEKDAYS]
    if unknown:
        raise ValueError(f"order_days are {' '.join(WEEKDAYS)}, with spaces between, not {unknown[0]!r}")
    return days or WEEK
