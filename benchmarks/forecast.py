"""Every model of demand and the champion side by side, on real sales, by rolling origin.

Each series of a set is cut at several origins, 28 days apart or more; every model sees what was known on that evening and forecasts 28
days. Scored are the first 7 and all 28, only days on which the shop was open, by the measures of ``forecasting/backtest.py``; the MASE
of a set is the mean over its series and origins. "ets-alone", "prophet" and "seasonal-naive" are the yardsticks: statsforecast's
AutoETS as it comes, Prophet with the holidays and prices by name, and last week again. "ets", "theta" and the models for slow sellers
get our effects of days, promotions and prices. "champion" is what answers a request; "champion-full" has also tried the others.

``python -m benchmarks.forecast FOLDER``; ``--every N`` takes every Nth series of the large sets, ``--origins N`` as many origins.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._report import RESULTS, keep, machine, show
from benchmarks._sales import SETS, until
from forecasting.backtest import Scores, scores
from forecasting.baseline import SeasonalNaive
from forecasting.champion import Champion
from forecasting.series import QUANTILES, Days, Forecast, Forecaster, Series
from forecasting.statistical import Statistical

HORIZONS = (7, 28)
APART = {"m5": 28, "favorita": 56, "online-retail": 28}
"""Days between origins: Favorita's six cover a year, Online Retail has one year in all."""
SHORTEST = 56
MEASURES = ("mase", "mase_mean", "rmsse", "wql", "coverage_80", "coverage_95", "bias")
GOALS = (("ets-alone", 0.95), ("prophet", 0.90), ("seasonal-naive", 0.90))
INTERMITTENT = ("croston", "tsb", "adida", "imapa")
NAMES = ["seasonal-naive", "champion", "ets-alone", "prophet", "theta", "ets", *INTERMITTENT, "champion-full"]
IMAGES = Path(__file__).parent.parent / "docs" / "images"


def models(names: Sequence[str]) -> list[Forecaster]:
    """The models by name, in the order in which they are shown."""
    made: list[Forecaster] = []
    for name in names:
        if name == "seasonal-naive":
            made.append(SeasonalNaive())
        elif name == "champion":
            made.append(Champion())
        elif name == "champion-full":
            full = Champion([Statistical(one) for one in ("theta", "ets", *INTERMITTENT)])
            full.name = name
            made.append(full)
        elif name == "prophet":
            from forecasting.prophet import Prophet

            made.append(Prophet())
        else:
            made.append(Statistical(name.removesuffix("-alone"), alone=name.endswith("-alone")))
    return made


def evaluated(
    series: Sequence[Series], apart: int, origins: int, asked: Sequence[Forecaster]
) -> tuple[dict[str, Any], list[Any]]:
    """Of every model the mean scores by horizon, and examples: (series as known, what came, forecasts by model)."""
    last = max(one.end for one in series)
    found: dict[str, dict[int, list[Scores]]] = {model.name: {horizon: [] for horizon in HORIZONS} for model in asked}
    seconds: dict[str, float] = defaultdict(float)
    chosen: dict[str, Counter[str]] = defaultdict(Counter)
    examples = []
    for back in range(origins, 0, -1):
        evening = last - timedelta(days=HORIZONS[-1] + (back - 1) * apart)
        cut = [(until(one, evening), one) for one in series if (evening - one.start).days >= SHORTEST]
        known = [one for one, _ in cut]
        came = [whole.quantity[len(one.quantity) :][: HORIZONS[-1]] for one, whole in cut]
        told: dict[str, list[Forecast]] = {}
        for model in asked:
            begun = time.process_time()
            told[model.name] = model.forecast(known, HORIZONS[-1])
            seconds[model.name] += time.process_time() - begun
            for one, sold, forecast in zip(known, came, told[model.name], strict=True):
                chosen[model.name][forecast.model] += 1
                fan = np.array([forecast.quantiles[level] for level in QUANTILES])
                for horizon in HORIZONS:
                    days = slice(0, horizon)
                    found[model.name][horizon].append(
                        scores(sold[days], forecast.mean[days], fan[:, days], one.quantity)
                    )
            print(
                f"  {evening} {model.name}: {len(known)} series, {seconds[model.name]:.0f} s of CPU so far", flush=True
            )
        examples.append((known, came, told))
    tables = {
        name: {
            "horizons": {str(horizon): _mean(of[horizon]) for horizon in HORIZONS},
            "ms_a_series": 1000 * seconds[name] / len(of[HORIZONS[0]]),
            "forecasts": len(of[HORIZONS[0]]),
            "chose": dict(chosen[name].most_common(8)),
        }
        for name, of in found.items()
    }
    return tables, examples


def _mean(of: Sequence[Scores]) -> dict[str, float]:
    """The mean of each measure; shares of days by days, so that long and short series count by what was forecast."""
    days = np.array([one.days for one in of])
    made = {}
    for measure in MEASURES:
        values = np.array([getattr(one, measure) for one in of])
        use = np.isfinite(values) & (days > 0)
        weights = days[use] if measure.startswith("coverage") else np.ones(use.sum())
        made[measure] = float(np.average(values[use], weights=weights)) if use.any() else float("nan")
    made["mase_median"] = float(np.nanmedian([one.mase for one in of]))
    return made


def verdicts(tables: dict[str, Any]) -> list[dict[str, Any]]:
    """How the champion stands to each goal."""
    made = []
    for horizon in HORIZONS:
        mine = tables["champion"]["horizons"][str(horizon)]
        for name, share in GOALS:
            if name in tables:
                ratio = mine["mase"] / tables[name]["horizons"][str(horizon)]["mase"]
                made.append(
                    {
                        "horizon": horizon,
                        "goal": f"MASE at most {share:g} of {name}",
                        "is": ratio,
                        "met": bool(ratio <= share),
                    }
                )
        inside = mine["coverage_80"]
        made.append(
            {"horizon": horizon, "goal": "80 % intervals hold 77 to 83 %", "is": inside, "met": 0.77 <= inside <= 0.83}
        )
    return made


def plotted(name: str, tables: dict[str, Any], examples: list[Any], path: Path) -> None:
    """MASE of every model, and two forecasts beside what came."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (bars, *axes) = plt.subplots(3, 1, figsize=(8, 9), height_ratios=[1.4, 1, 1], layout="constrained")
    names = sorted(tables, key=lambda one: -tables[one]["horizons"]["28"]["mase"])
    places = np.arange(len(names))
    for offset, horizon, colour in ((0.2, 7, "#9db8d6"), (-0.2, 28, "#2f6299")):
        values = [tables[one]["horizons"][str(horizon)]["mase"] for one in names]
        drawn = bars.barh(places + offset, values, 0.38, color=colour, label=f"{horizon} days")
        bars.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
    bars.set_yticks(places, names)
    bars.set_title(f"{name}: MASE of the median, lower is better", loc="left")
    bars.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    bars.margins(x=0.08)
    known, came, told = examples[-1]
    by_volume = np.argsort([np.nanmean(one.quantity) for one in known])
    for axis, place in zip(axes, (by_volume[-1], by_volume[len(by_volume) // 2]), strict=True):
        _fan(
            axis,
            known[place],
            came[place],
            told["champion"][place],
            told.get("ets-alone", told["seasonal-naive"])[place],
        )
    for axis in (bars, *axes):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


def _fan(axis: Any, known: Series, came: Days, champion: Forecast, other: Forecast) -> None:
    past = 70
    days = np.arange(1, len(came) + 1)
    axis.plot(np.arange(-past + 1, 1), known.quantity[-past:], color="#555555", lw=1)
    axis.fill_between(
        days,
        champion.quantiles[0.1],
        champion.quantiles[0.9],
        color="#2f6299",
        alpha=0.22,
        lw=0,
        label="champion, 80 %",
    )
    axis.plot(days, champion.quantiles[0.5], color="#2f6299", lw=1.6, label="champion, median")
    axis.plot(days, other.quantiles[0.5], color="#c2562d", lw=1.2, ls="--", label=other.model)
    axis.plot(days, came, "o", ms=3, color="black", label="came")
    axis.set_title(f"{known.key}: units a day, before and after {known.end:%d %B %Y}", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8, ncols=4, loc="upper left")
    axis.set_ylim(0, 1.25 * float(np.nanmax(np.concatenate([known.quantity[-past:], came, champion.quantiles[0.9]]))))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files of M5, Favorita and Online Retail are")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--every", type=int, default=1, help="take every Nth series of Favorita and Online Retail")
    parser.add_argument("--origins", type=int, default=6)
    parser.add_argument(
        "--models",
        nargs="+",
        default=NAMES,
        choices=NAMES,
        help="only these; figures of the others are kept where series and origins were the same",
    )
    asked = parser.parse_args()
    file = RESULTS / "forecast.json"
    for name in asked.sets:
        series = SETS[name](asked.folder)
        series = series if len(series) < 50 else series[:: asked.every]
        use = [
            "seasonal-naive",
            "champion",
            *(one for one in asked.models if one not in ("seasonal-naive", "champion")),
        ]
        tables, examples = evaluated(series, APART[name], asked.origins, models(use))
        others = json.loads(file.read_text())["sets"] if file.exists() else {}
        setting = {"series": len(series), "origins": asked.origins, "days_apart": APART[name]}
        if setting.items() <= (before := others.get(name, {"models": {}})).items():
            tables = {**before["models"], **tables}
        result = {
            "machine": machine(),
            **setting,
            "models": tables,
            "goals": verdicts(tables),
        }
        IMAGES.mkdir(exist_ok=True)
        plotted(name, tables, examples, IMAGES / f"forecast-{name}.png")
        for horizon in HORIZONS:
            rows = [
                [
                    model,
                    *(table["horizons"][str(horizon)][measure] for measure in MEASURES),
                    round(table["ms_a_series"]),
                ]
                for model, table in sorted(tables.items(), key=lambda item: item[1]["horizons"][str(horizon)]["mase"])
            ]
            show({"set": f"{name}, {len(series)} series, {horizon} days"}, ["model", *MEASURES, "ms"], rows)
        for goal in result["goals"]:
            print(f"{goal['horizon']:>2} days, {goal['goal']}: {goal['is']:.3f} {'met' if goal['met'] else 'NOT MET'}")
        keep("forecast", {"sets": {**others, name: result}})


if __name__ == "__main__":
    main()
