"""CSV files of any encoding, delimiter and quoting, as frames of text with the line of each row; nothing is lost.

The file is read in blocks of whole records. A record that is not one (too few or too many fields, a quote that never ends,
bytes that are not in the encoding) is refused with its line and its bytes; the rows around it are read.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import polars as pl

from producers.stock import schema

BLOCK = 12 * 1024 * 1024
DELIMITERS = ",;\t|"
SAMPLE = 256 * 1024
LONGEST_QUOTED_LINES = 50
"""A quoted field over more lines than this is taken for a quote that was never closed."""

Numbers = npt.NDArray[np.int64]


class UnreadableError(ValueError):
    """A file that cannot be read as a table; the message says why and what to do."""


@dataclass(frozen=True)
class Refused:
    """One record that is not a row: its first line, why, and its bytes as they stand in the file."""

    line: int
    reason: str
    raw: bytes


@dataclass(frozen=True)
class Block:
    """Rows of a file: ``frame`` has a text column for each column, ``lines`` the line at which each row begins.

    ``spans`` are the rows' places in ``text``, the block in UTF-8; ``rows`` how many there are, those left out too.
    """

    frame: pl.DataFrame
    lines: Numbers
    refused: list[Refused]
    text: bytes
    spans: Numbers
    encoding: str
    rows: int

    def raw(self, row: int) -> bytes:
        """A row's bytes as they stand in the file, without the end of its line."""
        start, end = self.spans[row]
        return original(self.text[start:end].rstrip(b"\r\n"), self.encoding)


@dataclass(frozen=True)
class Source:
    """A file whose form is known.

    ``header``: the columns as they are written; ``skipped``: what stands before it; ``rows_from``: the first line after it.
    """

    path: Path
    encoding: str
    broken: bool
    delimiter: str
    header: list[str]
    header_at: int
    skipped: list[Refused] = field(default_factory=list)
    lone_returns: bool = False

    @property
    def columns(self) -> list[str]:
        """Names of the frames' columns."""
        return [str(place) for place in range(len(self.header))]

    def blocks(self, size: int = BLOCK, only: npt.NDArray[np.bool_] | None = None) -> Iterator[Block]:
        """All rows in their order, in blocks of about ``size`` bytes; or those of all rows that ``only`` says."""
        carry, line, started, first = b"", 1, False, 0
        with opened(self.path) as file:
            for part, last in self._decoded(file, size):
                text = carry + part
                if not started:
                    text, started = text.removeprefix(codecs.BOM_UTF8), True
                cut = len(text) if last else _cut(text, self.delimiter)
                if cut == 0 and not last:
                    carry = text
                    continue
                block, carry = text[:cut], text[cut:]
                found = self._block(block, line, None if only is None else only[first:])
                first += found.rows
                yield found
                line += block.count(b"\n")

    def _decoded(self, file: IO[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
        """The file in UTF-8, and whether that was the last of it. Bytes that are not UTF-8 stay as they are."""
        decoder = None if self.encoding == "utf-8" else codecs.getincrementaldecoder(self.encoding)("replace")
        while True:
            raw = file.read(size)
            part = raw if decoder is None else decoder.decode(raw, not raw).encode()
            if self.lone_returns:
                part = part.replace(b"\r", b"\n")
            yield part, not raw
            if not raw:
                break

    def _block(self, text: bytes, line: int, only: npt.NDArray[np.bool_] | None) -> Block:
        refused: list[Refused] = []
        starts, ends, lines, fixed, why = _records(text, self.delimiter, len(self.header), line)
        if self.broken and len(starts):
            for place in _not_utf8(text, starts, ends):
                why[place] = "has bytes that are not UTF-8"
        before = lines <= self.header_at
        keep = ~before
        blank = (ends - starts == 0) | ((ends - starts == 1) & (_at(text, starts) == 13))
        keep &= ~blank
        for place, reason in why.items():
            if keep[place]:
                keep[place] = False
                raw = text[starts[place] : ends[place]].rstrip(b"\r\n")
                refused.append(Refused(int(lines[place]), reason, original(raw, self.encoding)))
        refused.sort(key=lambda one: one.line)
        kept = np.flatnonzero(keep)
        rows = len(kept)
        if only is not None:
            kept = kept[only[:rows]]
        frame = self._frame(text, starts, ends, kept, fixed)
        return Block(
            frame, lines[kept], refused, text, np.column_stack((starts[kept], ends[kept])), self.encoding, rows
        )

    def _frame(
        self, text: bytes, starts: Numbers, ends: Numbers, kept: Numbers, fixed: dict[int, bytes]
    ) -> pl.DataFrame:
        if not len(kept):
            return pl.DataFrame(schema=dict.fromkeys(self.columns, pl.String))
        whole = len(kept) == len(starts) and not fixed
        good = text if whole else _joined(text, starts, ends, kept, fixed)
        found = pl.read_csv(
            good,
            has_header=False,
            infer_schema=False,
            new_columns=self.columns,
            separator=self.delimiter,
        )
        if found.height != len(kept) or found.width != len(self.columns):
            rows = list(csv.reader(io.StringIO(bytes(good).decode(), newline=""), delimiter=self.delimiter))
            found = pl.DataFrame(rows, schema=dict.fromkeys(self.columns, pl.String), orient="row")
        return found


def original(text: bytes, encoding: str) -> bytes:
    """Bytes of the file from their UTF-8 form."""
    return text if encoding == "utf-8" else text.decode("utf-8", "replace").encode(encoding, "replace")


def opened(path: Path) -> IO[bytes]:
    """The file's bytes; one that ends in ``.gz`` is unpacked on the way."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def source(path: Path, encoding: str = "", delimiter: str = "") -> Source:
    """Find out how a file is written.

    Raises:
        UnreadableError: the file is empty, or has no header that names what we know.
        OSError: it cannot be opened.
    """
    broken = False
    if not encoding:
        encoding, broken = detected_encoding(path)
    with opened(path) as file:
        head = file.read(SAMPLE)
    try:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head).removeprefix("\ufeff")
    except LookupError:
        raise UnreadableError(f"{encoding!r} is not an encoding that Python knows") from None
    lone_returns = "\n" not in text and "\r" in text
    if lone_returns:
        text = text.replace("\r", "\n")
    if not text.strip():
        raise UnreadableError("is empty")
    return _with_header(path, text, encoding, broken, delimiter, lone_returns)


def _with_header(path: Path, text: str, encoding: str, broken: bool, delimiter: str, lone_returns: bool) -> Source:
    named = text.lower().removeprefix("sep=")[:1] if text.lower().startswith("sep=") else ""
    best: tuple[int, int, str, int, list[str]] | None = None
    for mark in delimiter or named or DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
        begins = 1
        try:
            for row, cells in enumerate(reader):
                known = max(len(schema.assign(one, cells)) for one in schema.SCHEMAS.values())
                if known and (best is None or (known, len(cells)) > best[:2]):
                    best = (known, len(cells), mark, begins, cells)
                if row == 20:
                    break
                begins = reader.line_num + 1
        except csv.Error:
            continue
    if best is None or best[0] < 2:
        first = text.splitlines()[0][:200]
        raise UnreadableError(
            f"no header in its first lines names what we know (a product and a quantity); the first line is {first!r}"
        )
    _, _, mark, begins, cells = best
    before = text.split("\n")[: begins - 1]
    skipped = [
        Refused(line, "stands before the header", original(one.rstrip("\r").encode(), encoding))
        for line, one in enumerate(before, 1)
        if one.strip() and not one.lower().startswith("sep=")
    ]
    ends = begins + sum(cell.count("\n") for cell in cells)
    names = [" ".join(cell.split()) or f"column_{place}" for place, cell in enumerate(cells, 1)]
    return Source(path, encoding, broken, mark, names, ends, skipped, lone_returns)


def detected_encoding(path: Path) -> tuple[str, bool]:
    """(encoding, whether some bytes are not in it): by its mark, else UTF-16 by its zero bytes, UTF-8 where the bytes beyond
    ASCII are that, and otherwise what Windows writes in the west (cp1252; Latin-1 where it has bytes that cp1252 has not).
    """
    with opened(path) as file:
        head = file.read(4096)
        for mark, name in (
            (codecs.BOM_UTF8, "utf-8"),
            (codecs.BOM_UTF16_LE, "utf-16-le"),
            (codecs.BOM_UTF16_BE, "utf-16-be"),
        ):
            if head.startswith(mark):
                return name, name == "utf-8"
        zeros = np.flatnonzero(np.frombuffer(head, np.uint8) == 0)
        if len(zeros) > len(head) // 4:
            return ("utf-16-le" if (zeros % 2).mean() > 0.5 else "utf-16-be"), False
    good = bad = 0
    undefined = False
    with opened(path) as file:
        held = b""
        while part := file.read(4 * 1024 * 1024):
            if part.isascii() and not held:
                continue
            part = held + part
            try:
                part.decode()
                held = b""
                good += 1
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data" and error.start > len(part) - 4:
                    held = part[error.start :]
                    continue
                held = b""
                letters = part.decode("utf-8", "replace")
                bad += letters.count("\ufffd")
                good += sum(1 for letter in letters if letter > "\x7f" and letter != "\ufffd")
                undefined = undefined or any(byte in part for byte in b"\x81\x8d\x8f\x90\x9d")
        bad += len(held)
    if not bad:
        return "utf-8", False
    if good > bad:
        return "utf-8", True
    return ("latin-1" if undefined else "cp1252"), False


def _cut(text: bytes, delimiter: str) -> int:
    """Where the last whole record of a block ends."""
    newline = text.rfind(b"\n")
    if newline < 0:
        return 0
    if b'"' not in text:
        return newline + 1
    quotes = np.flatnonzero(np.frombuffer(text, np.uint8) == 34)
    if _well_formed(np.frombuffer(text, np.uint8), quotes, ord(delimiter)):
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 10)
        even = ends[np.searchsorted(quotes, ends) % 2 == 0]
        return int(even[-1]) + 1 if len(even) else 0
    # A stray quote: cut before a line that is surely the start of a record, one without any quote and with none open.
    lines_back = newline
    for _ in range(LONGEST_QUOTED_LINES):
        before = text.rfind(b"\n", 0, lines_back)
        if before < 0:
            return 0
        if b'"' not in text[before + 1 : lines_back + 1]:
            return lines_back + 1
        lines_back = before
    return newline + 1


def _well_formed(octets: npt.NDArray[np.uint8], quotes: Numbers, delimiter: int) -> bool:
    """Whether every quote opens or ends a field, as RFC 4180 has it."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = octets[opening[opening > 0] - 1]
    after = octets[closing[closing < len(octets) - 1] + 1]
    return bool(np.isin(before, (delimiter, 10, 34)).all() and np.isin(after, (delimiter, 10, 13, 34)).all())


def _records(
    text: bytes, delimiter: str, width: int, line: int
) -> tuple[Numbers, Numbers, Numbers, dict[int, bytes], dict[int, str]]:
    """(starts, ends, lines, records written anew, reasons of those that are none) of a block's records."""
    octets = np.frombuffer(text, np.uint8)
    newlines = np.flatnonzero(octets == 10)
    quotes = np.flatnonzero(octets == 34)
    marks = np.flatnonzero(octets == ord(delimiter))
    fixed: dict[int, bytes] = {}
    if not len(quotes) or (len(quotes) % 2 == 0 and _well_formed(octets, quotes, ord(delimiter))):
        outside = _outside(newlines, quotes)
        starts, ends = _bounds(outside, len(text))
        counted = _fields(_outside(marks, quotes), starts, ends, width)
        whole_lines = len(outside) == len(newlines)
    else:
        starts, ends, counted, fixed = _with_stray_quotes(text, newlines, marks, quotes, delimiter, width)
        whole_lines = False
    lines = line + (np.arange(len(starts)) if whole_lines else np.searchsorted(newlines, starts))
    why: dict[int, str] = {}
    for place in np.flatnonzero(counted != width):
        fields = int(counted[place])
        record = fixed.get(int(place), text[starts[place] : ends[place]]).rstrip(b"\r\n")
        if not record:
            continue
        if fields > width and not _tail(record, delimiter, width).strip(delimiter.encode() + b" "):
            fixed[int(place)] = record[: len(record) - len(_tail(record, delimiter, width))]
        elif fields == 0:
            why[int(place)] = "has a quote that is never closed"
        else:
            why[int(place)] = f"has {fields} fields where the header has {width}"
    return starts, ends, lines, fixed, why


def _outside(places: Numbers, quotes: Numbers) -> Numbers:
    """The places that are not between an opening and its closing quote."""
    if not len(quotes):
        return places
    inside = np.zeros(len(places) + 1, np.int32)
    np.add.at(inside, np.searchsorted(places, quotes[0::2]), 1)
    np.add.at(inside, np.searchsorted(places, quotes[1::2]), -1)
    outside: Numbers = places[np.cumsum(inside[:-1]) == 0]
    return outside


def _fields(marks: Numbers, starts: Numbers, ends: Numbers, width: int) -> Numbers:
    """How many fields each record has, by its delimiters."""
    if len(marks) == len(starts) * (width - 1) and width > 1:
        table = marks.reshape(len(starts), width - 1)
        if (table[:, 0] >= starts).all() and (table[:, -1] < ends).all():
            return np.full(len(starts), width)
    counted: Numbers = np.diff(np.searchsorted(marks, np.concatenate((starts, ends[-1:] + 1)))) + 1
    return counted


def _tail(record: bytes, delimiter: str, width: int) -> bytes:
    """What follows the last field that the header knows, of a record without quotes in it; all of it where it has any."""
    if b'"' in record:
        return record
    kept = delimiter.encode().join(record.split(delimiter.encode())[:width])
    return record[len(kept) :]


def _bounds(newlines: Numbers, length: int) -> tuple[Numbers, Numbers]:
    ends = newlines
    if not len(newlines) or newlines[-1] != length - 1:
        ends = np.concatenate((newlines, [length]))
    if not length:
        ends = np.empty(0, np.int64)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    return starts.astype(np.int64), ends.astype(np.int64)


def _with_stray_quotes(
    text: bytes, newlines: Numbers, marks: Numbers, quotes: Numbers, delimiter: str, width: int
) -> tuple[Numbers, Numbers, Numbers, dict[int, bytes]]:
    """Records of a block in which some quote stands inside a field (``5" pipe``) or is never closed: line by line."""
    starts, ends = _bounds(newlines, len(text))
    counted = _fields(marks, starts, ends, width)
    quoted = np.unique(np.searchsorted(ends, quotes))
    joined = np.zeros(len(starts), bool)
    fixed: dict[int, bytes] = {}
    for place in quoted:
        if joined[place]:
            continue
        for last in range(place, min(place + LONGEST_QUOTED_LINES, len(starts))):
            record = text[starts[place] : ends[last]].rstrip(b"\r\n")
            cells = _cells(record, delimiter)
            if cells is not None and (len(cells) == width or last == place):
                break
        else:
            last, record, cells = place, text[starts[place] : ends[place]].rstrip(b"\r\n"), None
        if cells is None:
            literal = record.decode("utf-8", "surrogateescape").split(delimiter)
            cells = literal if len(literal) == width else None
        ends[place] = ends[last]
        joined[place + 1 : last + 1] = True
        counted[place] = 0 if cells is None else len(cells)
        if cells is not None:
            fixed[int(place)] = _written(cells, delimiter)
    kept = np.flatnonzero(~joined)
    renumbered = {int(old): new for new, old in enumerate(kept) if int(old) in fixed}
    return starts[kept], ends[kept], counted[kept], {renumbered[old]: record for old, record in fixed.items()}


def _cells(record: bytes, delimiter: str) -> list[str] | None:
    try:
        decoded = record.decode("utf-8", "surrogateescape")
        rows = list(
            csv.reader(io.StringIO(decoded, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
        )
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _written(cells: list[str], delimiter: str) -> bytes:
    output = io.StringIO(newline="")
    csv.writer(output, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return output.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape")


def _joined(text: bytes, starts: Numbers, ends: Numbers, kept: Numbers, fixed: dict[int, bytes]) -> bytes:
    """The records that are kept, one after the other; neighbours are copied at once."""
    apart = np.flatnonzero(np.diff(kept) != 1) + 1
    pieces: list[bytes] = []
    for run in np.split(kept, apart):
        first = int(run[0])
        special = [place for place in map(int, run) if place in fixed] if fixed else []
        for place in special:
            if place > first:
                pieces.append(text[starts[first] : ends[place - 1]])
            pieces.append(fixed[place])
            first = place + 1
        if first <= int(run[-1]):
            pieces.append(text[starts[first] : ends[int(run[-1])]])
    return b"\n".join(pieces) + b"\n"


def _at(text: bytes, places: Numbers) -> npt.NDArray[np.uint8]:
    octets = np.frombuffer(text, np.uint8)
    if not len(octets):
        return np.zeros(len(places), np.uint8)
    return octets[np.minimum(places, len(octets) - 1)]


def _not_utf8(text: bytes, starts: Numbers, ends: Numbers) -> list[int]:
    try:
        text.decode()
    except UnicodeDecodeError:
        pass
    else:
        return []
    return [place for place in range(len(starts)) if not _is_utf8(text[starts[place] : ends[place]])]


def _is_utf8(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True
