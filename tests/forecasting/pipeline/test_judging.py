"""Sums by series are the measures of the backtest, and what is promoted is what was better."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecasting.backtest import scores
from forecasting.baseline import SeasonalNaive
from forecasting.days import cut
from forecasting.pipeline import train
from forecasting.pipeline.judging import judge, summed, table
from forecasting.registry import Card, DataCard
from forecasting.series import QUANTILES, Series

RANDOM = np.random.default_rng(3)
SERIES = [
    Series(key, date(2026, 1, 1), np.where(RANDOM.random(100) < 0.1, np.nan, RANDOM.poisson(level, 100).astype(float)))
    for key, level in (("A", 2), ("B", 30))
]
CARD = Card(data=DataCard(fingerprint="", series=1, days=1, first=date(2026, 1, 1), last=date(2026, 1, 1)), horizon=28)


def test_the_figures_are_those_of_the_backtest() -> None:
    rows = judge(SERIES, [SeasonalNaive()], 14)
    for one, row in zip(SERIES, rows, strict=True):
        before = cut(one, 14)
        (said,) = SeasonalNaive().forecast([before], 14)
        expected = scores(
            one.quantity[-14:], said.mean, np.array([said.quantiles[q] for q in QUANTILES]), before.quantity
        )
        found = summed([row])
        assert found["mase"] == pytest.approx(expected.mase) and found["wql"] == pytest.approx(expected.wql)
        assert found["bias"] == pytest.approx(expected.bias) and found["coverage_80"] == pytest.approx(
            expected.coverage_80
        )
    both = summed(rows)
    assert both["days"] == sum(row.days for row in rows) and both["series"] == 2
    assert both["wql"] == pytest.approx(2 * sum(row.pinball for row in rows) / sum(row.sold for row in rows))
    assert table(rows).startswith(b"PAR1")


def test_nothing_sold_in_the_window_gives_no_ratio() -> None:
    empty = Series("C", date(2026, 1, 1), np.concatenate([np.arange(40.0) % 5, np.zeros(14)]))
    assert "wql" not in summed(judge([empty], [SeasonalNaive()], 14))


@pytest.mark.parametrize(
    ("new", "naive", "served", "before", "promoted", "why"),
    [
        (0.30, 0.40, None, False, True, "nothing was served"),
        (0.30, 0.40, 0.31, True, True, "that of the version served until now 0.3100"),
        (0.30, 0.40, 0.30, True, False, "that of the served version 0.3000"),
        (0.30, 0.29, None, False, False, "that of the weekday's last sale 0.2900"),
        (0.30, 0.40, None, True, True, "cannot be asked"),
        (None, None, None, False, False, "nothing can be judged"),
    ],
)
def test_what_is_promoted(
    new: float | None, naive: float | None, served: float | None, before: bool, promoted: bool, why: str
) -> None:
    named = {"new": new, "seasonal-naive": naive, "served": served}
    found = {
        name: {} if wql is None else {"wql": wql} for name, wql in named.items() if wql is not None or name == "new"
    }
    better, said = train.verdict(found, CARD if before else None)
    assert better is promoted and why in said


def test_the_card_says_what_was_learnt_from_and_changes_with_it() -> None:
    card = train.data_card(SERIES, 14)
    assert (card.series, card.first, card.last) == (2, date(2026, 1, 1), date(2026, 3, 27))
    assert card.days == sum(int(np.isfinite(one.quantity[:-14]).sum()) for one in SERIES)
    other = Series(SERIES[1].key, SERIES[1].start, SERIES[1].quantity + 1)
    assert train.data_card([SERIES[0], other], 14).fingerprint != card.fingerprint
    assert train.data_card(SERIES, 14) == card and datetime.now(UTC) >= CARD.created_at
