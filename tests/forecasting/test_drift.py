"""When forecasts are said to drift: tables by hand, and how often chance says so."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.drift import WINDOW, WINDOWS, Live, at_least, of_product, of_shop, upper_bound


def live(
    sold: list[float] | np.ndarray, mean: float = 10, half: float = 6, backtest: tuple[float, ...] = (2, 2.5, 3, 2, 3.5)
) -> Live:
    flat = np.full(WINDOW, mean)
    return Live(flat, flat - half, flat + half, np.array(sold, dtype=float), backtest, 3.0)


@pytest.mark.parametrize(
    ("sold", "was_drifting", "drifts"),
    [
        ([10] * 7, False, False),
        ([16] * 7, False, False),  # the error is larger than ever, but the interval knew that it may be
        ([17] * 7, False, True),
        ([17, 17, 17, 10, 10, 10, 10], False, False),  # within the range of the backtest
        ([16] * 7, True, True),  # not back in the range
        ([13.5] * 7, True, False),
        ([17, 17, 17, 17, 17, np.nan, np.nan], False, True),
    ],
)
def test_a_product_drifts_when_its_error_leaves_the_range_by_more_than_chance(
    sold: list[float], was_drifting: bool, drifts: bool
) -> None:
    found = of_product(live(sold), products=20, was_drifting=was_drifting)
    assert found is not None and found.drifts is drifts


def test_the_more_products_the_more_it_takes() -> None:
    sold = [17, 17, 17, 17, 12, 12, 12]  # four days outside: 0.02 %
    assert [of_product(live(sold), count, False).drifts for count in (10, 1000)] == [True, False]  # type: ignore[union-attr]


@pytest.mark.parametrize("one", [live([np.nan] * 4 + [20] * 3), live([20] * 7, backtest=(1, 2, 3))])
def test_too_little_is_no_verdict(one: Live) -> None:
    assert of_product(one, 1, False) is None


def test_bias_says_which_way() -> None:
    assert of_product(live([17] * 7), 1, False).bias == -7  # type: ignore[union-attr]


def test_bounds_by_hand() -> None:
    assert upper_bound([2, 4]) == pytest.approx(3 + 31.8205 * np.sqrt(2) * np.sqrt(1.5), rel=1e-4)
    assert at_least(0, 7, 0.05) == 1
    assert at_least(7, 7, 0.05) == pytest.approx(0.05**7)


def test_chance_raises_about_as_many_alarms_as_it_may() -> None:
    """Shops of 40 articles with nothing wrong: of 300 nights a few per cent at most, and a drop of all sales is always seen."""
    random = np.random.default_rng(3)
    alarms = products_alarmed = seen = 0
    for _ in range(300):
        products = {}
        for number in range(40):
            mean = float(2 + number)
            past = np.abs(random.poisson(mean, (WINDOWS, WINDOW)) - mean).mean(1)
            flat = np.full(WINDOW, mean)
            reach = 1.96 * np.sqrt(mean) + 0.5
            products[f"P{number}"] = Live(
                flat, flat - reach, flat + reach, random.poisson(mean, WINDOW).astype(float), tuple(past), mean
            )
        told = {sku: found for sku, one in products.items() if (found := of_product(one, 40, False)) is not None}
        shop = of_shop(products, told, False)
        assert shop is not None
        alarms += shop.drifts
        products_alarmed += sum(one.drifts for one in told.values())
        worse = {
            sku: Live(one.mean, one.low, one.high, one.sold * 0.4, one.backtest, one.scale)
            for sku, one in products.items()
        }
        down = {sku: found for sku, one in worse.items() if (found := of_product(one, 40, False)) is not None}
        seen += of_shop(worse, down, False).drifts  # type: ignore[union-attr]
    assert alarms <= 9
    assert products_alarmed <= 9
    assert seen == 300
