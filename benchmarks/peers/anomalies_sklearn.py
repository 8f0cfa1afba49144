"""scikit-learn's outlier detectors on the hourly figures of ``benchmarks/anomalies.py``: what a general detector finds.

Reads the days as JSON and writes the figures as JSON. For each shop a detector learns from its days of the past (festivals and broken
days included, as they come; each day it has learnt from those before it since the last Monday) and scores every hour by weekday,
hour, visitors, conversion, abandonment and longest queue. Its threshold is the one that gives a false alarm a shop and week on the
very days it is judged by: better than anybody could set it. Hours flagged in a row are one alarm; a fault is found if an hour of it
is flagged.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from datetime import date
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

GOAL = 1.0
DETECTORS: dict[str, Any] = {
    "IsolationForest": lambda: IsolationForest(n_estimators=100, random_state=0),
    "LocalOutlierFactor": lambda: make_pipeline(RobustScaler(), LocalOutlierFactor(n_neighbors=30, novelty=True)),
}


def rows(day: dict[str, Any]) -> np.ndarray[Any, Any]:
    """A day's hours as features. Weekday and hour as they are: trees split them, and neighbours are near in them."""
    weekday = date.fromisoformat(day["day"]).weekday()
    return np.array([[weekday, hour, *figures] for hour, figures in zip(range(9, 21), day["hours"], strict=True)])


def alarms(flags: np.ndarray[Any, Any]) -> int:
    """Runs of flagged hours."""
    return int((flags & ~np.concatenate([[False], flags[:-1]])).sum())


def main() -> None:
    """From standard input to standard output."""
    by_store = defaultdict(list)
    for day in json.load(sys.stdin):
        by_store[day["store"]].append(day)
    result: dict[str, Any] = {}
    for name, make in DETECTORS.items():
        quiet: list[np.ndarray[Any, Any]] = []
        faults: list[tuple[str, np.ndarray[Any, Any]]] = []
        for days in by_store.values():
            learnt: dict[tuple[int, int], Any] = {}
            for day in sorted(days, key=lambda one: (one["day"], one.get("past", False))):
                if not day.get("judged") and day.get("past"):
                    continue
                week = date.fromisoformat(day["day"]).isocalendar()[:2]
                if week not in learnt:
                    monday = date.fromisocalendar(*week, 1).isoformat()
                    past = [rows(one) for one in days if one.get("past") and one["day"] < monday]
                    learnt[week] = make().fit(np.concatenate(past))
                scores = -learnt[week].score_samples(rows(day))
                if day.get("past"):
                    quiet.append(scores)
                elif day["fault"]:
                    kind, first, last = day["fault"]
                    faults.append((kind, scores[max(0, first - 9) : last - 9 + 1]))
        weeks = len(quiet) / 7
        for threshold in np.unique(np.concatenate(quiet)):
            if sum(alarms(scores > threshold) for scores in quiet) <= GOAL * weeks:
                break
        kinds = sorted({kind for kind, _ in faults})
        found = {kind: [bool((scores > threshold).any()) for one, scores in faults if one == kind] for kind in kinds}
        every = [hit for hits in found.values() for hit in hits]
        result[name] = {
            "alarms_per_shop_week": round(sum(alarms(scores > threshold) for scores in quiet) / weeks, 3),
            "recall": round(sum(every) / len(every), 3) if every else None,
            "recall_by_type": {kind: round(sum(hits) / len(hits), 3) for kind, hits in found.items()},
        }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
