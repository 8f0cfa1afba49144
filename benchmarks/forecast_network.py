"""What the network adds: ``python -m benchmarks.forecast_network FOLDER`` (needs the extra training; FOLDER as in benchmarks.forecast).

For each set of real sales a network learns what was known on the evening of the first origin, and is then asked at all of them, beside
the champion, last week again, and the champion with the network among what it tries. Origins, horizons and measures are those of
``benchmarks.forecast``. Nothing of a set's later days, and nothing of another set, is seen in training.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import timedelta
from pathlib import Path

from benchmarks._report import RESULTS, keep, machine, show
from benchmarks._sales import SETS, until
from benchmarks.forecast import APART, HORIZONS, MEASURES, evaluated
from forecasting.baseline import SeasonalNaive
from forecasting.champion import Champion
from forecasting.network import TrainingSettings, train
from forecasting.series import Forecaster


def main() -> None:
    """Train, score and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files of M5, Favorita and Online Retail are")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--every", type=int, default=1, help="take every Nth series of Favorita and Online Retail")
    parser.add_argument("--origins", type=int, default=4)
    parser.add_argument("--steps", type=int, default=TrainingSettings().steps, help="that the network learns in")
    asked = parser.parse_args()
    file = RESULTS / "forecast_network.json"
    results = json.loads(file.read_text())["sets"] if file.exists() else {}  # of the sets that are not asked now
    for name in asked.sets:
        series = SETS[name](asked.folder)
        series = series if len(series) < 50 else series[:: asked.every]
        last = max(one.end for one in series)
        first = last - timedelta(days=HORIZONS[-1] + (asked.origins - 1) * APART[name])
        begun = time.process_time()
        network = train([until(one, first) for one in series if one.start < first], TrainingSettings(steps=asked.steps))
        learnt_s = time.process_time() - begun
        both = Champion([network])
        both.name = "champion with the network"
        models: list[Forecaster] = [SeasonalNaive(), Champion(), network, both]
        tables, _ = evaluated(series, APART[name], asked.origins, models)
        results[name] = {
            "machine": machine(), "series": len(series), "origins": asked.origins, "steps": asked.steps,
            "training_cpu_s": learnt_s, "models": tables,
        }  # fmt: skip
        for horizon in HORIZONS:
            about = f"{name}, {len(series)} series, {horizon} days; learnt in {learnt_s:.0f} s of CPU"
            rows = [
                [model, *(table["horizons"][str(horizon)][measure] for measure in MEASURES)]
                for model, table in tables.items()
            ]
            show({"set": about}, ["model", *MEASURES], rows)
        keep("forecast_network", {"sets": results})


if __name__ == "__main__":
    main()
