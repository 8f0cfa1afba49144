"""A column's rule, applied to whole batches: each distinct text is judged once, and most need no more than a look.

The rules themselves are functions of one text (``cells``, ``numbers``, ``units``, ``dates``, ``gtin``). What is written
plainly already is told apart by one regular expression over the distinct texts of a batch; only the rest goes through Python,
and is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as later
from datetime import date
from typing import NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from producers.stock import cells, dates, gtin, numbers, units
from producers.stock.cells import Cell
from producers.stock.schema import EARLIEST, Field, Kind

REMEMBERED = 200_000
MOST_SPELLINGS = 200_000
"""A column of text with more distinct texts than this keeps its cases as they are."""

_PLAIN = {
    Kind.IDENTIFIER: cells.PLAIN_TEXT,
    Kind.TEXT: cells.PLAIN_TEXT,
    Kind.UNIT: r"^(?:kg|l|pcs)$",
    Kind.CURRENCY: r"^[A-Z]{3}$",
    Kind.GTIN: gtin.PLAIN,
    Kind.NUMBER: numbers.PLAIN,
    Kind.MONEY: numbers.PLAIN,
    Kind.QUANTITY: numbers.PLAIN,
    Kind.SIZE: r"^$",
    Kind.DATE: dates.PLAIN_DATE,
    Kind.TIME: dates.PLAIN_TIME,
}
BESIDE = "\x00"
"""Between a quantity and the unit that another column names."""
SPELLING = "spelling as in most of the column's cells"


@dataclass
class Evidence:
    """What the whole of a column has shown, before any of it is cleaned."""

    filled: int = 0
    decimals: set[str] = later(default_factory=set)
    orders: set[tuple[str, str]] = later(default_factory=set)
    whole_numbers: bool = True
    currencies: bool = False
    units: bool = False
    packs: bool = False
    spellings: pl.DataFrame | None = None
    overflowed: bool = False

    @property
    def decimal(self) -> str:
        """The decimal mark, if the column has proven one and not the other."""
        return next(iter(self.decimals)) if len(self.decimals) == 1 else ""


class Judged(NamedTuple):
    """What became of a batch's column.

    ``before``: the cells as they were judged, ``values``: cleaned. ``texts``: a frame (text, n, value, done, reason) of the
    distinct texts that were changed, emptied or doubted. ``parts``: further columns that the cells held (unit, currency, content).
    """

    before: pl.Series
    values: pl.Series
    texts: pl.DataFrame
    parts: dict[str, pl.Series]


_TEXTS = {"text": pl.String, "n": pl.UInt32, "value": pl.String, "done": pl.String, "reason": pl.String}


@dataclass
class Column:
    """One column of a file: where it is, what it means, and what it has shown."""

    source: str
    name: str
    field: Field
    extra: bool = False
    header_unit: str = ""
    header_currency: str = ""
    seen: Evidence = later(default_factory=Evidence)
    _known: dict[str, tuple[Cell, str, str, str]] = later(default_factory=dict)
    _noted: set[str] = later(default_factory=set)
    _respelled: dict[str, str] = later(default_factory=dict)
    _settled: bool = False

    @property
    def kind(self) -> Kind:
        """Which rule holds."""
        return self.field.kind

    # First pass.

    def note(self, values: pl.Series) -> None:
        """Take in what a batch of raw cells shows."""
        counted = _counted(values)
        self.seen.filled += int(counted["n"].sum())
        texts = counted["text"]
        if self.kind in (Kind.NUMBER, Kind.MONEY, Kind.QUANTITY, Kind.SIZE):
            if texts.str.contains(r"^-?[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,})$").any():
                self.seen.decimals.add(".")
            self._each_new(texts.filter(~texts.str.contains(numbers.PLAIN)), self._note_number)
        elif self.kind in (Kind.DATE, Kind.TIME):
            self._each_new(
                texts.filter(~texts.str.contains(r"^[0-9]{4}-")), lambda one: self.seen.orders.add(dates.evidence(one))
            )
        elif self.kind is Kind.IDENTIFIER:
            self.seen.whole_numbers = self.seen.whole_numbers and bool(texts.str.contains(r"^\s*[0-9]+\.0\s*$").all())
        elif self.kind is Kind.TEXT and not self.seen.overflowed:
            self._note_spellings(counted)

    def _note_number(self, one: str) -> None:
        amount = one
        if self.kind in (Kind.QUANTITY, Kind.SIZE):
            amount = units.bare(one)
            if amount != cells.squeezed(one):
                self.seen.units = True
                self.seen.packs = self.seen.packs or self.kind is Kind.SIZE or units.is_pack(one)
        elif self.kind is Kind.MONEY and numbers.currency(one):
            self.seen.currencies = True
        self.seen.decimals.add(numbers.evidence(amount))
        self.seen.decimals.discard("")

    def _note_spellings(self, counted: pl.DataFrame) -> None:
        plain = counted["text"].str.contains(cells.PLAIN_TEXT)
        tidy = counted.filter(plain)
        if not plain.all():
            odd = counted.filter(~plain).with_columns(
                pl.Series("text", [cells.squeezed(one) for one in counted.filter(~plain)["text"]], pl.String)
            )
            tidy = pl.concat([tidy, odd])
        known = tidy if self.seen.spellings is None else pl.concat([self.seen.spellings, tidy])
        known = known.group_by("text").agg(pl.col("n").sum())
        self.seen.overflowed = known.height > MOST_SPELLINGS
        self.seen.spellings = None if self.seen.overflowed else known

    def _each_new(self, texts: pl.Series, act: Callable[[str], object]) -> None:
        for one in texts:
            if one not in self._noted:
                act(one)
                if len(self._noted) < REMEMBERED:
                    self._noted.add(one)

    def settle(self, decimal: str = "") -> None:
        """The first pass is over: what the column has shown holds from here on.

        Args:
            decimal: the decimal mark that a person has stated for the file.
        """
        self._settled = True
        if decimal:
            self.seen.decimals = {decimal}
        self._known.clear()
        self._noted.clear()
        if self.seen.spellings is not None:
            several = (
                self.seen.spellings.with_columns(folded=pl.col("text").str.to_lowercase())
                .filter(pl.len().over("folded") > 1)
                .sort(["n", "text"], descending=[True, False])
                .group_by("folded", maintain_order=True)
                .first()
            )
            self._respelled = dict(several.select("folded", "text").iter_rows())

    def top_texts(self) -> dict[str, int]:
        """The most frequent texts of a column of words, with their numbers of cells."""
        if self.seen.spellings is None:
            return {}
        folded = self.seen.spellings.group_by(pl.col("text").str.to_lowercase()).agg(
            pl.col("n").sum(), pl.col("text").sort_by("n", descending=True).first().alias("shown")
        )
        return dict(folded.sort("n", "shown", descending=[True, False]).head(8).select("shown", "n").iter_rows())

    def remarks(self) -> list[str]:
        """What the column has shown that decided how its cells were read, in words."""
        told = []
        if len(self.seen.decimals) > 1:
            told.append(
                "some cells prove a decimal point and others a decimal comma: cells that could be either stay empty"
            )
        elif self.seen.decimals:
            told.append(f"decimal mark: {'point' if self.seen.decimal == '.' else 'comma'}, as its cells prove")
        proven = dates.orders(self.seen.orders)
        for mark in sorted({mark for mark, _ in self.seen.orders if mark}):
            if mark in proven:
                first, second = ("day", "month") if proven[mark] == "dmy" else ("month", "day")
                told.append(f"{first} before {second} where {mark!r} is between them, as its cells prove")
            else:
                told.append(
                    f"day and month stand in both orders around {mark!r}: dates that could be either stay empty"
                )
        if self.header_unit:
            told.append(f"the header says {self.header_unit}")
        if self.header_currency:
            told.append(f"the header says {self.header_currency}")
        if self.seen.overflowed:
            told.append(f"over {MOST_SPELLINGS:,} distinct texts: upper and lower case stay as they are")
        return told

    # Second pass.

    def judge(self, values: pl.Series, today: date, zone: ZoneInfo, named: pl.Series | None = None) -> Judged:
        """Clean a batch of cells.

        Args:
            today: later dates are in the future.
            zone: of times without an offset.
            named: for a quantity, the unit that another column names beside each cell.
        """
        if named is not None:
            values = _beside(values, named)
        counted = _counted(values)
        texts = counted["text"]
        plain = texts.str.contains(_PLAIN[self.kind])
        if self.kind in (Kind.TEXT, Kind.IDENTIFIER):
            plain &= ~texts.str.contains(cells.MARKER_TEXT)
        if self.kind is Kind.IDENTIFIER:
            plain &= ~texts.str.contains(r"^(?:[0-9]+\.0|[+-]?[0-9][.,][0-9]+[eE]\+?[0-9]+)$")
        if self.kind is Kind.GTIN:
            plain &= _valid_gtins(texts)
        if self.kind is Kind.QUANTITY and self.header_unit and units.known_unit(self.header_unit) != self.header_unit:
            plain &= False
        found = [self._written_plainly(counted.filter(plain), today, zone)]
        if not plain.all():
            odd, local = counted.filter(~plain), None
            if self.kind is Kind.TIME:
                local = _local_times(odd, self.field, today, zone, dates.orders(self.seen.orders))
                odd = odd.join(local, on="text", how="anti") if local.height else odd
                found.append(local)
            found.append(self._one_by_one(odd, today, zone))
        changes = pl.concat(
            [frame.select(_TEXTS.keys()) for frame in found if frame.height] or [pl.DataFrame(schema=_TEXTS)]
        )
        moved = changes.filter(pl.col("value").ne_missing(pl.col("text")))
        cleaned = values.replace(moved["text"], moved["value"]) if moved.height else values
        return Judged(values, cleaned, changes, self._parts(values, cleaned, texts, plain, today, zone))

    def _written_plainly(self, counted: pl.DataFrame, today: date, zone: ZoneInfo) -> pl.DataFrame:
        """Of texts in our own form: those that are out of range or doubtful, or are spelled otherwise in most cells."""
        blank = pl.lit("")
        if self.field.numeric:
            value = pl.col("text").cast(pl.Float64)
            return self._judged_range(counted.with_columns(value=value), blank)
        if self.kind is Kind.DATE:
            moment = pl.col("text").str.to_date("%Y-%m-%d", strict=False)
            fine = moment.is_between(EARLIEST, self.field.latest(today))
            return self._python(counted.filter(~fine.fill_null(False)), today, zone)
        if self.kind is Kind.TIME:
            moment = pl.col("text").str.head(19).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False).dt.date()
            fine = moment.is_between(EARLIEST, self.field.latest(today))
            return self._python(counted.filter(~fine.fill_null(False)), today, zone)
        if self.kind is Kind.TEXT and (respelled := self._respelled):
            folded = counted["text"].str.to_lowercase()
            several = folded.is_in(list(respelled))
            chosen = counted.filter(several).with_columns(value=folded.filter(several).replace(respelled))
            return chosen.filter(pl.col("value") != pl.col("text")).with_columns(done=pl.lit(SPELLING), reason=blank)
        return pl.DataFrame(schema=_TEXTS)

    def _judged_range(self, counted: pl.DataFrame, blank: pl.Expr) -> pl.DataFrame:
        low, high, doubtful = self.field.minimum, self.field.maximum, self.field.doubtful_to
        value = pl.col("value")
        below = pl.when(value < low if low is not None else False).then(pl.lit(_too_low(self.field)))
        reason = below.when(value > high if high is not None else False).then(pl.lit(_too_high(self.field)))
        why = reason.otherwise(pl.lit(None))
        doubt = pl.when(value <= doubtful if doubtful is not None else False).then(
            pl.when(value < 0)
            .then(pl.lit("a price below 0: kept, a till books corrections so"))
            .otherwise(pl.lit("a price of 0: kept, somebody should look"))
        )
        return (
            counted.with_columns(why=why, doubt=doubt.otherwise(pl.lit(None)))
            .filter(pl.col("why").is_not_null() | pl.col("doubt").is_not_null())
            .with_columns(
                value=pl.when(pl.col("why").is_null()).then(pl.col("text")),
                done=blank,
                reason=pl.coalesce("why", "doubt"),
            )
        )

    def _one_by_one(self, odd: pl.DataFrame, today: date, zone: ZoneInfo) -> pl.DataFrame:
        judged = self._python(odd, today, zone)
        if self.kind is Kind.TEXT and (respelled := self._respelled):
            chosen = pl.col("value").str.to_lowercase().replace_strict(respelled, default=None)
            judged = judged.with_columns(value=pl.coalesce(chosen, "value"))
        if not self.field.numeric:
            return judged
        ranged = self._judged_range(
            judged.filter(pl.col("value").is_not_null()).select("text", "n", value=pl.col("value").cast(pl.Float64)),
            pl.lit(""),
        )
        if not ranged.height:
            return judged
        # Kept, doubtful values are written as the rule wrote them.
        outside = ranged.select("text", why="reason", out=pl.col("value").is_null())
        return judged.join(outside, on="text", how="left").with_columns(
            value=pl.when(pl.col("out").fill_null(False)).then(None).otherwise("value"),
            reason=pl.when(pl.col("why").is_not_null()).then("why").otherwise("reason"),
        )

    def _python(self, odd: pl.DataFrame, today: date, zone: ZoneInfo) -> pl.DataFrame:
        """The distinct texts one by one, as the rule has it."""
        if not odd.height:
            return pl.DataFrame(schema=_TEXTS)
        judged = [self._cell(one, today, zone)[0] for one in odd["text"]]
        return pl.DataFrame(
            {
                "text": odd["text"],
                "n": odd["n"],
                "value": pl.Series([cell.value for cell in judged], dtype=pl.String),
                "done": pl.Series([cell.done for cell in judged], dtype=pl.String),
                "reason": pl.Series([cell.reason for cell in judged], dtype=pl.String),
            }
        )

    def _cell(self, one: str, today: date, zone: ZoneInfo) -> tuple[Cell, str, str, str]:
        """(cell, unit, content, its unit) of one text; the currency, for money, stands in place of the unit."""
        known = self._known.get(one)
        if known is None:
            known = self._rule(one, today, zone)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[one] = known
        return known

    def _rule(self, one: str, today: date, zone: ZoneInfo) -> tuple[Cell, str, str, str]:
        kind, decimal = self.kind, self.seen.decimal
        if kind is Kind.QUANTITY:
            own, _, named = one.partition(BESIDE)
            found = units.measure(own, decimal, named or self.header_unit)
            return found.amount, found.unit or units.unit(named).value or "", found.content, found.content_unit
        if kind is Kind.SIZE:
            found, amount = units.measure(one, decimal, self.header_unit), ""
            if found.content:
                amount, content, unit = found.amount.value or "", found.content, found.content_unit
            elif found.unit in ("kg", "l"):
                content, unit = found.amount.value or "", found.unit
            else:
                content = unit = ""
            return cells.text(one), amount, content, unit
        if kind is Kind.MONEY:
            return numbers.number(one, decimal), numbers.currency(one) or self.header_currency, "", ""
        if kind is Kind.NUMBER:
            cell = numbers.number(one, decimal)
        elif kind is Kind.DATE:
            cell = dates.day(one, dates.orders(self.seen.orders), self.field.latest(today), EARLIEST)
        elif kind is Kind.TIME:
            cell = dates.instant(one, dates.orders(self.seen.orders), self.field.latest(today), EARLIEST, zone)
        elif kind is Kind.GTIN:
            cell = gtin.gtin(one)
        elif kind is Kind.IDENTIFIER:
            whole = (self._settled and self.seen.whole_numbers) or self.name in ("customer_id", "transaction_id")
            cell = cells.identifier(one, whole)
        elif kind is Kind.UNIT:
            cell = units.unit(one)
        elif kind is Kind.CURRENCY:
            cell = _currency(one)
        else:
            cell = cells.text(one)
        return cell, "", "", ""

    def _parts(
        self, values: pl.Series, cleaned: pl.Series, texts: pl.Series, plain: pl.Series, today: date, zone: ZoneInfo
    ) -> dict[str, pl.Series]:
        """What the cells held besides their amount: name and place in what ``_cell`` gives."""
        wanted = {
            Kind.MONEY: {"currency": 1} if self.seen.currencies or self.header_currency else {},
            Kind.QUANTITY: {"unit": 1, **({"content": 2, "content_unit": 3} if self.seen.packs else {})},
            Kind.SIZE: {"pack_count": 1, "content": 2, "content_unit": 3},
        }.get(self.kind, {})
        odd = texts.filter(~plain)
        found = [self._cell(one, today, zone) for one in odd] if wanted else []
        usual = {"currency": self.header_currency, "unit": units.known_unit(self.header_unit)}
        frame = pl.DataFrame({"value": values, "known": cleaned.is_not_null()})
        parts = {}
        for name, place in wanted.items():
            told = pl.lit(usual.get(name) or None, pl.String)
            if len(odd):
                other = pl.Series([one[place] or None for one in found], dtype=pl.String)
                special = pl.col("value").replace_strict(odd, other, default=None, return_dtype=pl.String)
                told = pl.when(pl.col("value").is_in(odd.implode())).then(special).otherwise(told)
            parts[name] = frame.select(pl.when("known").then(told).alias(name))[name]
        return parts


def _counted(values: pl.Series) -> pl.DataFrame:
    """(text, n) of the cells that are not blank, each distinct text once."""
    named = values.alias("text").drop_nulls()
    return named.value_counts(name="n")


def _beside(values: pl.Series, named: pl.Series) -> pl.Series:
    """Quantities with the unit of another column after a zero byte, where that is not one of ours already."""
    frame = pl.DataFrame({"value": values, "unit": named})
    joined = pl.col("value") + BESIDE + pl.col("unit")
    other = pl.col("unit").is_not_null()
    return frame.select(pl.when(other).then(joined).otherwise("value").alias("value"))["value"]


def _currency(one: str) -> Cell:
    cell = cells.text(one)
    if cell.value is None:
        return cell
    code = numbers.CURRENCIES.get(cell.value.lower())
    if code:
        return Cell(code, numbers.OTHER_FORM if code != one else "")
    if code is None and len(cell.value) == 3 and cell.value.isascii() and cell.value.isalpha():
        return Cell(cell.value.upper(), numbers.OTHER_FORM)
    return Cell(None, reason="several currencies have this sign" if code == "" else "is not a currency")


def _valid_gtins(texts: pl.Series) -> pl.Series:
    """Which of these digits end in their check digit."""
    frame = texts.alias("text").to_frame().select(pl.col("text").str.zfill(14))
    total = sum(
        (
            pl.col("text").str.slice(place, 1).cast(pl.Int32, strict=False) * (3 if place % 2 == 0 else 1)
            for place in range(14)
        ),
        start=pl.lit(0),
    )
    return frame.select((total % 10 == 0).fill_null(False).alias("text"))["text"]


def _local_times(odd: pl.DataFrame, field: Field, today: date, zone: ZoneInfo, orders: dict[str, str]) -> pl.DataFrame:
    """Times with seconds and without an offset, in UTC, of the forms that fill whole columns: year first, or two digits each for
    day and month in a proven order. Those that are out of range or do not exist are left to Python.
    """
    forms = [(dates.LOCAL_TIME, "%Y-%m-%d %H:%M:%S", "yyyy-mm-dd")]
    for mark, order in orders.items():
        if mark in "/-":
            first, second = ("%d", "%m") if order == "dmy" else ("%m", "%d")
            named = "dd{0}mm{0}yyyy" if order == "dmy" else "mm{0}dd{0}yyyy"
            digits = rf"^[0-9]{{2}}{mark}[0-9]{{2}}{mark}[0-9]{{4}} [0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}$"
            forms.append((digits, f"{first}{mark}{second}{mark}%Y %H:%M:%S", named.format(mark)))
    parts = []
    for shape, form, name in forms:
        shaped = odd.filter(pl.col("text").str.contains(shape))
        if not shaped.height:
            continue
        moment = pl.col("text").str.replace("T", " ", literal=True).str.to_datetime(form, strict=False, time_unit="us")
        moment = moment.dt.replace_time_zone(zone.key, ambiguous="null", non_existent="null").dt.convert_time_zone(
            "UTC"
        )
        fine = shaped.with_columns(moment=moment).filter(
            pl.col("moment").dt.date().is_between(EARLIEST, field.latest(today))
        )
        written = pl.col("moment").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        parts.append(fine.select("text", "n", value=written, done=pl.lit(f"time from {name}"), reason=pl.lit("")))
    return pl.concat(parts) if parts else pl.DataFrame(schema=_TEXTS)


def _too_low(field: Field) -> str:
    if field.kind is Kind.MONEY:
        return "a price of 0 or below"
    return "is negative" if field.minimum == 0 else f"is below {field.minimum:,.10g}"


def _too_high(field: Field) -> str:
    return f"is above {field.maximum:,.10g}"
