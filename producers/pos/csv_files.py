"""Till exports as CSV: one receipt a row, or one receipt line a row.

*Receipts*: ``store_id, transaction_id, timestamp, basket_value_inr``; the currency is the column's suffix (without one
it is the store's), times carry an offset, ``payment_kind`` may be a further column.

*Lines*: ``order_id, order_date, order_time, store_id, product_id, brand_name, total_amount`` in local time; the rows of
one order belong together wherever they stand, and its basket is their sum. An order with a bad row is refused as a
whole: a receipt published with a wrong sum could not be corrected later, because the first one with an id stays.

*Cleaned lines*, as ``aisleflow clean`` writes them: ``transaction_id, sku, quantity, sold_at, unit_price`` in UTC, perhaps
``store_id, gtin, currency, payment_kind``; other columns are left out. They become receipts as above, with all their lines.

Every physical line is a row: a quote that is never closed spoils its own line and no other.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from zoneinfo import ZoneInfo

import orjson

RECEIPT_COLUMNS = {"store_id", "transaction_id", "timestamp"}
LINE_COLUMNS = {"order_id", "order_date", "order_time", "store_id", "product_id", "total_amount"}
CLEANED_COLUMNS = {"transaction_id", "sku", "quantity", "sold_at", "unit_price"}
_BASKET = re.compile(r"basket_value(?:_([a-z]{3}))?")
_DATES = ("%d-%m-%Y", "%d/%m/%Y", "%Y-%m-%d")
_CLEANED_TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ")
_TIMES = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f")


@dataclass(frozen=True)
class Row:
    """One receipt as JSON, or one row that cannot become one (``field`` and ``reason``); ``line`` counts from 1."""

    line: int
    raw: bytes
    receipt: bytes | None = None
    identity: tuple[str, str] = ("", "")
    field: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Line:
    at: datetime
    sku: str
    quantity: Decimal | int
    unit_price: Decimal
    further: dict[str, str] = field(default_factory=dict)
    """What belongs to the line (gtin)."""
    of_receipt: dict[str, str] = field(default_factory=dict)
    """What every line of a receipt says alike (currency, payment_kind)."""


@dataclass
class _Order:
    line: int
    rows: list[tuple[int, bytes]] = field(default_factory=list)
    bought: list[_Line] = field(default_factory=list)
    spoilt_by: int | None = None


class _BadRowError(ValueError):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


def receipts(lines: Iterable[tuple[int, bytes]], time_zone: ZoneInfo, store: str = "") -> Iterator[Row]:
    """The receipts of a till's export, in the order of their first rows, and the rows that had to be refused.

    Args:
        lines: the file's lines with their numbers from 1.
        time_zone: what the local times of the second form mean.
        store: the shop, for cleaned lines that do not name one.

    Raises:
        ValueError: the header is that of no form.
    """
    numbered = ((number, raw) for number, raw in lines if raw.strip())
    _, header = next(numbered, (0, b""))
    try:
        names = [name.strip().lower() for name in _split(header.removeprefix(b"\xef\xbb\xbf"))]
    except _BadRowError as error:
        raise ValueError(f"the header {error.reason}") from error
    baskets = [match for name in names if (match := _BASKET.fullmatch(name))]
    if set(names) >= RECEIPT_COLUMNS and len(baskets) == 1:
        return _whole_receipts(numbered, names, baskets[0])
    if set(names) >= LINE_COLUMNS:
        return _receipts_of_lines(numbered, names, ("store_id", "order_id"), partial(_till_line, time_zone=time_zone))
    if set(names) >= CLEANED_COLUMNS:
        if not store and "store_id" not in names:
            raise ValueError("no column store_id: say with --store whose receipts these are")
        return _receipts_of_lines(numbered, names, ("store_id", "transaction_id"), _cleaned_line, store)
    raise ValueError(
        f"the header must name {', '.join(sorted(RECEIPT_COLUMNS))} and basket_value_CURRENCY, "
        f"or {', '.join(sorted(LINE_COLUMNS))}, or {', '.join(sorted(CLEANED_COLUMNS))} (aisleflow clean); "
        f"it names {', '.join(names)[:300] or 'nothing'}"
    )


def _split(raw: bytes) -> list[str]:
    try:
        return next(csv.reader([raw.decode().rstrip("\r\n")], strict=True))
    except UnicodeDecodeError:
        raise _BadRowError("", "is not UTF-8") from None
    except csv.Error as error:
        raise _BadRowError("", f"is not CSV: {error}") from None


def _cells(raw: bytes, names: list[str]) -> dict[str, str]:
    cells = _split(raw)
    if len(cells) != len(names):
        raise _BadRowError("", f"has {len(cells)} fields where the header has {len(names)}")
    return {name: cell.strip() for name, cell in zip(names, cells, strict=True)}


def _whole_receipts(lines: Iterable[tuple[int, bytes]], names: list[str], basket: re.Match[str]) -> Iterator[Row]:
    for number, raw in lines:
        try:
            cells = _cells(raw, names)
            receipt = {
                "store_id": cells["store_id"],
                "transaction_id": cells["transaction_id"],
                "timestamp": cells["timestamp"],
                "basket_value": str(_amount(cells, basket[0])),
                "currency": basket[1].upper() if basket[1] else cells.get("currency") or None,
                "payment_kind": cells.get("payment_kind") or None,
            }
            identity = (cells["store_id"], cells["transaction_id"])
            yield Row(number, raw, orjson.dumps(receipt), identity)
        except _BadRowError as error:
            yield Row(number, raw, field=error.field, reason=error.reason)


def _receipts_of_lines(
    lines: Iterable[tuple[int, bytes]],
    names: list[str],
    identified_by: tuple[str, str],
    read: Callable[[dict[str, str]], _Line],
    store: str = "",
) -> Iterator[Row]:
    orders: dict[tuple[str, str], _Order] = {}
    for number, raw in lines:
        identity = None
        try:
            cells = _cells(raw, names)
            identity = (cells.get(identified_by[0]) or store, cells[identified_by[1]])
            if "" in identity:
                raise _BadRowError(identified_by[identity.index("")], "is required")
            order = orders.setdefault(identity, _Order(number))
            order.rows.append((number, raw))
            line = read(cells)
            if order.bought and line.of_receipt != order.bought[0].of_receipt:
                raise _BadRowError(
                    "", f"says {line.of_receipt} where line {order.line} says {order.bought[0].of_receipt}"
                )
            order.bought.append(line)
        except _BadRowError as error:
            if identity in orders:
                spoilt = orders[identity]
                spoilt.rows.pop()
                spoilt.spoilt_by = spoilt.spoilt_by or number
            yield Row(number, raw, field=error.field, reason=error.reason)
    for (store_id, order_id), order in orders.items():
        if order.spoilt_by is not None:
            reason = f"line {order.spoilt_by} of the same order was refused"
            for number, raw in order.rows:
                yield Row(number, raw, field=identified_by[1], reason=reason)
            continue
        receipt = {
            "store_id": store_id,
            "transaction_id": order_id,
            "timestamp": min(line.at for line in order.bought).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "basket_value": format(sum((line.quantity * line.unit_price for line in order.bought), Decimal(0)), "f"),
            "lines": [
                {
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "unit_price": format(line.unit_price, "f"),
                    **line.further,
                }
                for line in order.bought
            ],
            **order.bought[0].of_receipt,
        }
        yield Row(
            order.line, b"".join(raw for _, raw in order.rows), orjson.dumps(receipt, default=str), (store_id, order_id)
        )


def _till_line(cells: dict[str, str], time_zone: ZoneInfo) -> _Line:
    at = _local(cells, time_zone)
    if not cells["product_id"]:
        raise _BadRowError("product_id", "is required")
    return _Line(at, cells["product_id"], 1, _amount(cells, "total_amount"))


def _cleaned_line(cells: dict[str, str]) -> _Line:
    at = _parsed(cells["sold_at"], _CLEANED_TIMES, "sold_at", "must be a time as yyyy-mm-ddThh:mm:ssZ").replace(
        tzinfo=UTC
    )
    if not cells["sku"]:
        raise _BadRowError("sku", "is required")
    further = {"gtin": cells["gtin"]} if cells.get("gtin") else {}
    of_receipt = {name: cells[name] for name in ("currency", "payment_kind") if cells.get(name)}
    return _Line(
        at,
        cells["sku"],
        Decimal(format(_amount(cells, "quantity"), "f")),
        _amount(cells, "unit_price"),
        further,
        of_receipt,
    )


def _amount(cells: dict[str, str], name: str) -> Decimal:
    try:
        amount = Decimal(cells[name])
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise _BadRowError(name, "must be a number, such as 1247.98")
    return amount


def _local(cells: dict[str, str], time_zone: ZoneInfo) -> datetime:
    day, clock = cells["order_date"], cells["order_time"]
    moment = _parsed(day, _DATES, "order_date", "must be a date as dd-mm-yyyy, dd/mm/yyyy or yyyy-mm-dd")
    hours = _parsed(clock, _TIMES, "order_time", "must be a time as hh:mm:ss or hh:mm")
    try:
        return datetime.combine(moment.date(), hours.time(), time_zone).astimezone(UTC)
    except OverflowError:
        raise _BadRowError("order_date", "is out of range") from None


def _parsed(text: str, forms: tuple[str, ...], name: str, reason: str) -> datetime:
    for form in forms:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is added by the caller
        except ValueError:
            continue
    raise _BadRowError(name, reason)
