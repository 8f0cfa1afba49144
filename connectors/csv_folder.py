"""A drop folder: CSV files that appear in it become facts.

A file is taken when it has kept size and time for a while, by a rename into ``working/``, so that nothing half written is read. Its rows
are published in batches; the cursor says up to which byte Kafka has them. What cannot be taken goes to ``rejected/``, its rows as they
were under the file's own header, to be mended and dropped again, with the reasons beside them. The file ends in ``done/``.
"""

from __future__ import annotations

import csv
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from aisleflow.settings import Settings
from connectors.mapping import Lookup, Map, Mapped, Strict, Zone
from connectors.pulling import Batch, ConnectError, Cursor, Pulled, latest_ms
from producers.publish import MAX_LINE_BYTES, Record, stock_records, transaction_records
from schemas.reading import Refusal
from schemas.topics import STOCK_MOVEMENTS, TRANSACTIONS

BATCH_ROWS = 2_000
MOST_ROWS_OF_A_GROUP = 5_000
HALF_WRITTEN = (".part", ".partial", ".tmp", ".filepart", ".crdownload", "~")
#: A column for the number of a row, for files whose rows nothing else tells apart.
ROW_COLUMN = "#row"
MOST_LINES_OF_A_ROW = 100
_DELIMITERS = ",;\t|"
_OPEN_QUOTE = "unexpected end of data"


class Clean(Strict):
    """Files of any form: `aisleflow clean` finds out what their columns mean. A stock list becomes counts, sales receipts."""

    store: str = Field("", description="The shop of files that do not name one.")
    time_zone: Zone = Field("UTC", description="Of times without an offset.")
    location: Literal["SHELF", "BACKROOM"] = Field("SHELF", description="What a stock list counts.")


class Folder(Strict):
    """A drop folder and what its files are. One of ``map`` and ``clean``."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    folder: Path
    pattern: str = "*.csv"
    settle_s: float = Field(5, ge=0, description="A file is whole when it has not changed for so long.")
    map: Map | None = None
    clean: Clean | None = None
    encoding: str = Field("utf-8-sig", description="Of files with a map; `clean` finds it out.")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="Found out from the header if left out."
    )
    group: list[str] = Field(
        [], description="Columns whose neighbouring rows with the same values are one record, `rows`."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Folder:
        if (self.map is None) == (self.clean is None):
            raise ValueError("needs one of map and clean")
        try:
            line_end = "\n".encode(self.encoding.removesuffix("-sig"))
        except LookupError:
            raise ValueError(f"encoding: {self.encoding!r} is not known") from None
        if line_end != b"\n":
            raise ValueError(f"encoding: {self.encoding} has lines that cannot be told apart: use clean instead of map")
        return self


@dataclass
class _Row:
    line: int
    raw: bytes
    cells: dict[str, Any] | None
    problem: str = ""
    end: tuple[int, int] = (0, 0)
    """The byte and the line at which the next row begins."""


class _NoTable(ValueError):
    """The file as a whole cannot be read; the message says why."""


class CsvFolder:
    """The source of a :class:`Folder`."""

    def __init__(self, config: Folder, connector: str, lookups: dict[str, Lookup], settings: Settings) -> None:
        self._config = config
        self._origin = f"{connector}\n{config.name}"
        self._lookups = lookups
        self._settings = settings
        self._working, self._done, self._rejected = (config.folder / name for name in ("working", "done", "rejected"))

    @property
    def name(self) -> str:
        """As for ``Source``."""
        return self._config.name

    def batches(self, cursor: Cursor) -> Iterator[Batch]:
        """As for ``Source``: the files that were begun, then those that are whole, the oldest first."""
        try:
            for folder in (self._working, self._done, self._rejected):
                folder.mkdir(exist_ok=True)
            yield from self._batches(cursor)
        except OSError as error:
            raise ConnectError(f"{error.filename or self._config.folder}: {error.strerror}") from error

    def look(self) -> Batch | None:
        """The first records of the first file that waits, or is begun; nothing is moved and no file taken."""
        begun = [path for path in sorted(self._working.glob("*")) if not path.name.startswith(".")]
        for path in (*begun, *self.waiting()):
            with TemporaryDirectory() as folder:
                try:
                    for pulled, _ in self._records(path, {}, Path(folder)):
                        return Batch([one for _, one in pulled], {})
                except (_NoTable, ValueError) as error:
                    return Batch([Pulled(path.name, b"", refusal=Refusal("", str(error)))], {})
        return None

    def waiting(self) -> list[Path]:
        """The files that are whole, the oldest first."""
        found = []
        for path in self._config.folder.glob(self._config.pattern):
            if path.name.startswith(".") or path.name.endswith(HALF_WRITTEN) or path.is_symlink() or not path.is_file():
                continue
            with suppress(FileNotFoundError):
                stat = path.stat()
                # A clock set back must not hold a file up for ever.
                if abs(time.time() - stat.st_mtime) >= self._config.settle_s:
                    found.append((stat.st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def _batches(self, cursor: Cursor) -> Iterator[Batch]:
        for begun in sorted(self._working.iterdir()):
            if not begun.name.startswith("."):
                yield from self._file(begun, cursor)
        for path in self.waiting():
            claimed = self._working / path.name
            try:
                path.rename(claimed)
            except FileNotFoundError:  # its sender took it back
                continue
            yield from self._file(claimed, {})

    def _file(self, path: Path, cursor: Cursor) -> Iterator[Batch]:
        while True:
            stat = path.stat()
            known = [path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns]
            begin = cursor if cursor.get("file") == known else {}
            rows_of = path if self._config.map else self._working / f".{path.name}.cleaned.csv"
            refused = _Refused(self._working, path.name, rows_of, begin)
            try:
                for pulled, place in self._records(path, begin, self._working):
                    refused.add(pulled)
                    yield Batch([one for _, one in pulled], {"file": known, **place, **refused.kept()})
            except (_NoTable, ValueError) as error:
                refused.whole(str(error))
                self._end(path, refused, self._rejected)
                return
            if (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                break
            cursor = {}  # its sender went on writing: all of it once more, under the same ids
        self._end(path, refused, self._done)

    def _records(self, path: Path, begin: Cursor, scratch: Path) -> Iterator[tuple[list[tuple[_Row, Pulled]], Cursor]]:
        """The rows of a file in batches, what they are, and where to go on."""
        return self._cleaned(path, begin, scratch) if self._config.clean else self._mapped(path, begin)

    def _end(self, path: Path, refused: _Refused, folder: Path) -> None:
        name = path.name
        if any((place / name).exists() for place in (self._done, self._rejected)):
            name = f"{path.stem}.{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}{path.suffix}"
        refused.move(self._rejected, name)
        moves = {
            "report.html": self._done / f"{name}.report.html",
            "rejects.csv": self._rejected / f"{name}.cleaning.csv",
        }
        for part, place in moves.items():
            with suppress(FileNotFoundError):
                (self._working / f".{path.name}.{part}").replace(place)
        (self._working / f".{path.name}.cleaned.csv").unlink(missing_ok=True)
        path.replace(folder / name)

    # --- with a map ------------------------------------------------------------------------------------------------

    def _mapped(self, path: Path, begin: Cursor) -> Iterator[tuple[list[tuple[_Row, Pulled]], Cursor]]:
        mapping = self._config.map
        assert mapping is not None
        latest = latest_ms(self._settings)
        by_row = ROW_COLUMN in mapping.identity
        content = _digest(path) if by_row else ""
        with path.open("rb") as file:
            table = _Table(file, self._config)
            if missing := sorted(mapping.columns() - {*table.names, ROW_COLUMN, "rows"}):
                raise _NoTable(f"its header lacks {', '.join(missing)}; it names {', '.join(table.names)[:300]}")
            offset, line = begin.get("offset", 0), begin.get("line", 0)
            if offset:
                table.go_to(offset, line)
            batch: list[tuple[_Row, Pulled]] = []
            for row in table.records():
                offset, line = row.end
                if row.cells is not None and by_row:
                    row.cells[ROW_COLUMN] = f"{content}:{row.line}"
                batch.append((row, self._pulled(path, row, mapping, latest)))
                if len(batch) == BATCH_ROWS:
                    yield batch, {"offset": offset, "line": line}
                    batch = []
            yield batch, {"offset": offset, "line": line}

    def _pulled(self, path: Path, row: _Row, mapping: Map, latest: int) -> Pulled:
        place = f"{path.name} line {row.line}"
        found = (
            Refusal("", row.problem)
            if row.cells is None
            else mapping.facts(row.cells, self._origin, self._lookups, latest)
        )
        if isinstance(found, Refusal):
            return Pulled(place, row.raw, topic=mapping.to, refusal=found)
        return Pulled(place, row.raw, found)

    # --- as `aisleflow clean` does it --------------------------------------------------------------------------------

    def _cleaned(self, path: Path, begin: Cursor, scratch: Path) -> Iterator[tuple[list[tuple[_Row, Pulled]], Cursor]]:
        from producers.stock.cleaning import Options, clean
        from producers.stock.reading import UnreadableError

        options = self._config.clean
        assert options is not None
        cleaned = scratch / f".{path.name}.cleaned.csv"
        zone = ZoneInfo(options.time_zone)
        dropped = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
        if not begin or not cleaned.exists():
            today = dropped.astimezone(zone).date()
            rejects, report = (scratch / f".{path.name}.{name}" for name in ("rejects.csv", "report.html"))
            try:
                clean(path, cleaned, rejects, Options(today, zone), report)
            except UnreadableError as error:
                raise _NoTable(str(error)) from error
        latest = latest_ms(self._settings)
        with cleaned.open("rb") as file:
            sales = b"transaction_id" in file.readline()
            file.seek(0)
            if sales:
                records = transaction_records(file, latest, zone, options.store)
            else:
                records = stock_records(file, latest, options.store, dropped, options.location)
            topic = TRANSACTIONS.name if sales else STOCK_MOVEMENTS.name
            batch: list[tuple[_Row, Pulled]] = []
            done = begin.get("records", 0)
            for number, record in enumerate(records, 1):
                if number <= done:
                    continue
                batch.append((_Row(record.line, record.raw, None), _cleaned_record(path, record, topic)))
                if len(batch) == BATCH_ROWS:
                    yield batch, {"records": number}
                    batch = []
                done = number
            yield batch, {"records": done}


def _cleaned_record(path: Path, record: Record, topic: str) -> Pulled:
    place = f"{path.name} cleaned, line {record.line}"
    if record.refusal is not None:
        return Pulled(place, record.raw, topic=topic, refusal=record.refusal)
    return Pulled(place, record.raw, [] if record.value is None else [Mapped(topic, record.key, record.value)])


class _Table:
    """The rows of a file, each with the bytes that it was made of and where the next one begins."""

    def __init__(self, file: IO[bytes], config: Folder) -> None:
        self._file = file
        self._encoding = config.encoding
        self._group = config.group
        self._delimiter = config.delimiter or ","
        self._line = 1
        header = file.readline(MAX_LINE_BYTES + 1)
        if not header.strip():
            raise _NoTable("is empty, or begins with an empty line")
        if config.delimiter is None:
            self._delimiter = max(_DELIMITERS, key=header.decode(self._encoding, "replace").count)
        names, problem = self._split(header)
        self.names = [name.strip() for name in names]
        if problem or len(set(self.names)) != len(self.names) or not all(self.names):
            raise _NoTable(problem or f"its header names a column twice, or not at all: {', '.join(names)[:300]}")
        if missing := [name for name in self._group if name not in self.names]:
            raise _NoTable(f"its header lacks {', '.join(missing)}; it names {', '.join(names)[:300]}")
        # Only the first line of a file has a byte order mark.
        self._encoding = self._encoding.removesuffix("-sig")
        self.go_to(file.tell(), 2)

    def go_to(self, offset: int, line: int) -> None:
        """Go on at the beginning of a row."""
        self._file.seek(offset)
        self._line = line

    def records(self) -> Iterator[_Row]:
        """The rows from here on, or groups of them."""
        if not self._group:
            yield from self._rows()
            return
        members: list[_Row] = []
        for row in self._rows():
            if members and not (self._belongs(members[0], row) and len(members) < MOST_ROWS_OF_A_GROUP):
                yield self._joined(members)
                members = []
            members.append(row)
        if members:
            yield self._joined(members)

    def _belongs(self, first: _Row, other: _Row) -> bool:
        if first.cells is None or other.cells is None:
            return False
        return all(first.cells[name] == other.cells[name] for name in self._group)

    def _joined(self, members: list[_Row]) -> _Row:
        first, last = members[0], members[-1]
        raw = b"".join(row.raw for row in members)
        if first.cells is None:
            return first
        if len(members) == MOST_ROWS_OF_A_GROUP:
            problem = f"{MOST_ROWS_OF_A_GROUP:,} rows or more belong together: a record has fewer"
            return _Row(first.line, raw, None, problem, last.end)
        return _Row(first.line, raw, {**first.cells, "rows": [row.cells for row in members]}, end=last.end)

    def _rows(self) -> Iterator[_Row]:
        while raw := self._file.readline(MAX_LINE_BYTES + 1):
            line, place = self._line, self._file.tell()
            self._line += raw.endswith(b"\n")
            if not raw.strip():
                continue
            cells, problem = self._split(raw)
            if _OPEN_QUOTE in problem and (whole := self._continued(raw)) is not None:
                raw, (cells, problem) = whole, self._split(whole)
                self._line += whole.count(b"\n") - 1
            elif problem:
                self._file.seek(place)
                while not raw.endswith(b"\n") and (
                    piece := self._file.readline(MAX_LINE_BYTES)
                ):  # the rest of a long one
                    raw = (raw + piece)[: MAX_LINE_BYTES + 1] + (b"\n" if piece.endswith(b"\n") else b"")
                    self._line += piece.endswith(b"\n")
            if not problem and len(cells) != len(self.names):
                problem = f"has {len(cells)} fields and the header {len(self.names)}"
            found: dict[str, Any] | None = None if problem else dict(zip(self.names, cells, strict=True))
            yield _Row(line, raw, found, problem, (self._file.tell(), self._line))

    def _continued(self, raw: bytes) -> bytes | None:
        """A row whose cell holds line breaks. None if the lines that follow make no row of it: then a quote spoils its own line
        and no other.
        """
        for _ in range(MOST_LINES_OF_A_ROW):
            piece = self._file.readline(MAX_LINE_BYTES + 1)
            raw += piece
            if not piece or len(raw) > MAX_LINE_BYTES:
                return None
            cells, problem = self._split(raw)
            if not problem:
                return raw if len(cells) == len(self.names) else None
            if _OPEN_QUOTE not in problem:
                return None
        return None

    def _split(self, raw: bytes) -> tuple[list[str], str]:
        if len(raw) > MAX_LINE_BYTES:
            return [], f"is longer than {MAX_LINE_BYTES:,} bytes"
        try:
            text = raw.decode(self._encoding).rstrip("\r\n")
        except UnicodeDecodeError:
            return [], f"is not {self._encoding}"
        try:
            return next(csv.reader(StringIO(text, newline=""), delimiter=self._delimiter, strict=True), []), ""
        except csv.Error as error:
            return [], f"is not CSV: {error}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Refused:
    """The refused rows of a file: as they were, and why. Written before the cursor that counts them, and cut back to it after a crash."""

    def __init__(self, working: Path, name: str, rows_of: Path, cursor: Cursor) -> None:
        self._rows, self._reasons = working / f".{name}.refused", working / f".{name}.reasons"
        self._source = rows_of
        lengths = cursor.get("refused", [0, 0])
        for path, length in zip((self._rows, self._reasons), lengths, strict=True):
            if length and path.exists():
                os.truncate(path, length)
            else:
                path.unlink(missing_ok=True)

    def add(self, pulled: list[tuple[_Row, Pulled]]) -> None:
        """Write down those that were refused."""
        found = [(row, one.refusal) for row, one in pulled if one.refusal is not None]
        if not found:
            return
        fresh = not self._rows.exists()
        with self._rows.open("ab") as rows, self._reasons.open("a", newline="", encoding="utf-8") as reasons:
            lines = csv.writer(reasons)
            if fresh:
                with self._source.open("rb") as source:
                    rows.write(source.readline(MAX_LINE_BYTES))
                lines.writerow(["line", "field", "reason"])
            for row, refusal in found:
                rows.write(row.raw if row.raw.endswith(b"\n") else row.raw + b"\n")
                lines.writerow([row.line, refusal.field, refusal.reason])
            for file in (rows, reasons):
                file.flush()
                os.fsync(file.fileno())

    def whole(self, reason: str) -> None:
        """The file as it is cannot be read."""
        self._rows.unlink(missing_ok=True)
        with self._reasons.open("w", newline="", encoding="utf-8") as reasons:
            csv.writer(reasons).writerows([["line", "field", "reason"], ["", "", reason]])

    def kept(self) -> Cursor:
        """For the cursor."""
        return {"refused": [path.stat().st_size if path.exists() else 0 for path in (self._rows, self._reasons)]}

    def move(self, folder: Path, name: str) -> None:
        """To where people look, once the file is done."""
        if self._rows.exists():
            self._rows.replace(folder / name)
        if self._reasons.exists():
            self._reasons.replace(folder / f"{name}.reasons.csv")
