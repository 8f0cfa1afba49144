"""A CSV file to a clean one: what can be known is written in one form, what cannot is empty and listed.

The first pass learns what the columns show (decimal marks, order of day and month, spellings, units) and where keys occur
again; rows with such keys are then read once more and compared; the last pass cleans and writes. Each pass reads the file in
blocks, so memory does not grow with the file but for 16 bytes a row, the hashes of its key and product.

Cleaning what is clean changes nothing, and the same file and options give the same bytes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from producers.stock import duplicates, reading, units
from producers.stock.reading import Block, Source, UnreadableError
from producers.stock.rules import BESIDE, Column, Judged
from producers.stock.schema import SCHEMAS, Field, Kind, Schema, assign, best_schema, header, model

SAMPLES = 5
FEW = 0.2
NO_PRODUCT = "names no product"
ISSUES: dict[str, type[pl.DataType]] = {
    "line": pl.Int64,
    "column": pl.String,
    "what": pl.String,
    "reason": pl.String,
    "original": pl.String,
    "stays": pl.Int64,
    "record": pl.String,
    "record_base64": pl.String,
}
REFUSED, DUPLICATE, EMPTIED, DOUBTED = "row refused", "duplicate removed", "cell emptied", "kept, look at it"
_EDGES = np.array([edge * 10.0**power for power in range(-2, 8) for edge in (1, 2, 5)])


_UTC = ZoneInfo("UTC")


@dataclass(frozen=True)
class Options:
    """How to clean. ``today``: later dates are in the future. Empty texts: found out from the file."""

    today: date
    time_zone: ZoneInfo = _UTC
    schema: str = ""
    encoding: str = ""
    delimiter: str = ""
    decimal: str = ""
    keep_duplicates: bool = False
    block: int = reading.BLOCK


@dataclass
class ColumnReport:
    """What was found and done in one column. Counts are of cells; samples are (line, before, after)."""

    name: str
    written: str
    kind: str
    meaning: str
    filled: int = 0
    filled_after: int = 0
    done: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)
    doubted: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    histogram: Counter[str] = field(default_factory=Counter)
    total: float = 0.0
    remarks: list[str] = field(default_factory=list)


@dataclass
class Summary:
    """What became of a file."""

    source: Source
    schema: Schema
    options: Options
    rows: int = 0
    written: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    conflicts: int = 0
    products: int = 0
    columns: list[ColumnReport] = field(default_factory=list)
    samples: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)

    @property
    def repeated_products(self) -> int:
        """Rows whose product an earlier row has named."""
        return self.rows - self.refused.total() - self.products


def clean(
    path: Path,
    out: Path,
    rejects: Path,
    options: Options,
    report: Path | None = None,
    progress: Callable[[str, int], None] = lambda step, row: None,
) -> Summary:
    """Clean one file.

    Args:
        out: the cleaned rows, CSV or, by its suffix, Parquet.
        rejects: every refused row, removed duplicate, emptied and doubtful cell, as CSV.
        report: an HTML page about it.
        progress: told the step and the rows done of it, every block.

    Outputs appear whole or not at all.

    Raises:
        UnreadableError: the file is not a table that we know.
        OSError: a file cannot be read or written.
    """
    source = reading.source(path, options.encoding, options.delimiter)
    schema = SCHEMAS[options.schema] if options.schema else best_schema(source.header)
    if schema is None:
        raise UnreadableError(f"its header fits neither a stock list nor sales: {', '.join(source.header)[:300]}")
    job = _Job(source, schema, options, progress)
    job.learn()
    job.find_duplicates()
    targets = [out, rejects] + ([report] if report else [])
    with _drafts(targets) as drafts:
        job.write(drafts[0], drafts[1])
        if report:
            from producers.stock.report import page

            drafts[2].write_text(page(job.summary), encoding="utf-8")
    return job.summary


@contextmanager
def _drafts(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """Files beside their targets that take their places, synced to disk, when the block ends well; else they go."""
    drafts = [target.with_name(f".{target.name}.{os.getpid()}.draft") for target in targets]
    try:
        yield drafts
        for draft in drafts:
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
        # The cleaned rows come last: when they are there, all is.
        for draft, target in reversed(list(zip(drafts, targets, strict=True))):
            draft.replace(target)
        for folder in {target.parent for target in targets}:
            opened = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


@dataclass
class _Batch:
    """Rows of a block that name a product, their columns by name, and their places and lines in the file. ``judged``: columns
    that had to be cleaned to know that.
    """

    block: Block
    frame: pl.DataFrame
    places: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    unnamed: npt.NDArray[np.int64]
    judged: dict[str, Judged]


class _Job:
    def __init__(self, source: Source, schema: Schema, options: Options, progress: Callable[[str, int], None]) -> None:
        self.source, self.schema, self.options, self.progress = source, schema, options, progress
        self.columns = _columns(source, schema)
        self.by_name = {column.name: column for column in self.columns}
        self.keys: duplicates.Hashes = np.empty(0, np.uint64)
        self.complete = np.empty(0, bool)
        self.unnamed = 0
        self.found = duplicates.Found()
        self.summary = Summary(source, schema, options)

    # First pass.

    def learn(self) -> None:
        """What the columns show, and a hash of each row's key."""
        keys, complete, products = [], [], []
        for batch in self._batches("looking"):
            for column in self.columns:
                column.note(batch.frame[column.name])
            key, whole, product = self._hashes(batch)
            keys.append(key)
            complete.append(whole)
            products.append(product)
            self.unnamed += len(batch.unnamed)
        if keys:
            self.keys, self.complete = np.concatenate(keys), np.concatenate(complete)
            keys.clear()
            ordered = np.concatenate(products)
            products.clear()
            ordered.sort()
            self.summary.products = int((ordered[1:] != ordered[:-1]).sum()) + bool(len(ordered))
            del ordered
        for column in self.columns:
            column.settle(self.options.decimal)

    def _batches(self, step: str) -> Iterator[_Batch]:
        """The file's rows that name a product; the same rows, in the same order, in every pass."""
        rows = 0
        for block in self.source.blocks(self.options.block):
            frame = self._renamed(block)
            judged = {}
            named = np.zeros(frame.height, bool)
            for name in self.schema.identity:
                if name in self.by_name and not named.all():
                    judged[name] = self._judge(self.by_name[name], frame)
                    named |= judged[name].values.is_not_null().to_numpy()
            places, unnamed = np.flatnonzero(named), np.flatnonzero(~named)
            if len(unnamed):
                frame, judged = frame[places], {}
            yield _Batch(block, frame, places, block.lines[places], unnamed, judged)
            rows += frame.height
            self.progress(step, rows)

    def _renamed(self, block: Block) -> pl.DataFrame:
        """A block's columns under their names; a time of day of its own goes beside its date."""
        frame = block.frame.rename({column.source: column.name for column in self.columns})
        if {"sold_clock", "sold_at"} <= self.by_name.keys():
            alone = ~pl.col("sold_at").str.contains(":", literal=True) & pl.col("sold_clock").is_not_null()
            joined = pl.col("sold_at").str.strip_chars() + " " + pl.col("sold_clock").str.strip_chars()
            frame = frame.with_columns(sold_at=pl.when(alone).then(joined).otherwise("sold_at"))
        return frame

    def _hashes(self, batch: _Batch) -> tuple[duplicates.Hashes, npt.NDArray[np.bool_], duplicates.Hashes]:
        """A hash of each row's key, whether it has all parts of it, and a hash of its product."""
        judged = {}

        def first_of(names: Sequence[str]) -> list[pl.Expr]:
            """The first of these that a row has, and which of them it is."""
            found = [name for name in names if name in self.by_name]
            if names == self.schema.identity and batch.judged:
                found = list(batch.judged)  # these name a product in every row
            for name in found:
                if name not in judged:
                    values = (batch.judged.get(name) or self._judge(self.by_name[name], batch.frame)).values
                    judged[name] = values.str.to_lowercase() if self.by_name[name].kind is Kind.TEXT else values
            if not found:
                return [pl.lit(None, pl.String)]
            which = pl.coalesce(
                [pl.when(pl.col(name).is_not_null()).then(pl.lit(names.index(name), pl.Int8)) for name in found]
            )
            return [pl.coalesce(found), which]

        product = first_of(self.schema.identity)
        parts = [
            one.alias(f"{place} {number}")
            for place, group in enumerate(self.schema.key)
            for number, one in enumerate(first_of(group))
        ]
        further = [
            one.alias(f"further {place}")
            for place, name in enumerate(self.schema.further_key)
            for one in first_of((name,))[:1]
        ]
        frame = pl.DataFrame(judged)
        rows = frame.select(*parts, *further) if judged else pl.DataFrame()
        complete = rows.select(pl.all_horizontal(pl.col("^[0-9]+ 0$").is_not_null()))
        named = frame.select(one.alias(str(number)) for number, one in enumerate(product))
        return duplicates.key_hashes(rows), complete.to_series().to_numpy(), duplicates.key_hashes(named)

    def _judge(self, column: Column, frame: pl.DataFrame) -> Judged:
        named = frame["unit"] if column.kind is Kind.QUANTITY and "unit" in self.by_name else None
        return column.judge(frame[column.name], self.options.today, self.options.time_zone, named)

    # Between.

    def find_duplicates(self) -> None:
        """Compare the rows whose keys occur again; a row that lacks a part of its key is compared as a whole."""
        if not self.complete.all():
            first = 0
            for batch in self._batches("comparing"):
                rows = np.flatnonzero(~self.complete[first : first + batch.frame.height])
                if len(rows):
                    self.keys[rows + first] = duplicates.key_hashes(self._comparable_cells(batch.frame[rows]))
                first += batch.frame.height
        again = duplicates.repeated(self.keys)
        if not len(again):
            return
        candidates = _among(self.keys, again)
        goes = 1 + int(candidates.sum()) // duplicates.AT_ONCE
        found = []
        for go in range(goes):
            chosen = candidates & (self.keys % goes == go) if goes > 1 else candidates
            found.append(duplicates.decide(self.schema, self._comparable(chosen)))
        self.found = duplicates.together(found)
        self.keys = np.empty(0, np.uint64)

    def _comparable(self, chosen: npt.NDArray[np.bool_]) -> pl.DataFrame:
        parts, first, rows = [], 0, np.flatnonzero(chosen)
        for raw, lines in self._chosen(chosen):
            if raw.height:
                places = rows[first : first + raw.height]
                cleaned = self._comparable_cells(raw)
                parts.append(duplicates.comparable(self.schema, raw, cleaned, places, lines, self.keys[places]))
                first += raw.height
        return pl.concat(parts)

    def _chosen(self, chosen: npt.NDArray[np.bool_]) -> Iterator[tuple[pl.DataFrame, npt.NDArray[np.int64]]]:
        """Rows with their lines; only they are parsed where every row of the file names a product and they are few."""
        if self.unnamed == 0 and chosen.mean() < FEW:
            for block in self.source.blocks(self.options.block, chosen):
                yield self._renamed(block), block.lines
            return
        first = 0
        for batch in self._batches("comparing"):
            within = np.flatnonzero(chosen[first : first + batch.frame.height])
            yield batch.frame[within], batch.lines[within]
            first += batch.frame.height

    def _comparable_cells(self, raw: pl.DataFrame) -> pl.DataFrame:
        """Cleaned rows in which 2.5 and 2.50 are the same."""
        return self._cleaned(raw)[0].select(
            pl.col(name).cast(pl.Float64) if self._is_numeric(name) else pl.col(name) for name in self._names()
        )

    # Last pass.

    def write(self, out: Path, rejects: Path) -> None:
        """Clean, check and write every row, and list what was not taken."""
        reports = self._reports()
        known = [one for name in self._names() if (one := self._field(name))]
        checked = model(known, self._extras(), self.options.today)
        parquet = ".parquet" in out.suffixes
        rows_to = out.with_name(f"{out.name}.csv") if parquet else out
        with ExitStack() as stack:
            if parquet:
                stack.callback(rows_to.unlink, missing_ok=True)
            with rows_to.open("wb") as rows_file, rejects.open("wb") as rejects_file:
                pl.DataFrame(schema=dict.fromkeys(self._names(), pl.String)).write_csv(rows_file)
                pl.DataFrame(schema=ISSUES).write_csv(rejects_file)
                self._refuse(self.source.skipped, rejects_file)
                first = 0
                for batch in self._batches("writing"):
                    self._write_batch(batch, first, reports, rows_file, rejects_file, checked)
                    first += batch.frame.height
            if parquet:
                pl.scan_csv(rows_to, schema=dict.fromkeys(self._names(), pl.String)).select(self._types()).sink_parquet(
                    out
                )
        self.summary.columns = list(reports.values())

    def _write_batch(
        self,
        batch: _Batch,
        first: int,
        reports: dict[str, ColumnReport],
        rows_file: IO[bytes],
        rejects_file: IO[bytes],
        checked: object,
    ) -> None:
        summary, count = self.summary, batch.frame.height
        frame, judged = self._cleaned(batch.frame, batch.judged)
        gone = list(self.found.within(first, count))
        stays = np.ones(count, bool)
        issues = [self._duplicate_issues(batch, gone)]
        for row, rule, line in gone:
            summary.duplicates[rule] += 1
            stays[row] = self.options.keep_duplicates
            _sample(
                summary.samples,
                rule,
                int(batch.lines[row]),
                batch.block.raw(int(batch.places[row])).decode(errors="replace"),
                f"line {line} stays",
            )
        conflicts = [(row, line) for row, line in self.found.conflicts_within(first, count) if stays[row]]
        summary.conflicts += len(conflicts)
        issues.append(
            _frame(
                [
                    {"line": int(batch.lines[row]), "what": DOUBTED, "reason": duplicates.CONFLICT, "stays": line}
                    for row, line in conflicts
                ]
            )
        )
        for row, line in conflicts[:SAMPLES]:
            _sample(
                summary.samples,
                duplicates.CONFLICT,
                int(batch.lines[row]),
                batch.block.raw(int(batch.places[row])).decode(errors="replace"),
                f"line {line} too",
            )
        for name, found in judged.items():
            issues.append(self._cell_issues(name, found, batch, stays, reports[name]))
        written = frame.select(self._names())
        if not stays.all():
            written = written.filter(pl.Series(stays))
        typed = written.select(self._types())
        checked.validate(typed)  # type: ignore[attr-defined]
        written.write_csv(rows_file, include_header=False)
        self._tally(typed, reports)
        refused = [
            *batch.block.refused,
            *(
                reading.Refused(int(batch.block.lines[place]), NO_PRODUCT, batch.block.raw(int(place)))
                for place in batch.unnamed
            ),
        ]
        self._refuse(refused, None, issues)
        listed = pl.concat([one for one in issues if one.height] or [pl.DataFrame(schema=ISSUES)])
        listed.sort("line", "column", nulls_last=False, maintain_order=True).write_csv(
            rejects_file, include_header=False
        )
        summary.rows += count + len(refused)
        summary.written += written.height

    def _cleaned(
        self, raw: pl.DataFrame, known: dict[str, Judged] | None = None
    ) -> tuple[pl.DataFrame, dict[str, Judged]]:
        """The output's columns as text, and what became of each of the file's; some may be known already."""
        judged: dict[str, Judged] = {}
        parts: dict[str, list[pl.Series]] = {}
        for column in self.columns:
            found = (known or {}).get(column.name) or self._judge(column, raw)
            judged[column.name] = found
            for name, values in found.parts.items():
                parts.setdefault(name, []).append(values)
        cleaned = {name: found.values.alias(name) for name, found in judged.items()}
        for name in set(self._names()) & parts.keys():
            choices = ([cleaned[name]] if name in cleaned else []) + parts[name]
            together = pl.DataFrame({str(place): values for place, values in enumerate(choices)})
            cleaned[name] = together.select(pl.coalesce(pl.all()).alias(name))[name]
        return pl.DataFrame(cleaned), judged

    def _cell_issues(
        self, name: str, found: Judged, batch: _Batch, stays: npt.NDArray[np.bool_], report: ColumnReport
    ) -> pl.DataFrame:
        values = batch.frame[name]
        emptied = pl.col("value").is_null()
        told = found.texts.group_by("done", "reason", emptied.alias("emptied")).agg(pl.col("n").sum())
        blank = 0
        for done, reason, is_empty, count in told.sort("done", "reason").iter_rows():
            if done:
                report.done[done] += count
            if reason:
                (report.emptied if is_empty else report.doubted)[reason] += count
            elif is_empty:
                blank += count
        report.filled += values.len() - values.null_count() - blank
        self._sample_cells(found, batch, report)
        missing = pl.DataFrame(schema=ISSUES)
        column = self.by_name[name]
        if column.field.required and not column.extra:
            empty = np.flatnonzero(
                (found.values.is_null() & (values.is_null() | (values.str.strip_chars() == ""))).to_numpy() & stays
            )
            if len(empty):
                report.emptied["is empty"] += len(empty)
                missing = _frame(
                    [
                        {"line": line, "column": name, "what": EMPTIED, "reason": "is empty", "original": ""}
                        for line in batch.lines[empty].tolist()
                    ]
                )
        bad = found.texts.filter(pl.col("reason") != "")
        if not bad.height:
            return missing
        texts = bad.with_columns(original=pl.col("text").str.split(BESIDE).list.first())
        cells = found.before.to_frame("text").with_columns(line=pl.Series(batch.lines), stays=pl.Series(stays))
        listed = cells.join(texts, on="text", how="inner", maintain_order="left").filter("stays")
        what = pl.when(pl.col("value").is_null()).then(pl.lit(EMPTIED)).otherwise(pl.lit(DOUBTED))
        return pl.concat(
            [
                missing,
                listed.select(
                    *("line", pl.lit(name).alias("column"), what.alias("what"), "reason", "original"),
                    *(
                        pl.lit(None, dtype).alias(empty)
                        for empty, dtype in ISSUES.items()
                        if empty in ("stays", "record", "record_base64")
                    ),
                ).cast(pl.Schema(ISSUES)),
            ]
        )

    def _sample_cells(self, found: Judged, batch: _Batch, report: ColumnReport) -> None:
        """A few lines for each thing that was done or found, the first of them in the block."""
        about = pl.when(pl.col("reason") != "").then("reason").otherwise("done").alias("about")
        full = [what for what, kept in report.samples.items() if len(kept) >= SAMPLES]
        wanted = found.texts.select("text", "value", about).filter(
            (pl.col("about") != "") & ~pl.col("about").is_in(full)
        )
        if not wanted.height:
            return
        wanted = wanted.filter(pl.int_range(pl.len()).over("about") < SAMPLES)
        rows = (
            found.before.to_frame("text")
            .with_row_index("row")
            .join(wanted, on="text", how="inner", maintain_order="left")
        )
        for row, text, value, what in rows.unique("text", keep="first", maintain_order=True).iter_rows():
            _sample(report.samples, what, int(batch.lines[row]), text.partition(BESIDE)[0], value or "")

    def _duplicate_issues(self, batch: _Batch, gone: list[tuple[int, str, int]]) -> pl.DataFrame:
        what = DOUBTED if self.options.keep_duplicates else DUPLICATE
        return _frame(
            [
                {
                    "line": int(batch.lines[row]),
                    "what": what,
                    "reason": rule,
                    "stays": line,
                    "raw": batch.block.raw(int(batch.places[row])),
                }
                for row, rule, line in gone
            ],
            self.source.encoding,
        )

    def _refuse(
        self, refused: Sequence[reading.Refused], file: IO[bytes] | None, issues: list[pl.DataFrame] | None = None
    ) -> None:
        for one in refused:
            if file is None:
                self.summary.refused[one.reason] += 1
            _sample(self.summary.samples, one.reason, one.line, one.raw.decode(self.source.encoding, "replace"), "")
        listed = _frame(
            [{"line": one.line, "what": REFUSED, "reason": one.reason, "raw": one.raw} for one in refused],
            self.source.encoding,
        )
        if issues is not None:
            issues.append(listed)
        elif file is not None:
            listed.write_csv(file, include_header=False)

    def _tally(self, typed: pl.DataFrame, reports: dict[str, ColumnReport]) -> None:
        for name, report in reports.items():
            values = typed[name]
            report.filled_after += values.len() - values.null_count()
            if values.dtype == pl.Float64:
                known = values.drop_nulls()
                report.total += float(known.sum())
                numbers = known.to_numpy()
                places = np.where(numbers < 0, -1, np.searchsorted(_EDGES, numbers, "right"))
                for place, many in zip(*np.unique(places, return_counts=True), strict=True):
                    report.histogram[_bin(int(place))] += int(many)
            elif values.dtype.is_temporal():
                months = values.drop_nulls().dt.strftime("%Y-%m").value_counts(name="n")
                report.histogram.update(dict(months.iter_rows()))

    # What the output has.

    def _names(self) -> list[str]:
        """The output's columns: those of the schema that the file has or its cells hold, in the schema's order, then others."""
        if not hasattr(self, "_named"):
            have = {column.name for column in self.columns if not column.extra}
            for column in self.columns:
                seen = column.seen
                if column.kind is Kind.QUANTITY and (seen.units or units.known_unit(column.header_unit)):
                    have |= {"unit"} | ({"content", "content_unit"} if seen.packs else set())
                elif column.kind is Kind.SIZE and seen.packs:
                    have |= {"pack_count", "content", "content_unit"}
                elif column.kind is Kind.MONEY and (seen.currencies or column.header_currency):
                    have.add("currency")
            known = [one.name for one in self.schema.fields if one.name in have]
            self._named = known + self._extras()
        return self._named

    def _extras(self) -> list[str]:
        return [column.name for column in self.columns if column.extra]

    def _field(self, name: str) -> Field | None:
        return None if name in self._extras() else self.schema.field(name)

    def _is_numeric(self, name: str) -> bool:
        found = self._field(name)
        return found is not None and found.numeric

    def _types(self) -> list[pl.Expr]:
        typed = []
        for name in self._names():
            dtype = found.dtype if (found := self._field(name)) else pl.String()
            if dtype == pl.Date:
                typed.append(pl.col(name).str.to_date("%Y-%m-%d"))
            elif dtype == pl.String:
                typed.append(pl.col(name))
            elif dtype == pl.Float64:
                typed.append(pl.col(name).cast(pl.Float64))
            else:
                moment = pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
                typed.append(moment.dt.replace_time_zone("UTC"))
        return typed

    def _reports(self) -> dict[str, ColumnReport]:
        written = {column.name: self.source.header[int(column.source)] for column in self.columns}
        reports = {}
        for name in self._names():
            found = self._field(name)
            reports[name] = ColumnReport(
                name, written.get(name, ""), found.kind if found else "as it is", found.meaning if found else ""
            )
            if name in self.by_name:
                column = self.by_name[name]
                reports[name].remarks = column.remarks()
                reports[name].histogram.update(column.top_texts())
        return reports


def _columns(source: Source, schema: Schema) -> list[Column]:
    """The file's columns with their fields; those that are none of ours keep their names and are text."""
    fields = assign(schema, source.header)
    taken = {one.name for one in schema.fields}
    columns = []
    for place, written in enumerate(source.header):
        if (found := fields.get(place)) is not None:
            said = header(written)
            columns.append(Column(str(place), found.name, found, False, said.unit, said.currency))
            continue
        name, number = written, 2
        while name in taken:
            name, number = f"{written} ({number})", number + 1
        taken.add(name)
        columns.append(Column(str(place), name, Field(name, Kind.TEXT, ""), True))
    return columns


def _among(values: duplicates.Hashes, ordered: duplicates.Hashes) -> npt.NDArray[np.bool_]:
    """Which values are among sorted ones; in slices, since places take as much room again."""
    found = np.empty(len(values), bool)
    for first in range(0, len(values), 1_000_000):
        part = values[first : first + 1_000_000]
        places = np.minimum(np.searchsorted(ordered, part), len(ordered) - 1)
        found[first : first + 1_000_000] = ordered[places] == part
    return found


def _bin(place: int) -> str:
    """The name of a histogram's bin."""
    if place < 0:
        return "below 0"
    if place == 0:
        return f"0 to {_EDGES[0]:g}"
    return f"{_EDGES[place - 1]:,g} to {_EDGES[place]:,g}" if place < len(_EDGES) else f"from {_EDGES[-1]:,g}"


def _sample(samples: dict[str, list[tuple[int, str, str]]], about: str, line: int, before: str, after: str) -> None:
    kept = samples.setdefault(about, [])
    if len(kept) < SAMPLES:
        kept.append((line, before[:300], after[:300]))


def _frame(rows: list[dict[str, object]], encoding: str = "utf-8") -> pl.DataFrame:
    """Entries of the list of rejects; ``raw`` becomes what people can read and the very bytes."""
    import base64

    for row in rows:
        if isinstance(raw := row.pop("raw", None), bytes):
            row["record"] = raw.decode(encoding, "replace")
            row["record_base64"] = base64.b64encode(raw).decode()
    return pl.DataFrame([{name: row.get(name) for name in ISSUES} for row in rows], schema=ISSUES)
