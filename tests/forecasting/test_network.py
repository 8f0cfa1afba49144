"""The network: what it learns, that ONNX Runtime answers as PyTorch does, and that it is saved and served whole."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from forecasting.registry import Card, DataCard, Registry, RegistryError
from forecasting.series import QUANTILES, Forecast, Series
from forecasting.served import FEATURES, ONNX, WEIGHTS, Promoted, ServedNetwork
from forecasting.service import Question, answer
from forecasting.serving import Serving

if not importlib.util.find_spec("torch") and os.environ.get("CI") != "true":  # there it has to be installed
    pytest.skip("needs the extra training: make training", allow_module_level=True)

import torch

from forecasting.network import Network, TrainingSettings, train

SMALL = TrainingSettings(hidden=16, steps=150, batch=32, learning_rate=1e-2)
START = date(2025, 1, 6)


def promoted(seed: int, days: int = 240, ahead: int = 28) -> Series:
    """Ten a day, more on Saturdays, three times as many on promoted days; twice as many in weeks in which the price is 7 and not 10."""
    random = np.random.default_rng(seed)
    promotion = (random.random(days + ahead) < 0.15).astype(float)
    cheap = (np.arange(days) // 7 + seed) % 5 == 0
    usual = np.where(np.arange(days) % 7 == 5, 16.0, 10.0) * np.where(promotion[:days] > 0, 3.0, 1.0)
    sold = random.poisson(usual * np.where(cheap, 2.0, 1.0)).astype(float)
    return Series(f"sku-{seed}", START, sold, "drinks", promotion, np.where(cheap, 7.0, 10.0))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.set_num_threads(1)
    return train([promoted(seed) for seed in range(12)], SMALL)


def valid(forecast: Forecast) -> None:
    rows = np.array([forecast.quantiles[q] for q in QUANTILES])
    assert np.isfinite(rows).all() and np.isfinite(forecast.mean).all()
    assert (rows >= 0).all() and (forecast.mean >= 0).all()
    assert (np.diff(rows, axis=0) >= 0).all()


def test_it_learns_a_planted_promotion(network: Network) -> None:
    """Of a product that it has not seen, whose promotion is told ahead."""
    new = promoted(99)
    plain, on = np.zeros(28), np.ones(28)
    history = new.promotion[:240]  # type: ignore[index]
    without, with_it = (
        network.forecast([dataclasses.replace(new, promotion=np.concatenate([history, coming]))], 28)[0]
        for coming in (plain, on)
    )
    for one in (without, with_it):
        valid(one)
    # 10.9 a day on average, and 32.6 promoted
    assert 8.5 < without.mean.mean() < 14
    assert 2.0 < with_it.mean.mean() / without.mean.mean() < 4.0
    assert with_it.quantiles[0.5].mean() > 2 * without.quantiles[0.5].mean()
    saturdays = np.arange(28) % 7 == (5 - 240) % 7
    assert without.mean[saturdays].mean() > 1.2 * without.mean[~saturdays].mean()


def test_it_learns_a_planted_price(network: Network) -> None:
    """Of a product that it has not seen: twice as much at 7 as at 10. With no price planned, the last one holds."""
    new = promoted(99, ahead=0)
    assert new.price is not None and new.price[-1] == 10
    cheap, usual, unsaid = (answer([Question(new, 28, price=price)], network)[0] for price in (7.0, 10.0, None))
    [moved] = [one for one in cheap.moved if one.effect.name == "price"]
    assert moved.effect.shown and 1.4 < moved.effect.factor < 2.4 and moved.effect.days > 30
    total = float(usual.forecast.mean.sum())
    assert moved.units == pytest.approx(float(cheap.forecast.mean.sum()) - total, rel=0.01)
    assert float(unsaid.forecast.mean.sum()) == pytest.approx(total, rel=0.01)
    assert [one.effect.name for one in unsaid.moved] == []


def test_onnx_answers_as_pytorch_does(network: Network) -> None:
    served = ServedNetwork(network.onnx(), network.files()[FEATURES])
    random = np.random.default_rng(1)
    gaps = promoted(5).quantity.copy()
    gaps[random.random(len(gaps)) < 0.3] = np.nan
    asked = [
        promoted(4),
        Series("gaps", START, gaps),
        Series("short", START, np.array([3.0, 0.0, 5.0])),
        Series("zeros", START, np.zeros(100)),
        Series("rare", START, (random.random(400) < 0.05) * 1.0, price=np.full(430, 9.5)),
        Series("huge", START, np.append(np.ones(60), 1e9)),
        Series("unknown", START, np.full(30, np.nan)),
    ]
    for horizon in (1, 7, 90):
        for ours, theirs in zip(served.forecast(asked, horizon), network.forecast(asked, horizon), strict=True):
            valid(ours)
            level = max(1.0, theirs.mean.max())
            np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-5, atol=1e-5 * level)
            for quantile in QUANTILES:
                np.testing.assert_allclose(
                    ours.quantiles[quantile], theirs.quantiles[quantile], rtol=1e-5, atol=1e-5 * level
                )
            assert ours.start == next(one for one in asked if one.key == ours.key).end + timedelta(days=1)
    with pytest.raises(ValueError, match="1 to 90 days"):
        served.forecast(asked, 91)


def test_a_series_is_answered_alone_as_among_others(network: Network) -> None:
    asked = [promoted(seed) for seed in range(5)]
    together = network.forecast(asked, 14)
    for one, among in zip(asked, together, strict=True):
        [alone] = network.forecast([one], 14)
        np.testing.assert_allclose(alone.mean, among.mean, rtol=1e-5)


def test_nothing_known_and_only_zeros_are_no_sales(network: Network) -> None:
    nothing, zeros = network.forecast([Series("a", START, np.full(30, np.nan)), Series("b", START, np.zeros(200))], 7)
    assert nothing.mean.sum() == 0 and "no day" in nothing.warnings[0]
    assert zeros.quantiles[0.5].max() <= 1.0


def test_the_same_seed_gives_the_same_weights() -> None:
    few = SMALL.model_copy(update={"steps": 3})
    series = [promoted(seed) for seed in range(3)]
    first, second, other = (train(series, few.model_copy(update={"seed": seed})) for seed in (7, 7, 8))
    assert first.files() == second.files()
    assert first.files()[WEIGHTS] != other.files()[WEIGHTS]


def test_weights_are_loaded_again(network: Network) -> None:
    again = Network.load(network.files()[WEIGHTS])
    assert again.settings == network.settings and again.onnx() == network.onnx()


def test_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="nothing to learn from"):
        train([Series("a", START, np.ones(20)), Series("b", START, np.full(99, np.nan))], SMALL)


def test_a_promotion_is_picked_up_and_a_broken_one_is_not(network: Network, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    served = Promoted(registry, every_s=0)
    assert served.current() is None
    with pytest.raises(RegistryError, match="no version of lstm is promoted"):
        served.forecast([promoted(1)], 7)
    card = Card(data=DataCard.of([promoted(1)]), horizon=90, quantiles=QUANTILES)
    first, second = (registry.save("lstm", network.files(), card) for _ in range(2))
    registry.promote("lstm", first)
    now = served.current()
    assert now and now[0].version == first
    valid(served.forecast([promoted(1)], 7)[0])
    registry.promote("lstm", second)
    now = served.current()
    assert now and now[0].version == second
    registry.rollback("lstm")
    now = served.current()
    assert now and now[0].version == first
    folder = registry.open(registry.version("lstm", second))
    registry.promote("lstm", second)
    (folder / ONNX).write_bytes(b"harm")
    now = served.current()
    assert now and now[0].version == first  # what cannot be verified does not take its place
    valid(served.forecast([promoted(1)], 7)[0])


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_service_answers_with_it(
    network: Network, tmp_path: Path, place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by name, from its promotion on, with its version, its backtest and what a promotion does."""
    if place == "bucket":
        request.getfixturevalue("storage")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    registry = Registry(f"s3://shop/{tmp_path.name}" if place == "bucket" else tmp_path)
    question = Question(promoted(1, ahead=0), 28, promotion=True)
    with pytest.raises(LookupError, match="lstm is not served: no version is promoted"):
        Serving(registry.url).answer([question], "lstm")
    version = registry.save("lstm", network.files(), Card(data=DataCard.of([promoted(1)]), horizon=90))
    registry.promote("lstm", version)
    serving = Serving(registry.url)
    serving.rehearse()
    [told] = serving.answer([question], "lstm")
    assert (told.version, told.forecast.model) == (version, "lstm")
    assert told.backtest and 0 < told.backtest.mae < 10 and 0 < told.confidence < 1
    [effect] = told.moved
    assert effect.effect.name == "promotion" and 2 < effect.effect.factor < 4 and effect.units > 0
    card, since, problem = serving.trained()
    assert card and card.version == version and since and not problem
    [quick], [thorough] = serving.answer([question]), serving.answer([question], thorough=True)
    assert quick.version == "" and "lstm" not in quick.forecast.model
    assert (thorough.version == version) == ("lstm" in thorough.forecast.model)
    with pytest.raises(LookupError, match="is none of champion, seasonal-naive, lstm"):
        serving.answer([question], "other")


def test_features_of_another_release_are_refused(network: Network) -> None:
    other = network.files()[FEATURES].replace(b'"version": 1', b'"version": 0')
    with pytest.raises(RegistryError, match="train anew"):
        ServedNetwork(network.onnx(), other)
