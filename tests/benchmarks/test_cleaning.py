"""Ours and pandas clean the same: the benchmark compares two programs that do the same work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import cleaning

SALES = Path(__file__).parents[2].parent / "shared/data/sales/online_retail.csv.gz"


def test_the_outputs_are_the_same(tmp_path: Path) -> None:
    if not SALES.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no real material at {SALES}")
    source, mine, other = (tmp_path / name for name in ("sales.csv", "ours.csv", "pandas.csv"))
    # The first 25,000 rows are of days up to the twelfth, which do not tell day from month; pandas' side knows it beforehand.
    assert cleaning.generate(SALES, source, 40_000) == 40_000
    assert cleaning.run(cleaning.ours(source, mine)).peak_mib > 0
    cleaning.run(cleaning.theirs(source, other))
    assert cleaning.differences(mine, other) == []
    other.write_text(other.read_text().replace("WHITE HANGING", "BLACK HANGING", 1))
    assert cleaning.differences(mine, other)[0].startswith("name: 1 cells")
