"""What makes a day sell more or less than the same weekday around it: promotions, prices, holidays, the time of the year.

All are multipliers, learned from the product's own history and drawn towards 1 (or, for one holiday, towards all holidays) as far as
the history is short or noisy: with n days whose relative variance is s^2, an effect keeps t^2 / (t^2 + s^2 / n) of itself, t being
how far such effects usually are from 1 (the normal-normal rule of empirical Bayes: Efron & Morris 1975, JASA 70).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.series import Days, Series
from forecasting.smoothing import discounted

WEEK = 7
YEAR = 364
"""Whole weeks, so that a day is compared with the same weekday a year ago."""
PROMOTION_SPREAD, HOLIDAY_SPREAD, YEARLY_SPREAD = 0.5, 0.4, 0.2
SURE = 2.5
"""Standard errors that an effect of a promotion, a price or a season must be away from none to be used."""
FEWEST = 3
"""Days that a promotion must have been seen on."""
AROUND = (-2, -1, 1)
"""Days before and after a holiday that may have an effect of their own."""
LOW, HIGH = 0.02, 10.0
"""No day is taken to sell less or more than this many times an ordinary one."""
ELASTICITIES = (-0.5, -1.0, -1.5, -2.0, -2.5, -3.0, -4.0)
SEASON_DAYS = 28
SEASONS = {"peak": 0.9, "off-peak": 0.1}
"""Which quantile of the history's four-week averages a season's level is."""


@dataclass(frozen=True)
class Effect:
    """One thing that changes demand: a day under it sells ``factor`` times what it would otherwise.

    ``days`` of history it rests on; ``shown``: whether the history shows it at all (if not, the factor is 1); ``note`` says it in words.
    """

    name: str
    factor: float
    days: int
    shown: bool
    note: str


@dataclass(frozen=True)
class Effects:
    """The effects on one product, and the multiplier of each day of its history and of the ``horizon`` days after it.

    ``calendar`` is what holidays and the year do, ``marketing`` what promotions and prices do, ``by_price`` the prices' part of it.
    ``yearly`` apart from them is what last year's course says, which a forecast may or may not believe. ``honest`` is ``calendar`` with
    each holiday judged by the others only, for backtests. ``special`` are promoted days, holidays and those around them. ``noise`` is
    the relative variance of an ordinary day about what is usual.
    """

    promotion: Effect
    price: Effect
    holidays: tuple[Effect, ...]
    calendar: Days
    marketing: Days
    by_price: Days
    yearly: Days
    honest: Days
    special: npt.NDArray[np.bool_]
    noise: float


def estimate(series: Series, horizon: int) -> Effects:
    """The effects that the history of ``series`` shows, for its days and the ``horizon`` ones after them.

    Days to come without a known promotion or price are taken to be as the last day's price and without a promotion.
    """
    quantity = series.quantity
    length = len(quantity) + horizon
    promoted = _to(series.promotion, length, 0.0) > 0
    groups, names = _holiday_groups(series, length)
    special = promoted | (groups >= 0)
    price = _price_ratio(series, length)
    elasticity = _elasticity(quantity, special, price) if price is not None else None
    by_price = (
        np.clip(price ** (elasticity.factor if elasticity and elasticity.shown else 0.0), LOW, HIGH)
        if price is not None
        else np.ones(length)
    )
    base = usual(quantity / by_price[: len(quantity)], special[: len(quantity)])
    base = base * by_price[: len(quantity)]
    noise = _noise(quantity, base, special[: len(quantity)])
    yearly = _yearly(quantity, special, noise, length)
    calendar, honest, holidays = _holidays(quantity, base, promoted, groups, names, noise, length)
    promotion = _promotion(quantity, base * calendar[: len(quantity)], promoted, noise)
    marketing = by_price * np.where(promoted, promotion.factor, 1.0)
    of_price = elasticity or Effect("price", 0.0, 0, False, "the history has no price")
    return Effects(promotion, of_price, holidays, calendar, marketing, by_price, yearly, honest, special, noise)


def usual(quantity: Days, left_out: npt.NDArray[np.bool_]) -> Days:
    """What each day would usually sell: its weekday's share of the level of the weeks on both sides; days left out tell nothing."""
    known = np.isfinite(quantity) & ~left_out
    sold, days = np.where(known, quantity, 0.0), known.astype(float)
    weekday = np.arange(len(quantity)) % WEEK
    level = sold.sum() / max(days.sum(), 1.0)
    if level <= 0:
        return np.zeros(len(quantity))
    by_weekday = np.bincount(weekday, sold, WEEK), np.bincount(weekday, days, WEEK)
    profile = ((by_weekday[0] + 2 * level) / (by_weekday[1] + 2) / level)[weekday]
    return np.asarray(profile * (_both_sides(sold) + 1e-3 * level) / (_both_sides(days * profile) + 1e-3))


def season(series: Series, label: str) -> Effect:
    """How a season that the asker names ("peak", "off-peak") differs from the level at the history's end.

    Four-week averages of the whole history are compared: the season's level is their 0.9 (0.1) quantile. It needs half a year, and
    averages that differ by more than chance; a peak never lowers a forecast and an off-peak never raises it. Other words change nothing.
    """
    label = label.strip().lower().replace("_", "-")
    if label not in SEASONS:
        return Effect(
            "season",
            1.0,
            0,
            False,
            f"the season {label!r} is not known (peak, off-peak): it changes nothing" if label else "",
        )
    quantity = series.quantity
    blocks = len(quantity) // SEASON_DAYS
    recent = quantity[len(quantity) - blocks * SEASON_DAYS :].reshape(blocks, SEASON_DAYS)
    counts = np.isfinite(recent).sum(axis=1)
    recent, counts = recent[counts >= SEASON_DAYS // 2], counts[counts >= SEASON_DAYS // 2]
    days = int(counts.sum())
    if len(recent) < 6:
        return Effect("season", 1.0, days, False, f"the history is too short to show a season: {label} changes nothing")
    levels = np.nanmean(recent, axis=1)
    chance = float(np.mean(np.nanvar(recent, axis=1, ddof=1) / counts))
    spread = float(np.var(levels, ddof=1))
    if levels[-1] <= 0 or spread <= SURE * chance:
        return Effect(
            "season", 1.0, days, False, f"the history shows no seasons beyond chance: {label} changes nothing"
        )
    kept = (spread - chance) / spread
    overall = levels.mean()
    target, now = (overall + kept * (level - overall) for level in (np.quantile(levels, SEASONS[label]), levels[-1]))
    factor = float(np.clip(target / now, LOW, HIGH))
    factor = max(factor, 1.0) if label == "peak" else min(factor, 1.0)
    return Effect(
        "season",
        factor,
        days,
        True,
        f"{label}: {percent(factor)} against the last four weeks, from {len(levels)} blocks of four weeks",
    )


def _both_sides(values: Days) -> Days:
    """Sums over the days before and after, each day counting half as much as one 14 days nearer."""
    return np.asarray(discounted(values, 14) + discounted(values[::-1], 14)[::-1] - values)


def _noise(quantity: Days, base: Days, left_out: npt.NDArray[np.bool_]) -> float:
    """The relative variance of a day about what is usual."""
    use = np.isfinite(quantity) & ~left_out & (base > 0)
    if use.sum() < WEEK or not quantity[use].any():
        return 1.0
    return float(np.clip(np.mean(((quantity[use] - base[use]) / np.mean(base[use])) ** 2), 1e-3, 100.0))


def _promotion(quantity: Days, base: Days, promoted: npt.NDArray[np.bool_], noise: float) -> Effect:
    use = np.isfinite(quantity) & promoted[: len(quantity)] & (base > 0)
    days = int(use.sum())
    if not days:
        return Effect("promotion", 1.0, 0, False, "the history marks no promotion: one changes nothing")
    raw = quantity[use].sum() / base[use].sum()
    if days < FEWEST or abs(raw - 1) < SURE * np.sqrt(noise / days):
        return Effect(
            "promotion", 1.0, days, False, f"{days} days of promotion show no effect beyond chance: one changes nothing"
        )
    factor = _drawn(raw, 1.0, days, noise, PROMOTION_SPREAD)
    return Effect("promotion", factor, days, True, f"a promotion: {percent(factor)}, from {days} days of it")


def _drawn(raw: float, towards: float, days: float, noise: float, spread: float) -> float:
    kept = spread**2 / (spread**2 + noise / max(days, 1e-9))
    return float(np.clip(towards + kept * (raw - towards), LOW, HIGH))


def _holiday_groups(series: Series, length: int) -> tuple[npt.NDArray[np.int64], list[tuple[str, int]]]:
    """For each day the number of its holiday (or of the day before or after one), -1 for none; and what each number is."""
    groups = np.full(length, -1)
    if series.holiday is None and not series.holiday_names:
        return groups, []
    flags = _to(series.holiday, length, 0.0) > 0
    days = {}
    for day, name in series.holiday_names.items():
        if 0 <= (at := (day - series.start).days) < length + 2:
            days[at] = name
    for flagged in np.flatnonzero(flags).tolist():
        days.setdefault(flagged, f"{series.start + timedelta(days=flagged):%d %B}")
    numbers: dict[tuple[str, int], int] = {}
    for place, name in sorted(days.items()):
        for offset in (0, *AROUND):
            near = place + offset
            if 0 <= near < length and (offset == 0 or (near not in days and groups[near] < 0)):
                groups[near] = numbers.setdefault((name, offset), len(numbers))
    return groups, list(numbers)


def _holidays(
    quantity: Days,
    base: Days,
    promoted: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.int64],
    names: list[tuple[str, int]],
    noise: float,
    length: int,
) -> tuple[Days, Days, tuple[Effect, ...]]:
    """The multiplier of each day by its holiday, and the effects of holidays proper."""
    if not names:
        return np.ones(length), np.ones(length), ()
    past = groups[: len(quantity)]
    use = np.isfinite(quantity) & (past >= 0) & ~promoted[: len(quantity)] & (base > 0)
    sold = np.bincount(past[use], quantity[use], len(names))
    expected = np.bincount(past[use], base[use], len(names))
    days = np.bincount(past[use], minlength=len(names))
    proper = np.array([offset == 0 for _, offset in names])
    seen = days > 0
    raw = np.where(seen, sold / np.maximum(expected, 1e-9), 1.0)
    common = (
        _drawn(float(np.median(raw[seen & proper])), 1.0, float(days[seen & proper].sum()), noise, 0.2)
        if (seen & proper).any()
        else 1.0
    )
    factors = np.array(
        [
            _drawn(one, common if is_proper else 1.0, count, noise, HOLIDAY_SPREAD)
            for one, count, is_proper in zip(raw, days, proper, strict=True)
        ]
    )
    effects = tuple(
        Effect(
            name, float(factor), int(count), bool(count), f"{name}: {percent(float(factor))}, from {count} such days"
        )
        for (name, offset), factor, count in zip(names, factors, days, strict=True)
        if offset == 0
    )
    calendar = np.where(groups >= 0, factors[groups], 1.0)
    honest = calendar.copy()
    at = np.flatnonzero(use)
    of = past[at]
    others = days[of] - 1
    raw_others = np.where(others > 0, (sold[of] - quantity[at]) / np.maximum(expected[of] - base[at], 1e-9), 1.0)
    towards = np.where(proper, common, 1.0)[of]
    kept = HOLIDAY_SPREAD**2 / (HOLIDAY_SPREAD**2 + noise / np.maximum(others, 1e-9))
    honest[at] = np.clip(towards + kept * (raw_others - towards), LOW, HIGH)
    return calendar, honest, effects


def _yearly(quantity: Days, left_out: npt.NDArray[np.bool_], noise: float, length: int) -> Days:
    """What the same time of earlier years sold, relative to its own year; 1 where there was none.

    Only days at least 51 weeks older than the day itself are used, so a forecast made in the past would have had the same.
    """
    yearly = np.ones(length)
    if len(quantity) < YEAR + 8 * WEEK:
        return yearly
    known = np.isfinite(quantity) & ~left_out[: len(quantity)]
    sold = np.where(known, quantity, 0.0)
    weekday = np.arange(len(quantity)) % WEEK
    profile = np.bincount(weekday, sold, WEEK) / np.maximum(np.bincount(weekday, known.astype(float), WEEK), 1.0)
    expected = np.where(known, profile[weekday], 0.0)

    def window(values: Days, reach: int) -> Days:
        total = np.concatenate([[0.0], np.cumsum(values)])
        at = np.arange(len(values))
        return np.asarray(total[np.minimum(at + reach + 1, len(values))] - total[np.maximum(at - reach, 0)])

    near = window(sold, WEEK) / np.maximum(window(expected, WEEK), 1e-9)
    around = window(sold, YEAR // 2) / np.maximum(window(expected, YEAR // 2), 1e-9)
    ratio = np.where((window(expected, WEEK) > 0) & (around > 0), near / np.maximum(around, 1e-9), 1.0)
    total, count = np.zeros(length), np.zeros(length)
    for years in range(1, length // YEAR + 1):
        lag = YEAR * years
        from_ = np.arange(lag, length)
        from_ = from_[from_ - lag < len(quantity) - WEEK]
        total[from_] += ratio[from_ - lag]
        count[from_] += 1
    kept = YEARLY_SPREAD**2 / (YEARLY_SPREAD**2 + noise / (2 * WEEK + 1))
    return np.clip(1 + count / (count + 1 / kept - 1 + 1e-9) * (total / np.maximum(count, 1) - 1), 0.2, 5.0)


def _price_ratio(series: Series, length: int) -> Days | None:
    """Each day's price relative to the last one of the history; None where no price is known or it never changed."""
    if series.price is None:
        return None
    now = series.price[: len(series.quantity)]
    if not np.isfinite(now).any() or not (now[np.isfinite(now)] > 0).all():
        return None
    last = now[np.isfinite(now)][-1]
    ratio = _to(series.price, length, last) / last
    return np.where(np.isfinite(ratio) & (ratio > 0), np.clip(ratio, 0.1, 10), 1.0)


def _elasticity(quantity: Days, left_out: npt.NDArray[np.bool_], ratio: Days) -> Effect:
    """The exponent of the price: by it the sales of changed prices come nearest to what is usual; none if none is clearly better.

    Sales are modelled as ``price ** elasticity`` times the usual level, the constant-elasticity demand of the trade.
    """
    use = np.isfinite(quantity) & ~left_out[: len(quantity)]
    ratio = ratio[: len(quantity)]
    changed = use & (np.abs(np.log(ratio) - np.log(np.median(ratio[use]) if use.any() else 1.0)) > 0.03)
    days = int(changed.sum())
    nothing = Effect("price", 0.0, days, False, "the history shows no effect of the price")
    if days < 2 * WEEK or (use & ~changed).sum() < 2 * WEEK:
        return nothing

    def loss(exponent: float) -> float:
        """Squared error of each week's sales by the weeks around it."""
        scale = ratio**exponent
        sold, expected = np.where(use, quantity, 0.0), np.where(use, scale, 0.0)
        before = discounted(sold, 21) - sold
        basis = discounted(expected, 21) - expected
        after = discounted(sold[::-1], 21)[::-1] - sold
        ahead = discounted(expected[::-1], 21)[::-1] - expected
        level = (before + after) / np.maximum(basis + ahead, 1e-9)
        return float(np.sum((sold - level * expected)[use] ** 2))

    none = loss(0.0)
    best = min(ELASTICITIES, key=loss)
    if none - loss(best) < 2 * SURE**2 * none / max(int(use.sum()), 1):
        return nothing
    return Effect("price", best, days, True, f"price: an elasticity of {best:g}, from {days} days at another price")


def _to(values: Days | None, length: int, rest: float) -> Days:
    """The values cut or filled to a length."""
    filled = np.full(length, rest)
    if values is not None:
        known = np.nan_to_num(values[:length], nan=rest)
        filled[: len(known)] = known
    return filled


def percent(factor: float) -> str:
    """A multiplier in words: ``+25 %``."""
    return f"{(factor - 1) * 100:+.0f} %"


def holidays_of(country: str, first: date, last: date) -> dict[date, str]:
    """The public holidays of a country (ISO 3166, "EC" or with a subdivision "DE-BY") from a day to another, by name; {} if not known."""
    import holidays

    country, _, part = country.partition("-")
    try:
        found = holidays.country_holidays(country, subdiv=part or None, years=range(first.year, last.year + 1))
    except NotImplementedError:
        return {}
    return {day: name for day, name in sorted(found.items()) if first <= day <= last}
