"""How fast forecasts are: ``python -m benchmarks.forecast_speed`` (`make bench-forecast-speed`; needs the extra training).

**One request**: a product with 365 days of history, 28 days ahead, on one core: the models alone, and ``POST /api/v1/predict`` of a real
API process. **The night**: all series of a chain, our models beside statsforecast's AutoETS alone and Prophet alone, in one run and one
process each on one core; the slow ones on a sample, from which the time of all follows, since they take each series by itself.

The series are made up (weekdays, a year's wave, promotions, Poisson noise); what they are changes little in the time. CPU time is
given beside time on the clock: the former is what a core with nothing else to do takes, whatever else this machine does.
"""

from __future__ import annotations

import argparse
import http.client
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pydantic import SecretStr

from aisleflow.settings import Settings
from benchmarks._parts import running_api
from benchmarks._report import quantile, report
from forecasting.baseline import SeasonalNaive
from forecasting.champion import Champion
from forecasting.registry import Card, DataCard, Registry
from forecasting.series import QUANTILES, Forecaster, Series
from forecasting.served import NAME, Promoted
from tests.conftest import free_port

DAYS, HORIZON = 365, 28
START = date(2025, 11, 1)
AT_ONCE = 200
"""Series that a model is given at once, as the nightly job does it."""
GOAL_LSTM_MS, GOAL_STATISTICAL_MS = 150, 20


def sales(count: int, seed: int = 0) -> list[Series]:
    """That many made-up products."""
    random = np.random.default_rng(seed)
    days = np.arange(DAYS)
    made = []
    for number in range(count):
        week = random.uniform(0.5, 1.5, 7)
        promotion = (random.random(DAYS + HORIZON) < 0.1).astype(float)
        level = random.lognormal(1.0, 1.2) * (1 + 0.3 * np.sin(2 * np.pi * (days / 365 + random.random())))
        usual = level * np.resize(week, DAYS) * np.where(promotion[:DAYS] > 0, 2.0, 1.0)
        made.append(
            Series(f"sku-{number}", START, random.poisson(usual).astype(float), f"group-{number % 20}", promotion)
        )
    return made


def one_at_a_time(model: Forecaster, series: Sequence[Series]) -> tuple[list[float], list[float]]:
    """Milliseconds of each request, on the clock and of CPU, both sorted."""
    for one in series[:5]:
        model.forecast([one], HORIZON)
    wall, cpu = [], []
    for one in series:
        began, cpu_began = time.perf_counter(), time.process_time()
        model.forecast([one], HORIZON)
        cpu.append((time.process_time() - cpu_began) * 1000)
        wall.append((time.perf_counter() - began) * 1000)
    return sorted(wall), sorted(cpu)


def cpu_ms(pid: int) -> float:
    """CPU time of all threads of a process so far, to the nanosecond as Linux's scheduler counts it."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


def over_http(port: int, pid: int, series: Sequence[Series], model: str) -> tuple[list[float], list[float]]:
    """Milliseconds of each request on the clock, and of the API's CPU, both sorted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    wall, cpu = [], []
    for one in (*series[:5], *series):
        body = orjson.dumps(asked(one, model))
        began, cpu_began = time.perf_counter(), cpu_ms(pid)
        connection.request("POST", "/api/v1/predict", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append(cpu_ms(pid) - cpu_began)
        if answer.status != 200 or (model and orjson.loads(content)["model"] != model):
            raise SystemExit(f"{answer.status}: {content[:300]!r}")
    return sorted(wall[5:]), sorted(cpu[5:])


def asked(series: Series, model: str) -> dict[str, Any]:
    """The request's body."""
    promotion = series.promotion if series.promotion is not None else np.zeros(DAYS)
    return {
        "productId": series.key,
        "historicalData": [
            {"date": series.start + timedelta(days=day), "quantity": float(sold), "promotion": bool(promotion[day])}
            for day, sold in enumerate(series.quantity)
        ],
        "features": {"promotion_active": False},
        "forecast_horizon": HORIZON,
        "model": model,
    }


@dataclass(frozen=True)
class Night:
    """What a batch took."""

    model: str
    series: int
    wall_s: float
    cpu_s: float

    def row(self, all_series: int) -> list[Any]:
        """As the table has it: the time of all, and whether it was measured."""
        cpu = self.cpu_s * all_series / self.series
        measured = "measured" if self.series == all_series else f"from {self.series:,}"
        return [self.model, measured, cpu / 60, self.cpu_s / self.series * 1000, self.wall_s / self.series * 1000]


def timed(name: str, series: Sequence[Series], work: Callable[[Sequence[Series]], object]) -> Night:
    """Run a batch once, after one series to load what it needs."""
    work(series[:1])
    began, cpu_began = time.perf_counter(), cpu_with_children()
    for first in range(0, len(series), AT_ONCE):
        work(series[first : first + AT_ONCE])
    return Night(name, len(series), time.perf_counter() - began, cpu_with_children() - cpu_began)


def cpu_with_children() -> float:
    """CPU seconds so far; Prophet's model runs as a program of its own."""
    return sum(os.times()[:4])


def auto_ets(series: Sequence[Series]) -> None:
    """statsforecast's AutoETS with the interval that everyone here answers."""
    from statsforecast.models import AutoETS

    model = AutoETS(season_length=7)
    for one in series:
        model.forecast(y=one.quantity, h=HORIZON, level=[80, 95])


def prophet(series: Sequence[Series]) -> None:
    """Prophet as it comes, the promotion as a regressor."""
    for name in ("prophet.plot", "cmdstanpy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import pandas as pd
    from prophet import Prophet

    logging.getLogger("cmdstanpy").setLevel(logging.CRITICAL)
    for one in series:
        days = pd.date_range(one.start, periods=DAYS + HORIZON)
        frame = pd.DataFrame({"ds": days[:DAYS], "y": one.quantity})
        frame["promotion"] = one.promotion[:DAYS] if one.promotion is not None else 0.0
        model = Prophet(interval_width=0.8)
        model.add_regressor("promotion")
        model.fit(frame)
        model.predict(pd.DataFrame({"ds": days[DAYS:], "promotion": np.zeros(HORIZON)}))


def trained(folder: str) -> Registry:
    """A registry with a promoted network of the usual size; what it learnt does not matter here."""
    from forecasting.network import TrainingSettings, train

    series = sales(20, seed=1)
    registry = Registry(folder)
    network = train(series, TrainingSettings(steps=20))
    version = registry.save(NAME, network.files(), Card(data=DataCard.of(series), horizon=90, quantiles=QUANTILES))
    registry.promote(NAME, version)
    return registry


def without_parts(folder: Path, models: str) -> Settings:
    """Settings of an API whose Kafka and ClickHouse are away: to forecast from a given history it needs neither."""
    return Settings(
        _env_file=None,
        kafka="127.0.0.1:9",
        clickhouse_url=SecretStr("http://default:none@127.0.0.1:9/none"),
        data_dir=folder,
        api_port=free_port(),
        models_url=models,
    )


def latency(registry: Registry, folder: Path, requests: int) -> None:
    """One request at a time, of the models alone and of the API."""
    core = min(os.sched_getaffinity(0))
    asked_of = sales(requests, seed=2)
    network, champion = Promoted(registry), Champion()
    rows = []
    for model, goal in (
        (network, GOAL_LSTM_MS),
        (champion, GOAL_STATISTICAL_MS),
        (SeasonalNaive(), GOAL_STATISTICAL_MS),
    ):
        wall, cpu = one_at_a_time(model, asked_of)
        rows.append(
            [f"{model.name}, alone", *(quantile(of, share) for of in (cpu, wall) for share in (0.5, 0.95)), goal]
        )
    settings = without_parts(folder, registry.url)
    with running_api(settings) as api:
        # The client is not what is measured: it goes to the other cores.
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {core} or {core})
        for name, goal in ((network.name, GOAL_LSTM_MS), ("", GOAL_STATISTICAL_MS)):
            wall, cpu = over_http(settings.api_port, api.pid, asked_of, name)
            shown = f"{name or champion.name}, POST /api/v1/predict"
            rows.append([shown, *(quantile(of, share) for of in (cpu, wall) for share in (0.5, 0.95)), goal])
        os.sched_setaffinity(0, {core})
    report(
        "forecast_latency",
        ("numpy", "onnxruntime"),
        (f"{DAYS} days to {HORIZON}, ms", "CPU, median", "CPU, 95th", "clock, median", "clock, 95th", "goal, 95th"),
        rows,
        requests=requests,
    )


def night(registry: Registry, count: int, sample: int) -> None:
    """All series of a chain in one go."""
    every = sales(count, seed=3)
    few = every[:sample]
    network, champion = Promoted(registry), Champion()
    nights = [
        timed("lstm (trained before)", every, lambda series: network.forecast(series, HORIZON)),
        timed("champion", every, lambda series: champion.forecast(series, HORIZON)),
        timed("statsforecast AutoETS alone", few, auto_ets),
        timed("Prophet alone", few[: max(1, sample // 5)], prophet),
    ]
    report(
        "forecast_night",
        ("numpy", "onnxruntime", "statsforecast", "prophet"),
        (
            f"{count:,} series, {DAYS} days to {HORIZON}, one core",
            "",
            "CPU minutes",
            "CPU ms a series",
            "clock ms a series",
        ),
        [one.row(count) for one in nights],
        sample=sample,
    )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=("latency", "night"), help="both by default")
    parser.add_argument("--requests", type=int, default=300, help="of each model")
    parser.add_argument("--series", type=int, default=10_000, help="of the night")
    parser.add_argument("--sample", type=int, default=100, help="of them for statsforecast; a fifth of it for Prophet")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the API's process inherits it
    with tempfile.TemporaryDirectory() as folder:
        registry = trained(f"{folder}/models")
        if "night" in chosen.parts or not chosen.parts:
            night(registry, chosen.series, chosen.sample)
        if "latency" in chosen.parts or not chosen.parts:
            latency(registry, Path(folder), chosen.requests)


if __name__ == "__main__":
    main()
