"""Cleaning sales beside pandas at the same work: ``python -m benchmarks.cleaning FILE`` (``make bench-cleaning SALES=FILE``).

FILE is the real export of "Online Retail" (UCI). Its rows, repeated under new receipt numbers, get faults of known shares: padded
names, quantities in words, prices with signs and thousands, a second form of dates, words for missing, duplicates, exact and near. Ours
and pandas (``benchmarks.peers.cleaning_pandas``: vectorised, strings of pyarrow) each run as a process of their own, in turn; the outputs
must be the same cell by cell, or there are no figures. Then ours alone takes ten million rows: its memory must stay under 1 GB.

Wall and CPU are of the whole process, imports included; memory is its highest resident set.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks._report import report

TODAY = "2026-11-21"
WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 6: "six", 8: "eight", 10: "ten", 12: "a dozen", 24: "twenty-four"}
WORDS |= {36: "thirty six", 48: "forty-eight", 100: "one hundred", 200: "two hundred"}


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def faulty(real: pl.DataFrame, copy: int) -> pl.DataFrame:
    """The real rows once more, under receipt numbers of their own, with faults at places that depend on the copy alone."""
    pick = pl.int_range(pl.len()).hash(copy)

    def share(number: int, percent: int) -> pl.Expr:
        chosen: pl.Expr = (pick // 100**number) % 100 < percent
        return chosen

    quantity, price, name = pl.col("Quantity"), pl.col("UnitPrice"), pl.col("Description")
    words = quantity.replace_strict({str(number): word for number, word in WORDS.items()}, default=None)
    thousands = price.str.replace(r"^(\d+)(\d{3}\.\d+)$", "$1,$2")
    moment = pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S")
    rows = real.with_columns(
        InvoiceNo=pl.col("InvoiceNo") + f"-{copy}",
        Description=pl.when(share(0, 5))
        .then("  " + name + " ")
        .when(share(0, 7))
        .then(name.str.to_lowercase())
        .otherwise(name),
        Quantity=pl.when(share(1, 4) & words.is_not_null())
        .then(words)
        .when(share(1, 5))
        .then(pl.lit("NaN"))
        .otherwise(quantity),
        UnitPrice=pl.when(share(2, 3)).then("£" + price).when(share(2, 50)).then(thousands).otherwise(price),
        InvoiceDate=pl.when(share(3, 5)).then(moment.dt.strftime("%d/%m/%Y %H:%M:%S")).otherwise("InvoiceDate"),
    )
    again = rows.filter(share(4, 1))
    near = rows.filter(share(4, 2) & ~share(4, 1)).with_columns(CustomerID=pl.lit(None, pl.String))
    return pl.concat([rows, again, near])


def generate(source: Path, target: Path, rows: int) -> int:
    """Write at least this many rows of sales with faults; how many there are."""
    real = pl.read_csv(source, infer_schema=False)
    written = copy = 0
    with target.open("wb") as file:
        while written < rows:
            made = faulty(real, copy)[: rows - written]
            made.write_csv(file, include_header=copy == 0)
            written, copy = written + made.height, copy + 1
    return written


# A process starts with its parent's highest resident set as its own, so a small one stands between.
_LAUNCHER = """
import json, os, subprocess, sys, time
began = time.monotonic()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(json.dumps([time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(command: list[str]) -> Cost:
    """Run a program to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    told = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], check=True, stdout=subprocess.PIPE)
    return Cost(*json.loads(told.stdout))


def ours(source: Path, out: Path) -> list[str]:
    """The command of our side."""
    others = [f"--rejects={out}.rejects.csv", f"--report={out}.html", f"--today={TODAY}"]
    return [sys.executable, "-m", "aisleflow", "clean", str(source), f"--out={out}", *others]


def theirs(source: Path, out: Path) -> list[str]:
    """The command of pandas' side."""
    return [
        sys.executable,
        "-m",
        "benchmarks.peers.cleaning_pandas",
        str(source),
        str(out),
        f"{out}.rejects.csv",
        TODAY,
    ]


def differences(mine: Path, other: Path) -> list[str]:
    """What two outputs disagree in: their columns, their numbers of rows, or cells by column."""
    left, right = pl.read_csv(mine, infer_schema=False), pl.read_csv(other, infer_schema=False)
    if left.columns != right.columns or left.height != right.height:
        return [f"{left.shape} {left.columns}", f"{right.shape} {right.columns}"]
    found = []
    for name in left.columns:
        one, two = left[name], right[name]
        if name in ("quantity", "unit_price"):  # 2.5 and 2.50 are the same
            one, two = one.cast(pl.Float64), two.cast(pl.Float64)
        unequal = one.ne_missing(two)
        if unequal.any():
            at = int(unequal.arg_max() or 0)
            found.append(f"{name}: {unequal.sum():,} cells, such as {one[at]!r} and {two[at]!r} in row {at}")
    return found


def main() -> None:
    """Measure, compare and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="Online Retail as CSV, .gz too")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for both")
    parser.add_argument("--alone", type=int, default=10_000_000, help="rows for ours alone; 0: not")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    costs: dict[str, list[Cost]] = {"aisleflow clean": [], "pandas": []}
    alone: Cost | None = None
    with tempfile.TemporaryDirectory() as folder:
        source, mine, other = (Path(folder) / name for name in ("sales.csv", "ours.csv", "pandas.csv"))
        rows = generate(chosen.file, source, chosen.rows)
        for _ in range(chosen.rounds):
            costs["aisleflow clean"].append(run(ours(source, mine)))
            costs["pandas"].append(run(theirs(source, other)))
        if disagree := differences(mine, other):
            sys.exit("the outputs differ, so there are no figures: " + "; ".join(disagree))
        if chosen.alone:
            generate(chosen.file, source, chosen.alone)
            alone = run(ours(source, mine))
    table = [
        (
            name,
            rows,
            round(statistics.median(cost.wall_s for cost in runs), 1),
            round(statistics.median(cost.cpu_s for cost in runs), 1),
            round(max(cost.peak_mib for cost in runs)),
        )
        for name, runs in costs.items()
    ]
    if alone:
        table.append(
            ("aisleflow clean", chosen.alone, round(alone.wall_s, 1), round(alone.cpu_s, 1), round(alone.peak_mib))
        )
    first, second = table[0], table[1]
    report(
        "cleaning",
        ("polars", "pandera", "pandas", "pyarrow"),
        ("way", "rows", "wall s", "CPU s", "peak MiB"),
        table,
        rounds=chosen.rounds,
        outputs="the same, cell by cell",
        times_faster_wall=round(second[2] / first[2], 2),
        times_faster_cpu=round(second[3] / first[3], 2),
        share_of_memory=round(first[4] / second[4], 2),
    )


if __name__ == "__main__":
    main()
