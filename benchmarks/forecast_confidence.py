"""Whether the confidence score keeps what it promises, on real sales.

Each series is cut at many origins; the champion answers as ``POST /api/v1/predict`` does, and its confidence score is held against whether
the total of the days that followed was within 20 % (or one unit) of the predicted one. Answers are sorted by their score and put into
fifths; of each the table has what was promised on the mean, and what share came true. ``Brier`` is the mean squared error of the score (0
is best); ``constant`` is that of telling every product what came true of its set on the mean, which nobody knows beforehand.

``python -m benchmarks.forecast_confidence FOLDER``; ``--every N`` takes every Nth series of the large sets,
``--origins N`` as many origins.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._report import report
from benchmarks._sales import SETS, until
from benchmarks.forecast import HORIZONS, SHORTEST
from forecasting.champion import Champion
from forecasting.series import Days, Series
from forecasting.service import TOLERANCE, Question, answer

APART = 28
GROUPS = 5


def judged(series: Sequence[Series], horizon: int, origins: int) -> tuple[Days, Days]:
    """The scores of all answers, and 1 where the total was hit; answers of which less than half the days is known are left out."""
    last = max(one.end for one in series) - timedelta(days=max(HORIZONS))
    scores, hits = [], []
    for back in range(origins):
        evening = last - timedelta(days=back * APART)
        cut = [(until(one, evening), one) for one in series if (evening - one.start).days >= SHORTEST]
        found = answer([Question(known, horizon) for known, _ in cut], Champion())
        for (known, whole), told in zip(cut, found, strict=True):
            sold = whole.quantity[len(known.quantity) :][:horizon]
            have = np.isfinite(sold)
            if have.sum() * 2 >= horizon:
                said = float(told.forecast.mean[: len(sold)][have].sum())
                scores.append(told.confidence)
                hits.append(abs(said - float(sold[have].sum())) <= max(TOLERANCE * said, 1.0))
    return np.array(scores), np.array(hits, dtype=float)


def row(name: str, horizon: int, scores: Days, hits: Days) -> list[Any]:
    """A line of the table."""
    groups = np.array_split(np.argsort(scores, kind="stable"), GROUPS)
    return [
        name,
        horizon,
        len(scores),
        f"{scores.mean():.3f}/{hits.mean():.3f}",
        *(f"{scores[group].mean():.2f}/{hits[group].mean():.2f}" for group in groups),
        round(float(np.mean((scores - hits) ** 2)), 4),
        round(float(hits.var()), 4),
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files of M5, Favorita and Online Retail are")
    parser.add_argument("--every", type=int, default=1, help="take every Nth series of Favorita and Online Retail")
    parser.add_argument("--origins", type=int, default=24, help="28 days apart; Online Retail has 11")
    asked = parser.parse_args()
    rows = []
    for name, read in SETS.items():
        series = read(asked.folder)
        series = series if len(series) < 50 else series[:: asked.every]
        rows += [row(name, horizon, *judged(series, horizon, asked.origins)) for horizon in HORIZONS]
    fifths = ["lowest", "second", "third", "fourth", "highest"]
    columns = ["set", "days", "answers", "all", *fifths, "Brier", "constant"]
    report("forecast_confidence", ["numpy"], columns, rows, every=asked.every, origins=asked.origins)


if __name__ == "__main__":
    main()
