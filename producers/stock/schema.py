"""What a stock list and a till's export hold: the one place that says columns, meanings, spellings of headers, ranges.

``model`` makes a pandera schema of it, and every batch of output is held against that before it is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import polars as pl

from producers.stock.units import known_unit

if TYPE_CHECKING:
    import pandera.polars as pa

EARLIEST = date(1980, 1, 1)
"""Dates before are a spreadsheet's or program's zero (1899-12-30, 1900-01-00, 1970-01-01)."""


class Kind(StrEnum):
    """Which rule cleans a column."""

    IDENTIFIER = "identifier"
    GTIN = "GTIN"
    TEXT = "text"
    NUMBER = "number"
    QUANTITY = "quantity"
    MONEY = "money"
    SIZE = "size"
    UNIT = "unit"
    CURRENCY = "currency"
    DATE = "date"
    TIME = "time"


class Alike(StrEnum):
    """What a column says of two rows with one key, when near duplicates are looked for."""

    KEY = "part of the key"
    SAME = "the same, or empty in one of them"
    EXACT = "the same"
    STATE = "may change from the older to the newer"


@dataclass(frozen=True)
class Field:
    """One column. ``headers``: spellings besides its name, in lower case, words apart by one blank. ``minimum`` and
    ``maximum``: values outside are impossible and stay empty. ``doubtful_to``: values up to here are kept and listed.
    """

    name: str
    kind: Kind
    meaning: str
    headers: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    doubtful_to: float | None = None
    future: bool = False
    required: bool = False
    alike: Alike = Alike.SAME

    @property
    def numeric(self) -> bool:
        """Whether its cells are numbers."""
        return self.kind in (Kind.NUMBER, Kind.QUANTITY, Kind.MONEY)

    @property
    def dtype(self) -> pl.DataType:
        """The type in Parquet, and for the check."""
        if self.numeric:
            return pl.Float64()
        if self.kind is Kind.DATE:
            return pl.Date()
        return pl.Datetime("us", "UTC") if self.kind is Kind.TIME else pl.String()

    def latest(self, today: date) -> date:
        """The last date that can be true: tomorrow, since it is tomorrow already somewhere, or 30 years ahead."""
        return today + timedelta(days=30 * 365 if self.future else 1)


@dataclass(frozen=True)
class Schema:
    """A kind of file. A row without any of ``identity`` is refused: nobody could say what it is about."""

    name: str
    fields: tuple[Field, ...]
    key: tuple[tuple[str, ...], ...]
    """Names of which the first that a file has belongs to the key; a file that lacks one altogether has whole rows as key."""
    further_key: tuple[str, ...]
    identity: tuple[str, ...]
    newest_by: tuple[str, ...] = ()

    def field(self, name: str) -> Field | None:
        """The field of this name."""
        return next((field for field in self.fields if field.name == name), None)


# Spellings of headers, besides the name itself, in lower case, words apart by one blank.
_HEADERS = {
    name: tuple(spelling.strip() for spelling in spellings.replace("\n", " ").split(","))
    for name, spellings in {
        "sku": """product id, product code, product no, product number, item id, item code, item no, item number, stock code,
            stockcode, article, article no, article number, article id, part number, part no, sku id, sku code, material,
            material no, productid, itemid, plu, artikelnummer, artikel nr""",
        "gtin": "ean, ean13, ean 13, upc, upc a, barcode, bar code, gtin13, gtin 13, ean code, upc code",
        "name": """product name, product, item, item name, description, item description, product description, title,
            article name, productname, itemname, bezeichnung""",
        "category": "product category, department, group, product group, item category, type, product type, family",
        "brand": "brand name, manufacturer, make",
        "store_id": """store, shop, shop id, branch, branch id, store code, store no, store number, site, outlet, filiale""",
        "warehouse": "warehouse id, depot, warehouse name, lager",
        "location": "aisle, bin, bin location, shelf, shelf location, storage location, place",
        "quantity": "qty, quantities, units, pieces, no of units, number of units, menge",
        "unit": "uom, unit of measure, units of measure, measure, einheit",
        "size": "pack size, package size, packaging, contents, net content, volume",
        "pack_count": "units per pack, pack qty, case size",
        "price": """unit price, unitprice, price per unit, price each, selling price, sales price, retail price, list price, rrp,
            mrp, item price, preis""",
        "cost": "unit cost, cost price, purchase price, buying price, cost per item",
        "currency": "currency code, ccy, waehrung",
        "supplier": "supplier name, vendor, vendor name, lieferant",
        "status": "stock status, availability, state",
        "reorder_point": "reorder level, min stock, minimum stock, safety stock",
        "last_restocked": """restocked, last restock, restock date, last received, last delivery, date received, received on,
            last restocked date, last updated, date added""",
        "counted_at": """count date, counted on, as of, snapshot date, stock date, date, inventory date, date counted""",
        "expires_on": "expiry, expiry date, expiration date, best before, bbd, use by, mhd",
        "transaction_id": """invoiceno, invoice no, invoice, invoice number, invoice id, order id, order no, order number, receipt,
            receipt no, receipt number, receipt id, bill no, bill number, transaction, transaction no, ticket, ticket no,
            basket id""",
        "sold_at": """invoicedate, invoice date, order date, date, sale date, sales date, transaction date, timestamp, datetime,
            date time, sold on, purchase date, time of sale""",
        "sold_clock": "time, order time, sale time, invoice time, transaction time",
        "amount": """total, line total, total amount, total price, sales, revenue, net amount, gross amount""",
        "customer_id": "customerid, customer, customer no, customer number, client id, member id",
        "country": "customer country, land",
        "payment_kind": "payment, payment method, payment type, tender",
    }.items()
}
_ON_HAND = """stock, on hand, qty on hand, quantity on hand, stock on hand, soh, in stock, count, stock level, stock qty, stock quantity,
    counted, balance, current stock, available, bestand"""
_STOCKED = (*_HEADERS["quantity"], *(spelling.strip() for spelling in _ON_HAND.split(",")))
_SOLD = (*_HEADERS["quantity"], "quantity sold", "units sold", "qty sold", "sold")
_MANY = 100_000_000
_SKU = Field("sku", Kind.IDENTIFIER, "The shop's own number of the product.", _HEADERS["sku"], alike=Alike.KEY)
_GTIN = Field("gtin", Kind.GTIN, "Its GTIN-8, -12, -13 or -14, check digit proven.", _HEADERS["gtin"])
_NAME = Field("name", Kind.TEXT, "What it is called.", _HEADERS["name"])
_CATEGORY = Field("category", Kind.TEXT, "The group of products it belongs to.", _HEADERS["category"])
_STORE = Field("store_id", Kind.IDENTIFIER, "The shop.", _HEADERS["store_id"], alike=Alike.KEY)
_UNIT = Field(
    "unit", Kind.UNIT, "Unit of the quantity: pcs, kg, l, or as it was written.", _HEADERS["unit"], alike=Alike.EXACT
)
_CONTENT = (
    Field("content", Kind.NUMBER, "What one piece holds, in content_unit.", (), 0, 1_000_000),
    Field("content_unit", Kind.UNIT, "kg or l."),
)
_CURRENCY = Field("currency", Kind.CURRENCY, "ISO 4217, of the amounts beside it.", _HEADERS["currency"])


def _field(
    name: str, kind: Kind, meaning: str, minimum: float | None = None, maximum: float | None = None, **more: Any
) -> Field:
    return Field(name, kind, meaning, _HEADERS.get(name, ()), minimum, maximum, **more)


INVENTORY = Schema(
    "inventory",
    (
        _SKU,
        _GTIN,
        _NAME,
        _CATEGORY,
        _field("brand", Kind.TEXT, "Its brand."),
        _STORE,
        _field("warehouse", Kind.TEXT, "The warehouse.", alike=Alike.KEY),
        _field("location", Kind.TEXT, "Where in the shop or warehouse.", alike=Alike.KEY),
        Field(
            *("quantity", Kind.QUANTITY, "How much there is, in unit.", _STOCKED, 0, _MANY),
            required=True,
            alike=Alike.STATE,
        ),
        _UNIT,
        _field("size", Kind.SIZE, "What one piece holds, as written; becomes pack_count and content."),
        _field("pack_count", Kind.NUMBER, "Pieces in a pack.", 1, 1_000_000),
        *_CONTENT,
        _field("price", Kind.MONEY, "Price of one unit.", 0.0001, 1_000_000, alike=Alike.STATE),
        _field("cost", Kind.MONEY, "What one unit costs the shop.", 0.0001, 1_000_000, alike=Alike.STATE),
        _CURRENCY,
        _field("supplier", Kind.TEXT, "Who delivers it."),
        _field("status", Kind.TEXT, "What the list says of its state.", alike=Alike.STATE),
        _field("reorder_point", Kind.NUMBER, "Order when there is less.", 0, _MANY, alike=Alike.STATE),
        _field("last_restocked", Kind.DATE, "When it last came in.", alike=Alike.STATE),
        _field("counted_at", Kind.TIME, "When it was counted.", alike=Alike.EXACT),
        _field("expires_on", Kind.DATE, "Best before.", future=True, alike=Alike.EXACT),
    ),
    key=(("sku", "gtin", "name"),),
    further_key=("store_id", "warehouse", "location"),
    identity=("sku", "gtin", "name"),
    newest_by=("last_restocked",),
)

SALES = Schema(
    "sales",
    (
        _field("transaction_id", Kind.IDENTIFIER, "The receipt's or invoice's number.", alike=Alike.KEY),
        _STORE,
        _SKU,
        _GTIN,
        _NAME,
        _CATEGORY,
        Field(
            "quantity",
            Kind.QUANTITY,
            "Units sold; negative: returned or cancelled.",
            _SOLD,
            -_MANY,
            _MANY,
            required=True,
            alike=Alike.EXACT,
        ),
        _UNIT,
        *_CONTENT,
        _field("sold_at", Kind.TIME, "When it was sold.", alike=Alike.EXACT),
        _field("sold_clock", Kind.TEXT, "The time of day where it has a column of its own; goes into sold_at."),
        Field(
            *("unit_price", Kind.MONEY, "Price of one unit; a till books corrections with 0 and below."),
            *(("price", *_HEADERS["price"]), -1_000_000, 1_000_000),
            doubtful_to=0,
            alike=Alike.EXACT,
        ),
        _field("amount", Kind.MONEY, "The line's total.", -_MANY, _MANY, alike=Alike.EXACT),
        _CURRENCY,
        _field("customer_id", Kind.IDENTIFIER, "The customer, where the till knows."),
        _field("country", Kind.TEXT, "Where the customer lives."),
        _field("payment_kind", Kind.TEXT, "How it was paid."),
    ),
    key=(("transaction_id",), ("sku", "gtin", "name")),
    further_key=("store_id",),
    identity=("sku", "gtin", "name"),
)

SCHEMAS = {schema.name: schema for schema in (INVENTORY, SALES)}

_BRACKETS = re.compile(r"[(\[]([^)\]]*)[)\]]")


@dataclass(frozen=True)
class Header:
    """A header's words in lower case, and what it says besides: a unit or a currency (``Qty (pcs)``, ``Price in EUR``)."""

    words: str
    unit: str = ""
    currency: str = ""


def header(written: str) -> Header:
    """Take a header apart."""
    from producers.stock.numbers import CURRENCIES

    lowered = " ".join(written.lower().split())
    inside = _BRACKETS.findall(lowered)
    words = _spaced(_BRACKETS.sub(" ", lowered))
    unit = currency = ""
    last = words.split()[-1] if len(words.split()) > 1 else ""
    for said in (*inside, *re.findall(r"[^\w\s().,/#-]+", lowered), last):
        said = said.strip().removeprefix("in ")
        if CURRENCIES.get(said):
            currency = currency or CURRENCIES[said]
        elif known_unit(said) and (said != last or known_unit(said) in ("kg", "l")):
            unit = unit or said
        else:
            continue
        if said == last:
            words = " ".join(words.split()[:-1]).removesuffix(" in")
    return Header(words, unit, currency)


def _spaced(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", text).split())


def assign(schema: Schema, written: list[str]) -> dict[int, Field]:
    """Which field each column of a file is; columns that are none are left out. A field's own name goes before other
    spellings, then the first column wins.
    """
    found: dict[int, Field] = {}
    heads = [header(name) for name in written]
    for own_name in (True, False):
        for place, head in enumerate(heads):
            if place in found:
                continue
            for field in schema.fields:
                spellings = {field.name} if own_name else {field.name.replace("_", " "), *field.headers}
                told = {written[place].strip()} if own_name else {head.words, _spaced(written[place].lower())}
                if not spellings.isdisjoint(told) and field not in found.values():
                    found[place] = field
                    break
    return found


def best_schema(written: list[str]) -> Schema | None:
    """The schema that a header fits: sales need a receipt or a time of sale with a product; None if neither fits."""
    sales = {field.name for field in assign(SALES, written).values()}
    stock = {field.name for field in assign(INVENTORY, written).values()}
    if sales & {"transaction_id"} and sales & {"sku", "gtin", "name", "quantity", "amount"}:
        return SALES
    priced = {"quantity", "sold_at"} <= sales and sales & {"unit_price", "amount"}
    if priced and len(sales) >= len(stock) and "counted_at" not in written:
        return SALES
    return INVENTORY if "quantity" in stock and stock & set(INVENTORY.identity) else None


def model(fields: list[Field], extra: list[str], today: date) -> pa.DataFrameSchema:
    """The pandera schema of a cleaned file with these columns: types, ranges, patterns, and nothing besides."""
    import pandera.polars as pa

    def checks(field: Field) -> list[pa.Check]:
        if field.numeric:
            return [pa.Check.in_range(field.minimum, field.maximum)] if field.minimum is not None else []
        if field.kind is Kind.DATE:
            return [pa.Check.in_range(EARLIEST, field.latest(today))]
        if field.kind is Kind.TIME:
            first = datetime.combine(EARLIEST, datetime.min.time(), UTC)
            return [pa.Check.in_range(first, datetime.combine(field.latest(today), datetime.max.time(), UTC))]
        if field.kind is Kind.GTIN:
            return [pa.Check.str_matches(r"^([0-9]{8}|[0-9]{12,14})$")]
        return [pa.Check.str_matches("^[A-Z]{3}$")] if field.kind is Kind.CURRENCY else []

    columns = {
        field.name: pa.Column(field.dtype, checks(field), nullable=True, description=field.meaning) for field in fields
    }
    columns |= {name: pa.Column(pl.String, nullable=True) for name in extra}
    return pa.DataFrameSchema(columns, strict=True, ordered=True)
