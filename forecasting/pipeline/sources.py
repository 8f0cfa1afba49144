"""Where sales are read from, and which of its columns mean what. No Spark here: what can be asked before it starts.

A source is named by one word or address: ``postgresql://USER@HOST/DATABASE``, ``clickhouse``, or the path of a CSV file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from psycopg import Connection, sql

#: What each row of sales may say. The first three are needed.
ROLES: Mapping[str, Sequence[str]] = {
    "product": (
        *(
            "product_id",
            "sku",
            "item_id",
            "stock_code",
            "product_code",
            "article",
            "article_no",
            "article_id",
            "item_nbr",
        ),
        *("variant_id", "product", "item"),
    ),
    "at": (
        *(
            "sold_at",
            "sold_on",
            "sale_date",
            "ordered_at",
            "order_date",
            "invoice_date",
            "transaction_date",
            "timestamp",
        ),
        *("created_at", "datetime", "date", "day", "ds"),
    ),
    "quantity": ("quantity", "qty", "quantity_sold", "units_sold", "units", "unit_sales", "sales"),
    "store": ("store_id", "shop_id", "store", "shop", "store_nbr", "branch_id", "location_id"),
    "price": ("unit_price", "sell_price", "price", "price_per_unit"),
    "promotion": ("promotion", "on_promotion", "promotion_active", "is_promotion", "promo"),
    "category": ("category", "category_id", "product_category", "department", "dept_id"),
    "in_stock": ("in_stock", "is_available", "available"),
}
NEEDED = ("product", "at", "quantity")
#: Orders of these states sold nothing.
NOT_SOLD = ("cancelled", "canceled", "failed", "rejected", "void", "voided")
#: Forms of dates that CSV files have, as Spark writes them. Those with the day first and the month first may both fit: then we ask.
DATE_FORMATS = (
    *("yyyy-MM-dd", "dd.MM.yyyy", "d.M.yyyy", "yyyyMMdd", "yyyy/MM/dd"),
    *(
        "dd/MM/yyyy",
        "MM/dd/yyyy",
        "d/M/yyyy",
        "M/d/yyyy",
        "dd-MM-yyyy",
        "MM-dd-yyyy",
        "dd/MM/yy",
        "MM/dd/yy",
        "M/d/yy",
        "d/M/yy",
    ),
)


class SourceError(Exception):
    """Sales cannot be read; the message says why, and what to do."""


@dataclass(frozen=True)
class Source:
    """What the user said of where sales are.

    Args:
        address: ``postgresql://...``, ``clickhouse`` or a file.
        columns: columns by role, where the usual names do not fit.
        table: of PostgreSQL, with its schema if it has one; by default ``sales``, else ``order_items`` with ``orders``.
        time_zone: IANA zone that moments are put into before they are cut into days.
        days: how far back from the newest sale.
        date_format: of a CSV's dates, such as ``dd/MM/yyyy``; found out if empty.
        encoding: of a CSV; found out if empty.
    """

    address: str
    columns: Mapping[str, str] = field(default_factory=dict)
    table: str = ""
    time_zone: str = "UTC"
    days: int = 1095
    date_format: str = ""
    encoding: str = ""

    @property
    def kind(self) -> Literal["postgresql", "clickhouse", "csv"]:
        """Which of the three it is."""
        if self.address.startswith(("postgresql://", "postgres://")):
            return "postgresql"
        if self.address == "clickhouse":
            return "clickhouse"
        if "://" in self.address:
            scheme = self.address.split("://")[0]
            raise SourceError(f"sales are read from postgresql://..., clickhouse or a CSV file, not from {scheme}://")
        return "csv"

    @property
    def told(self) -> str:
        """How it is called in messages: without a password."""
        if self.kind != "postgresql":
            return self.address
        url = urlsplit(self.address)
        return f"postgresql://{url.hostname or 'localhost'}:{url.port or 5432}{url.path}"


def plain(name: str) -> str:
    """A column's name without case, spaces and marks: ``Invoice Date``, ``invoice_date`` and ``InvoiceDate`` are one."""
    return re.sub(r"[\W_]", "", name.lower())


def roles_of(tables: Sequence[Sequence[str]], said: Mapping[str, str], where: str) -> dict[str, tuple[int, str]]:
    """Which column has which role, as the table's number and the column's name: what was said, else the first usual name there.

    Of items and their orders the order says when and where, the item all else; the other table is looked into after it.

    Raises:
        SourceError: a column that was said is not there, a role that is unknown, or one that is needed and not found.
    """
    names = ", ".join(name for table in tables for name in table)
    if unknown := said.keys() - ROLES.keys():
        raise SourceError(f"--column {sorted(unknown)[0]}=...: what a column can mean is {', '.join(ROLES)}")
    found = {}
    for role, usual in ROLES.items():
        numbers = range(len(tables))
        for number in reversed(numbers) if role in ("at", "store") else numbers:
            known = {plain(name): name for name in reversed(tables[number])}
            wanted = [said[role]] if role in said else usual
            if match := next((known[plain(name)] for name in wanted if plain(name) in known), None):
                found[role] = number, match
                break
        if role in said and role not in found:
            raise SourceError(f"{where} has no column {said[role]!r}; it has {names}")
    if missing := [role for role in NEEDED if role not in found]:
        raise SourceError(
            f"{where} has no column that is plainly the {missing[0]} ({', '.join(ROLES[missing[0]][:4])}, ...); "
            f"it has {names}: say which with --column {missing[0]}=NAME"
        )
    return found


# PostgreSQL


@dataclass(frozen=True)
class Reading:
    """How Spark is to read PostgreSQL: a query with the columns store, product, day, quantity, price, promotion, category and
    in_stock, cut into pieces by conditions on when, and the login apart from the address.
    """

    url: str
    query: str
    pieces: tuple[str, ...]
    properties: Mapping[str, str] = field(repr=False)


def postgresql(source: Source) -> Reading:
    """Look at the database, and say how its sales are read.

    Raises:
        SourceError: it does not answer, lets nobody in, or has no such table or column, or no sales.
    """
    import psycopg

    try:
        with psycopg.connect(source.address, connect_timeout=10, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = on")
            return _reading(connection, source)
    except psycopg.Error as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceError(f"PostgreSQL cannot be read: {source.told}: {first}") from error


def _reading(connection: Connection[Any], source: Source) -> Reading:
    from psycopg import sql

    table = source.table or ("sales" if _columns(connection, "sales") else "order_items")
    types = [_columns(connection, table)]
    if not types[0]:
        there = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema') "
            "ORDER BY 1 LIMIT 20"
        ).fetchall()
        raise SourceError(
            f"{source.told} has no table {source.table or 'sales, and no order_items,'} that this user may read; it has "
            f"{', '.join(name for (name,) in there) or 'none'}: say which with --table NAME"
        )
    tables, where = sql.SQL("{} AS t0").format(_name(table)), f"{source.told}: {table}"
    if "order_id" in types[0] and (orders := _columns(connection, "orders")):
        types.append(orders)
        key = sql.Identifier("id" if "id" in orders else "order_id")
        tables += sql.SQL(" JOIN {} AS t1 ON t1.{} = t0.order_id").format(_name("orders"), key)
        where += " and orders"
    roles = roles_of([list(names) for names in types], source.columns, where)
    column = {role: sql.Identifier(f"t{number}", name) for role, (number, name) in roles.items()}
    kind = {role: types[number][name] for role, (number, name) in roles.items()}

    conditions = [sql.SQL("{} IS NOT NULL").format(column[role]) for role in NEEDED]
    if "status" in types[-1]:
        states = sql.SQL(", ").join(sql.Literal(state) for state in NOT_SOLD)
        status = sql.Identifier(f"t{len(types) - 1}", "status")
        conditions.append(sql.SQL("coalesce(lower({}::text), '') NOT IN ({})").format(status, states))
    rows = sql.SQL("FROM {} WHERE {}").format(tables, sql.SQL(" AND ").join(conditions))
    day = _day(column["at"], kind["at"], source.time_zone)
    first_day, last_day = connection.execute(
        sql.SQL("SELECT min({}), max({}) {}").format(day, day, rows)
    ).fetchone() or (None, None)
    if last_day is None:
        raise SourceError(f"{where} has no sales: nothing can be learnt from it")

    values = {
        "store": _text(column.get("store")),
        "product": _text(column["product"]),
        "day": day,
        "quantity": _number(column["quantity"]),
        "price": _number(column.get("price")),
        "promotion": _truth(column.get("promotion"), kind.get("promotion", "")),
        "category": _text(column.get("category")),
        "in_stock": _truth(column.get("in_stock"), kind.get("in_stock", "")),
        "at": column["at"],
    }
    chosen = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(value, sql.Identifier(role)) for role, value in values.items()
    )
    query = sql.SQL("(SELECT {} {}) AS sales").format(chosen, rows).as_string(connection)
    pieces = months(max(first_day, last_day - timedelta(days=source.days - 1)), last_day)
    return Reading(
        _jdbc(source.address),
        query,
        # On the column as it is, so that its index serves; a day more on both sides for the time zone, cut off by the day itself.
        tuple(
            f"\"at\" >= '{start - timedelta(days=1)}' AND \"at\" < '{end + timedelta(days=1)}' "
            f"AND day >= '{start}' AND day < '{end}'"
            for start, end in pieces
        ),
        _login(source.address),
    )


def _columns(connection: Connection[Any], table: str) -> dict[str, str]:
    """Types of a table's columns by name; of the first schema on the search path if none is said. Empty if it is not there."""
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (".".join(f'"{part}"' for part in table.split(".")),),
    ).fetchall()
    return dict(rows)


def _name(table: str) -> sql.Identifier:
    from psycopg import sql

    return sql.Identifier(*table.split("."))


def _day(column: sql.Composable, kind: str, time_zone: str) -> sql.Composable:
    """The day of a moment in the shops' zone. A timestamp without a zone is taken to be the shops' own time."""
    from psycopg import sql

    if kind == "timestamp with time zone":
        return sql.SQL("({} AT TIME ZONE {})::date").format(column, sql.Literal(time_zone))
    return sql.SQL("{}::date").format(column)


def _text(column: sql.Composable | None) -> sql.Composable:
    from psycopg import sql

    return sql.SQL("coalesce({}::text, '')").format(column or sql.SQL("NULL"))


def _number(column: sql.Composable | None) -> sql.Composable:
    from psycopg import sql

    return sql.SQL("{}::double precision").format(column or sql.SQL("NULL"))


def _truth(column: sql.Composable | None, kind: str) -> sql.Composable:
    """1 or 0, of a boolean or a number."""
    from psycopg import sql

    if column is None:
        return sql.SQL("NULL::double precision")
    if kind == "boolean":
        return sql.SQL("{}::int::double precision").format(column)
    return sql.SQL("({}::double precision > 0)::int::double precision").format(column)


def _jdbc(address: str) -> str:
    """The address as JDBC takes it: without the login, which goes by properties and so into no log."""
    url = urlsplit(address)
    if not url.hostname or url.hostname.startswith("/"):
        raise SourceError("Spark reaches PostgreSQL by network only: write postgresql://USER@HOST:PORT/DATABASE")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"jdbc:postgresql://{host}:{url.port or 5432}{url.path}"


def _login(address: str) -> dict[str, str]:
    url = urlsplit(address)
    asked = dict(parse_qsl(url.query))
    login = {
        "user": unquote(url.username or asked.get("user") or os.environ.get("PGUSER", "")),
        "password": unquote(url.password or asked.get("password") or os.environ.get("PGPASSWORD", "")),
        "sslmode": asked.get("sslmode", ""),
        "sslrootcert": asked.get("sslrootcert", ""),
    }
    return {name: value for name, value in login.items() if value}


def months(first: date, last: date) -> list[tuple[date, date]]:
    """The days from first to last in pieces of at most a month, the end of each not in it."""
    pieces = []
    start = first
    while start <= last:
        end = min((start.replace(day=1) + timedelta(days=32)).replace(day=1), last + timedelta(days=1))
        pieces.append((start, end))
        start = end
    return pieces


# CSV


@dataclass(frozen=True)
class Sheet:
    """A CSV file as Spark is to read it."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    roles: Mapping[str, str]


def sheet(source: Source) -> Sheet:
    """Look at the beginning of a CSV file: its encoding, delimiter, header, and which column means what.

    Raises:
        SourceError: no such file, no table in it, or a column that is needed is not there.
    """
    path = Path(source.address).expanduser().absolute()
    try:
        with _opened(path) as file:
            head = file.read(1 << 20)
    except OSError as error:
        raise SourceError(f"{source.address} cannot be read: {error.strerror or error}") from error
    if not head.strip():
        raise SourceError(f"{source.address} is empty: nothing can be learnt from it")
    encoding = source.encoding or encoding_of(head)
    try:
        text = codecs.getincrementaldecoder(encoding)(errors="strict").decode(head).lstrip("\ufeff")
    except (LookupError, UnicodeError) as error:
        raise SourceError(f"{source.address} is not {encoding}: say what it is with --encoding ({error})") from error
    first = text.splitlines()[0]
    delimiter = max(",;\t|", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter))
    roles = {role: name for role, (_, name) in roles_of([header], source.columns, source.address).items()}
    return Sheet(path, encoding, delimiter, tuple(header), roles)


def encoding_of(head: bytes) -> str:
    """UTF-16 by its mark, UTF-8 if the bytes are that, else windows-1252, which any bytes are.

    The last character of a beginning may be cut, which the incremental decoder forgives.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    try:
        codecs.getincrementaldecoder("utf-8")(errors="strict").decode(head)
    except UnicodeDecodeError:
        return "windows-1252"
    return "UTF-8"


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def best(counts: Mapping[str, int]) -> list[str]:
    """The forms of dates that most rows have; none if no row has any."""
    most = max(counts.values(), default=0)
    return [form for form in DATE_FORMATS if most and counts.get(form, 0) == most]


def date_format(fits: Sequence[str], column: str) -> str:
    """The form of a CSV's dates, of those that fit best.

    Raises:
        SourceError: none fits, or day and month may be the one or the other.
    """
    if not fits:
        raise SourceError(
            f"no known form of dates fits the column {column}: say it with --date-format, such as dd/MM/yyyy"
        )
    day_first = [form for form in fits if form.index("d") < form.index("M")]
    month_first = [form for form in fits if form not in day_first]
    if day_first and month_first:
        raise SourceError(
            f"the dates in {column} can be read as {day_first[0]} and as {month_first[0]}: say which with --date-format"
        )
    return fits[0]
