"""Restocking over real sales: what each policy sells of what is asked for, against the stock that it holds; and how far the
probability of running out can be believed.

``python -m benchmarks.restocking FOLDER``: the folder has M5's and Online Retail's files. Everything that can be fitted (the
correlation of days, the profile of the day) is fitted on the days before the held-out ones; policies and models see of a day only
what came before it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import _report, _sales
from forecasting.champion import Champion
from forecasting.series import QUANTILES, Forecast, Series
from replenishment.demand import courses_of, demand_of
from replenishment.policy import OnHand, Terms, recommend
from replenishment.stockouts import HOURS, clock, stockout_risk

Array = npt.NDArray[np.float64]
PICTURES = Path(__file__).parents[1] / "docs" / "images"
SERVICE = (0.7, 0.8, 0.9, 0.95, 0.98)
TIMES = (0.75, 1.0, 1.5, 2.0, 3.0)
"""How often the naive policies hold what they think they need: their curve."""
WARM_UP = 14
LEAD_DAYS = (2, 3, 4)
"""A delivery takes so many days, each as often."""
TERMS = Terms(lead_time_days=float(np.mean(LEAD_DAYS)), lead_time_sd_days=float(np.std(LEAD_DAYS)), cover_days=3)
STOCKS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Stock on hand when it is asked what will run out, in times of what two days sell on the mean."""
BINS = 10


@dataclass(frozen=True)
class Product:
    """One series with what was forecast on the morning of each held-out day, and its sales by hour where they are known."""

    series: Series
    demand: Array
    """By day, 0 where the shop was closed."""
    first: int
    """The first held-out day."""
    forecasts: dict[int, Forecast]
    hourly: Array | None
    """Of shape (days, 24)."""

    def average(self, day: int) -> float:
        """Mean sales of a day in the four weeks before one."""
        return float(self.demand[max(0, day - 28) : day].mean())


def products(series: Sequence[Series], held_out: int, hourly: dict[str, Array]) -> Iterator[Product]:
    """Forecast every held-out day of every series, each from the days before it alone."""
    model = Champion()
    for one in series:
        days = len(one.quantity)
        first = days - held_out
        pasts = [replace(one, quantity=one.quantity[:day]) for day in range(first, days)]
        told = model.forecast(pasts, 14)
        known = dict(zip(range(first, days), told, strict=True))
        yield Product(one, np.nan_to_num(one.quantity), first, known, hourly.get(one.key))


def online_retail_hours(folder: Path, chosen: Sequence[Series]) -> dict[str, Array]:
    """Units by day and hour of these products, days as in their series."""
    import polars as pl

    lines = (
        pl.scan_csv(
            folder / "online_retail.csv.gz",
            schema_overrides={"InvoiceNo": pl.String, "StockCode": pl.String},
            encoding="utf8-lossy",
        )
        .filter(
            ~pl.col("InvoiceNo").str.starts_with("C")
            & (pl.col("Quantity") > 0)
            & (pl.col("UnitPrice") > 0)
            & pl.col("StockCode").is_in([one.key for one in chosen])
        )
        .with_columns(
            pl.col("InvoiceDate").str.slice(0, 10).str.to_date().alias("day"),
            pl.col("InvoiceDate").str.slice(11, 2).cast(pl.Int32).alias("hour"),
        )
        .group_by("StockCode", "day", "hour")
        .agg(pl.col("Quantity").sum())
        .collect()
    )
    found = {one.key: np.zeros((len(one.quantity), 24)) for one in chosen}
    starts = {one.key: one.start for one in chosen}
    for sku, day, hour, units in lines.iter_rows():
        number = (day - starts[sku]).days
        if 0 <= number < len(found[sku]):
            found[sku][number, hour] += units
    return found


# --- policies ------------------------------------------------------------------------------------------------------------

Decide = Callable[[Product, int, float, float], float]
"""(product, day, on hand, on order) to units to order that evening."""


def by_rule(terms: Terms) -> Decide:
    """The rules of ``replenishment.policy``."""

    def decide(product: Product, day: int, on_hand: float, on_order: float) -> float:
        forecast = product.forecasts.get(day + 1)
        if forecast is None:
            return 0.0
        weekday = (product.series.start + timedelta(days=day)).isoweekday()
        return recommend(OnHand(on_hand, on_order=on_order), demand_of(forecast), terms, weekday).order

    return decide


def last_week() -> Decide:
    """Every Monday order what sold in the last seven days. What it holds is what it began with."""

    def decide(product: Product, day: int, on_hand: float, on_order: float) -> float:
        is_monday = (product.series.start + timedelta(days=day)).isoweekday() == 1
        return float(product.demand[max(0, day - 6) : day + 1].sum()) if is_monday else 0.0

    return decide


def average_times_lead(times: float, pack: float) -> Decide:
    """Every evening order up to ``times`` what sells on the mean until a delivery ordered tomorrow would arrive."""

    def decide(product: Product, day: int, on_hand: float, on_order: float) -> float:
        need = times * product.average(day + 1) * (TERMS.lead_time_days + 1) - on_hand - on_order
        return float(np.ceil(need / pack) * pack) if need > 0 else 0.0

    return decide


@dataclass(frozen=True)
class Result:
    """What a policy did: share of what was asked for that was sold, and stock held in the evening, in days of mean sales."""

    fill_rate: float
    stock_days: float


def simulate(product: Product, decide: Decide, begin: float) -> Result | None:
    """Live through the held-out days: deliveries in the morning, sales by what was really sold, orders in the evening. What is
    asked for and not there is lost. None where nothing was asked for.
    """
    chance = np.random.default_rng(11)
    stock = begin
    coming: defaultdict[int, float] = defaultdict(float)
    asked = sold = held = 0.0
    days = range(product.first, len(product.demand))
    for day in days:
        stock += coming.pop(day, 0.0)
        wanted = float(product.demand[day])
        got = min(stock, wanted)
        stock -= got
        if day >= product.first + WARM_UP:
            asked, sold, held = asked + wanted, sold + got, held + stock
        if (order := decide(product, day, stock, sum(coming.values()))) > 0:
            coming[day + 1 + int(chance.choice(LEAD_DAYS))] += order
    if not asked:
        return None
    mean = asked / (len(days) - WARM_UP)
    return Result(sold / asked, held / (len(days) - WARM_UP) / mean)


def curves(found: Sequence[Product], pack: float) -> dict[str, list[tuple[float, Result]]]:
    """By policy: its parameter and what it did, the mean over products."""
    terms = replace(TERMS, pack=pack)
    weekly = replace(terms, policy="RS", order_days=(1,))
    ruled = {"(s, S)": terms, "(R, S), every day": replace(terms, policy="RS"), "(R, S), Mondays": weekly}
    policies: dict[str, list[tuple[float, Decide, float]]] = {
        name: [(level, by_rule(replace(one, service_level=level)), 7.0) for level in SERVICE]
        for name, one in ruled.items()
    }
    policies["what sold last week, Mondays"] = [(times, last_week(), 7 * times) for times in TIMES]
    policies["average sales x lead time"] = [(times, average_times_lead(times, pack), 7.0) for times in TIMES]
    return {
        name: [(value, _mean_result(found, decide, begin_days)) for value, decide, begin_days in settings]
        for name, settings in policies.items()
    }


def _mean_result(found: Sequence[Product], decide: Decide, begin_days: float) -> Result:
    lived = [simulate(one, decide, float(np.ceil(begin_days * one.average(one.first)))) for one in found]
    results = [result for result in lived if result is not None]
    return Result(
        float(np.mean([result.fill_rate for result in results])),
        float(np.mean([result.stock_days for result in results])),
    )


# --- stock-outs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """One question: will it run out within 48 hours?"""

    ours: float
    crude: float
    """Average sales times two days: certain if the stock is no more than that, impossible else."""
    poisson: float
    """The same average as the mean of a Poisson distribution."""
    happened: bool


def profile_of(found: Sequence[Product]) -> list[float]:
    """Sales by hour of the day before the held-out days; all zero where hours are not known."""
    total = np.zeros(24)
    for product in found:
        if product.hourly is not None:
            total += product.hourly[: product.first].sum(axis=0)
    return total.tolist()


def ahead(product: Product, day: int, hour: int) -> Array:
    """Units really sold by the end of each of the next 48 hours; where hours are not known, evenly within a day."""
    rows = [product.demand[d] if d < len(product.demand) else 0.0 for d in range(day, day + 3)]
    if product.hourly is None:
        hours = np.repeat(np.array(rows) / 24, 24)
    else:
        hours = np.concatenate(
            [product.hourly[d] if d < len(product.hourly) else np.zeros(24) for d in range(day, day + 3)]
        )
    return np.asarray(np.cumsum(hours[hour : hour + HOURS]))


def questions(found: Sequence[Product], profile: list[float], hour: int, every: int = 3) -> Iterator[Said]:
    """Ask on every third held-out day with several stocks whether they will run out."""
    from scipy.stats import poisson

    time_ahead, left = clock(profile, hour)
    for product in found:
        for day in range(product.first, len(product.demand) - 3, every):
            average = product.average(day)
            if average <= 0:
                continue
            courses = courses_of(product.forecasts[day], time_ahead.horizon_days, first_share=left)
            truth = ahead(product, day, hour)[-1] + 1e-6
            for stock in sorted({max(1.0, float(np.round(times * 2 * average))) for times in STOCKS}):
                ours = float(stockout_risk(courses, time_ahead, stock)[-1])
                crude = float(stock <= 2 * average)
                yield Said(ours, crude, float(poisson.sf(stock - 1, 2 * average)), bool(truth >= stock))


@dataclass(frozen=True)
class Warned:
    """Stocks that were left to run out, looked at every twelve hours."""

    ran_out: int
    warned: int
    """Of those that ran out: an alert was open."""
    hours: float
    """Of those: hours from the alert to the stock-out, the median."""
    alerts: int
    kept: int
    """Of the alerts: the stock ran out within 48 hours."""


def warnings(found: Sequence[Product], profile: list[float], judge: str) -> Warned:
    """Five days' stock and no delivery, begun every other week of the held-out days; ``judge`` is ``ours`` or ``crude``."""
    ran_out = alerts = kept = 0
    early: list[float] = []
    clocks = {hour: clock(profile, hour) for hour in (0, 12)}
    for product in found:
        for begin in range(product.first, len(product.demand) - 16, 14):
            average = product.average(begin)
            stock = float(np.round(5 * average))
            if stock < 2:
                continue
            opened: int | None = None
            sold = np.cumsum(
                np.repeat(product.demand[begin : begin + 16] / 24, 24)
                if product.hourly is None
                else product.hourly[begin : begin + 16].ravel()
            )
            out = int(np.searchsorted(sold, stock - 1e-6))
            for looked in range(0, min(out, 14 * 24), 12):
                left_over = stock - (sold[looked - 1] if looked else 0.0)
                day, hour = begin + looked // 24, looked % 24
                if judge == "crude":
                    is_open = left_over <= 2 * product.average(day)
                else:
                    time_ahead, left = clocks[hour]
                    courses = courses_of(product.forecasts[day], time_ahead.horizon_days, first_share=left)
                    is_open = stockout_risk(courses, time_ahead, left_over)[-1] >= (0.5 if opened is None else 0.25)
                if is_open and opened is None:
                    opened = looked
                    alerts += 1
                    kept += out < looked + HOURS
                elif not is_open:
                    opened = None
            if out < 14 * 24:
                ran_out += 1
                if opened is not None:
                    early.append(out - opened)
    return Warned(ran_out, len(early), float(np.median(early)) if early else 0.0, alerts, kept)


def reliability(said: Sequence[Said]) -> list[tuple[float, float, int]]:
    """By tenth of the probability: its mean, how often it happened, and how many there were."""
    ours, happened = np.array([one.ours for one in said]), np.array([one.happened for one in said])
    edges = np.linspace(0, 1, BINS + 1)
    rows = []
    for low, high in pairwise(edges):
        mine = (ours >= low) & ((ours < high) | (high == 1))
        if mine.any():
            rows.append((float(ours[mine].mean()), float(happened[mine].mean()), int(mine.sum())))
    return rows


def brier(said: Sequence[Said], name: str) -> float:
    """Mean squared difference between what was said and what happened: 0 is perfect."""
    return float(np.mean([(getattr(one, name) - one.happened) ** 2 for one in said]))


def correlation(series: Sequence[Series], held_out: int) -> float:
    """How alike the errors of two days in a row are, on the 26 weeks before the held-out days: the correlation of their ranks in
    the forecasts, as normal deviates.
    """
    from scipy.special import ndtri

    model, pairs = Champion(), []
    chance = np.random.default_rng(3)
    for one in series:
        until = len(one.quantity) - held_out
        pasts = [replace(one, quantity=one.quantity[:day]) for day in range(max(60, until - 26 * 7), until - 2, 5)]
        for past, said in zip(pasts, model.forecast(pasts, 2) if pasts else [], strict=True):
            days = one.quantity[len(past.quantity) : len(past.quantity) + 2]
            if np.isfinite(days).all():
                pairs.append([_rank(said, number, float(days[number]), chance) for number in range(2)])
    deviates = ndtri(np.clip(np.array(pairs), 0.01, 0.99))
    return float(np.corrcoef(deviates.T)[0, 1])


def _rank(said: Forecast, day: int, sold: float, chance: np.random.Generator) -> float:
    """Where a day's sales lie in its forecast; anywhere between the quantiles that they equal."""
    values = np.array([said.quantiles[level][day] for level in QUANTILES])
    low, high = np.searchsorted(values, sold, "left"), np.searchsorted(values, sold, "right")
    levels_ = np.concatenate([[0.0], QUANTILES, [1.0]])
    if low == high:
        return float(levels_[low] + levels_[low + 1]) / 2
    return float(chance.uniform(levels_[low], levels_[high + 1]))


# --- telling -------------------------------------------------------------------------------------------------------------


def draw_curves(made: dict[str, dict[str, list[tuple[float, Result]]]]) -> None:
    """Fill rate against stock held, a panel a data set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(made), figsize=(9, 3.6), constrained_layout=True)
    for panel, (name, policies) in zip(np.atleast_1d(panels), made.items(), strict=True):
        for (policy, points), marker in zip(policies.items(), "osD^v", strict=True):
            naive = policy.startswith(("what", "average"))
            panel.plot(
                [result.stock_days for _, result in points],
                [100 * result.fill_rate for _, result in points],
                marker=marker,
                markersize=4,
                linestyle="--" if naive else "-",
                color=("0.45" if policy.startswith("what") else "0.7") if naive else None,
                label=policy,
            )
        panel.set(
            title=name, xlabel="stock held in the evening, days of mean sales", ylabel="sold of what was asked for, %"
        )
        panel.grid(alpha=0.3)
    np.atleast_1d(panels)[-1].legend(fontsize=7, loc="lower right")
    figure.savefig(PICTURES / "restock-policies.png", dpi=90)
    plt.close(figure)


def draw_reliability(made: dict[str, list[tuple[float, float, int]]]) -> None:
    """How often it happened against how probable it was said to be."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(4.6, 4.2), constrained_layout=True)
    panel.plot([0, 100], [0, 100], color="0.7", linewidth=1)
    for (name, rows), marker in zip(made.items(), "os", strict=True):
        panel.plot([100 * row[0] for row in rows], [100 * row[1] for row in rows], marker=marker, label=name)
    panel.set(
        xlabel="said: runs out within 48 hours, %",
        ylabel="it did, %",
        title="What was said and what happened",
        aspect="equal",
    )
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    figure.savefig(PICTURES / "stockout-reliability.png", dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sales", type=Path, help="folder of M5's and Online Retail's files")
    parser.add_argument("--products", type=int, default=30, help="of Online Retail, those that sell most")
    parser.add_argument(
        "--correlation", action="store_true", help="only measure how alike days are, on the fitted part"
    )
    chosen = parser.parse_args()
    began = time.monotonic()
    retail = [one for one in _sales.online_retail(chosen.sales, chosen.products) if len(one.quantity) >= 200]
    sets: list[tuple[str, list[Series], int, float, int, dict[str, Array]]] = [
        ("Online Retail", retail, 98, 6.0, 12, online_retail_hours(chosen.sales, retail)),
        ("M5", _sales.m5(chosen.sales), 182, 1.0, 0, {}),
    ]
    if chosen.correlation:
        for name, series, held_out, *_ in sets:
            print(f"{name}: {correlation(series, held_out):.3f}")
        return
    rows: list[list[Any]] = []
    risks: list[list[Any]] = []
    all_curves, all_reliability = {}, {}
    for name, series, held_out, pack, hour, hourly in sets:
        found = list(products(series, held_out, hourly))
        all_curves[f"{name}: {len(found)} products, {held_out} days"] = made = curves(found, pack)
        rows += [
            [name, policy, value, round(100 * result.fill_rate, 1), round(result.stock_days, 1)]
            for policy, points in made.items()
            for value, result in points
        ]
        profile = profile_of(found)
        said = list(questions(found, profile, hour))
        all_reliability[name] = reliability(said)
        ours, crude = (warnings(found, profile, judge) for judge in ("ours", "crude"))
        base = float(np.mean([one.happened for one in said]))
        risks.append([name, "ours", len(said), base, brier(said, "ours"), *_told(ours)])
        risks.append([name, "average sales x 2 days", len(said), base, brier(said, "crude"), *_told(crude)])
        risks.append([name, "the same, as a Poisson mean", len(said), base, brier(said, "poisson"), "", "", "", ""])
    draw_curves(all_curves)
    draw_reliability(all_reliability)
    columns = ["data", "policy", "service level, or times", "fill rate %", "stock, days"]
    _report.show({}, columns, rows)
    risk_columns = ["data", "what", "questions", "ran out", "Brier", "warned %", "hours ahead", "alerts", "kept %"]
    _report.show({}, risk_columns, risks)
    _report.keep(
        "restocking",
        {
            "machine": _report.machine(),
            "policies": {"columns": columns, "rows": rows},
            "risks": {"columns": risk_columns, "rows": risks},
            "reliability": {"columns": ["said", "happened", "questions"], "rows": all_reliability},
            "seconds": round(time.monotonic() - began),
        },
    )


def _told(one: Warned) -> list[Any]:
    return [
        round(100 * one.warned / max(1, one.ran_out), 1),
        round(one.hours, 1),
        one.alerts,
        round(100 * one.kept / max(1, one.alerts), 1),
    ]


if __name__ == "__main__":
    main()
