"""Rows that say the same: which of them stays, and by which rule.

Rows are compared only with rows of the same key (for a stock list product and place, for sales receipt and product). The
first pass keeps a 64-bit hash of each row's key; the rows whose key occurs again are then read once more and compared in full. Two
different rows are taken for exact duplicates only if two independent 64-bit hashes agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from producers.stock.schema import Alike, Schema

EXACT = "the same cells, letter for letter: the first stays"
CLEANED = "the same once cleaned: the first stays"
NEAR = "the same product and place, nothing contradicts: the fullest row stays"
NEAR_SALE = "the same receipt and product, nothing contradicts: the fullest row stays"
OLDER = "the same product and place, older: the newest row stays"
RULES = (EXACT, CLEANED, NEAR, NEAR_SALE, OLDER)
CONFLICT = "has the key of another row but other content: both stay"
AT_ONCE = 1_000_000
"""Rows compared at once; where more rows share keys, their part of the file is read in several goes."""

_KEY_SEED, _RAW_SEED, _CLEAN_SEED = 1, 2, 3
Hashes = npt.NDArray[np.uint64]


@dataclass
class Found:
    """Duplicates by row number: ``rows`` sorted, with the index of the rule in ``RULES`` and the line of the row that
    stays. ``conflicts``: rows of one key that contradict another, with its line.
    """

    rows: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    rules: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    kept: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    conflict_rows: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    conflict_lines: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def within(self, first: int, count: int) -> Iterator[tuple[int, str, int]]:
        """(row from ``first``, rule, line that stays) of the duplicates among ``count`` rows."""
        start, end = np.searchsorted(self.rows, (first, first + count))
        for place in range(start, end):
            yield int(self.rows[place]) - first, RULES[self.rules[place]], int(self.kept[place])

    def conflicts_within(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """(row from ``first``, line of the other row) of the contradictions among ``count`` rows."""
        start, end = np.searchsorted(self.conflict_rows, (first, first + count))
        for place in range(start, end):
            yield int(self.conflict_rows[place]) - first, int(self.conflict_lines[place])


def key_hashes(frame: pl.DataFrame) -> Hashes:
    """A hash of each row of a frame of keys."""
    return frame.hash_rows(_KEY_SEED).to_numpy()


def repeated(hashes: Hashes) -> Hashes:
    """The hashes that occur more than once, sorted."""
    ordered = np.sort(hashes)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.unique(again)


def comparable(
    schema: Schema,
    raw: pl.DataFrame,
    cleaned: pl.DataFrame,
    rows: npt.NDArray[np.int64],
    lines: npt.NDArray[np.int64],
    key: Hashes,
) -> pl.DataFrame:
    """What the comparison needs to know of rows whose key occurs again; a few numbers for each."""
    columns = {
        "row": pl.Series(rows, dtype=pl.Int64),
        "line": pl.Series(lines, dtype=pl.Int64),
        "key": pl.Series(key, dtype=pl.UInt64),
        "raw": raw.hash_rows(_RAW_SEED),
        "clean": cleaned.hash_rows(_CLEAN_SEED),
        "filled": cleaned.select(pl.sum_horizontal(pl.all().is_not_null()).cast(pl.UInt16)).to_series(),
    }
    newest = [name for name in schema.newest_by if name in cleaned.columns]
    columns["when"] = cleaned[newest[0]] if newest else pl.Series([None] * cleaned.height, dtype=pl.String)
    for name in cleaned.columns:
        alike = _alike(schema, name)
        if alike is Alike.KEY:
            continue
        text = _folded(name) if name == "name" else pl.col(name)
        hashed = text.hash(_CLEAN_SEED)
        if alike is not Alike.EXACT:
            hashed = pl.when(pl.col(name).is_not_null()).then(hashed)
        columns[f"{alike.name}:{name}"] = cleaned.select(hashed.alias("hash"))["hash"]
    return pl.DataFrame(columns)


def decide(schema: Schema, rows: pl.DataFrame) -> Found:
    """Which of the rows with repeated keys go, and which contradict each other."""
    if not rows.height:
        return Found()
    rows = rows.sort("row")
    firsts = rows.group_by("key", "clean", maintain_order=True).agg(
        pl.col("row").first().alias("first_row"),
        pl.col("line").first().alias("first_line"),
        pl.col("raw").first().alias("first_raw"),
    )
    rows = rows.join(firsts, on=["key", "clean"], how="left", maintain_order="left")
    same = rows.filter(pl.col("row") != pl.col("first_row")).select(
        "row",
        rule=pl.when(pl.col("raw") == pl.col("first_raw")).then(RULES.index(EXACT)).otherwise(RULES.index(CLEANED)),
        kept="first_line",
    )
    rest = rows.filter(pl.col("row") == pl.col("first_row")).filter(pl.len().over("key") > 1)
    near, conflicts = _near(schema, rest)
    gone = pl.concat([same.cast(pl.Schema(_DECIDED)), near.cast(pl.Schema(_DECIDED))]).sort("row")
    return Found(
        gone["row"].to_numpy(),
        gone["rule"].to_numpy(),
        gone["kept"].to_numpy(),
        conflicts["row"].to_numpy(),
        conflicts["line"].to_numpy(),
    )


def together(parts: Sequence[Found]) -> Found:
    """What was found in several goes, in the order of rows."""
    gone = np.argsort(rows := np.concatenate([part.rows for part in parts]), kind="stable")
    odd = np.argsort(odd_rows := np.concatenate([part.conflict_rows for part in parts]), kind="stable")
    return Found(
        rows[gone],
        np.concatenate([part.rules for part in parts])[gone],
        np.concatenate([part.kept for part in parts])[gone],
        odd_rows[odd],
        np.concatenate([part.conflict_lines for part in parts])[odd],
    )


_DECIDED: dict[str, type[pl.DataType]] = {"row": pl.Int64, "rule": pl.Int8, "kept": pl.Int64}


def _near(schema: Schema, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(row, rule, kept) of near duplicates and (row, line of the row it contradicts): each compared with its key's best
    row, the newest, then the fullest, then the first.
    """
    best = rows.sort("key", "when", "filled", "row", descending=[False, True, True, False], nulls_last=True)
    compared = [name for name in rows.columns if ":" in name]
    best = best.group_by("key", maintain_order=True).first().select("key", pl.exclude("key").name.suffix("|best"))
    pairs = rows.join(best, on="key", how="left", maintain_order="left").filter(pl.col("row") != pl.col("row|best"))

    def agree(alikes: tuple[Alike, ...]) -> pl.Expr:
        each = [
            pl.col(name) == pl.col(f"{name}|best")
            if name.startswith(f"{Alike.EXACT.name}:")
            else (pl.col(name) == pl.col(f"{name}|best")).fill_null(True)
            for name in compared
            if name.split(":")[0] in {alike.name for alike in alikes}
        ]
        return pl.all_horizontal(each) if each else pl.lit(True)

    described = agree((Alike.SAME, Alike.EXACT))
    near = described & agree((Alike.STATE,))
    older = described & (pl.col("when") < pl.col("when|best")).fill_null(False)
    rule = (
        pl.when(near)
        .then(RULES.index(NEAR_SALE if schema.name == "sales" else NEAR))
        .when(older)
        .then(RULES.index(OLDER))
    )
    pairs = pairs.with_columns(rule=rule.otherwise(None), same_time=agree((Alike.EXACT,)))
    gone = pairs.filter(pl.col("rule").is_not_null()).select("row", "rule", kept="line|best")
    # Lines of a receipt that differ, and counts of different days, are no contradiction.
    contradict = pairs.filter(pl.col("rule").is_null() & pl.col("same_time") & (schema.name != "sales"))
    return gone, contradict.select("row", line="line|best").sort("row")


def _alike(schema: Schema, name: str) -> Alike:
    field = schema.field(name)
    return Alike.SAME if field is None else field.alike


def _folded(name: str) -> pl.Expr:
    """Names without case, accents, punctuation and the order of their words."""
    plain = pl.col(name).str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.to_lowercase()
    words = plain.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    return words.str.split(" ").list.sort().list.join(" ")
