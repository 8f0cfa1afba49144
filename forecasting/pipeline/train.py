"""One training run: read, learn, judge on days held out, keep, and serve it if it is better than what is served."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aisleflow import log
from aisleflow.settings import Settings
from forecasting.baseline import SeasonalNaive
from forecasting.days import cut
from forecasting.pipeline import judging, spark
from forecasting.pipeline.judging import Judged
from forecasting.pipeline.sources import Source, SourceError
from forecasting.registry import Card, DataCard, OvertakenError, Registry, RegistryError
from forecasting.series import QUANTILES, Forecaster, Series
from forecasting.served import FEATURES, NAME, ONNX, ServedNetwork

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_log = log.get(__name__)

#: How each model did on each series, beside the network's files.
JUDGED = "judged.parquet"
#: A series is learnt from and judged if so many of its days before the held-out window are known.
LEAST_DAYS = 28


class Plan(BaseModel):
    """How to train; kept on the card of what was trained."""

    model_config = ConfigDict(frozen=True)

    holdout: int = Field(28, ge=7, le=90, description="Days at the end that are kept from learning, to judge by.")
    most_series: int = Field(
        20_000, ge=1, description="Series that the network learns from and is judged on, about so many at most."
    )
    country: str = Field("", description="ISO code of the country whose public holidays count.")
    steps: int = Field(1_000, ge=1, description="Batches that the network learns from.")
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a run made."""

    card: Card
    scores: dict[str, dict[str, float]]
    """Figures by model (``judging.summed``), of the same series and days."""
    served_before: str | None
    promoted: bool
    why: str
    seconds: dict[str, float] = field(default_factory=dict)


def run(
    session: SparkSession,
    source: Source,
    registry: Registry,
    settings: Settings,
    plan: Plan,
    told: Callable[[str], None] = lambda step: None,
) -> Outcome:
    """Train on a source's sales, keep the network, and promote it if it is the best on the days held out.

    Raises:
        SourceError: the sales cannot be read, or are too few.
        RegistryError: what was trained cannot be kept.
    """
    seconds: dict[str, float] = {}
    started = time.monotonic()

    def done(step: str) -> None:
        nonlocal started
        seconds[step] = round(time.monotonic() - started, 1)
        started = time.monotonic()

    told("reading sales")
    whole = spark.series_table(spark.read(session, source, settings)).persist()
    table = spark.some(whole, plan.most_series)
    series = learnable(spark.collected(table, plan.country), plan.holdout)
    if not series:
        raise SourceError(
            f"{source.told}: no product has {LEAST_DAYS} known days before the last {plan.holdout}: "
            "read more history, or hold fewer days out with --holdout"
        )
    done("read")

    told(f"learning from {len(series):,} series")
    network = _network(series, plan)
    done("learn")

    told("judging")
    before = registry.promoted(NAME)
    files = network.files()
    networks = [_named(ServedNetwork(files[ONNX], files[FEATURES]), "new")]
    if before is not None and (served := _served(registry, before)) is not None:
        networks.append(served)
    rows = judging.judge(series, networks, plan.holdout)
    rows += _statistical(table, plan)
    scores = {
        name: judging.summed(row for row in rows if row.model == name)
        for name in dict.fromkeys(row.model for row in rows)
    }
    whole.unpersist()
    done("judge")

    told("keeping")
    card = Card(
        data=data_card(series, plan.holdout),
        metrics=metrics(scores),
        quantiles=QUANTILES,
        horizon=networks[0].settings.horizon,
        settings={"source": source.told, **plan.model_dump()},
    )
    version = registry.save(NAME, {**files, JUDGED: judging.table(rows)}, card)
    card = registry.version(NAME, version)
    better, why = verdict(scores, before)
    if better:
        try:
            registry.promote(NAME, version, instead_of=before.version if before else None)
        except OvertakenError as error:
            better, why = False, str(error)
    registry.prune(NAME)  # a night adds one; the newest 30 stay, and what is served
    done("keep")
    _log.info("trained", version=version, promoted=better, why=why, seconds=seconds, **card.metrics)
    return Outcome(card, scores, before.version if before else None, better, why, seconds)


def metrics(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    """The figures that a card keeps: all of the new network, and the two that count of those it was compared with."""
    others = {
        f"{model.replace('-', '_')}_{figure}": figures[figure]
        for model, figures in scores.items()
        for figure in ("wql", "mase")
        if model != "new" and figure in figures
    }
    return {**scores["new"], **others}


def learnable(series: Sequence[Series], holdout: int) -> list[Series]:
    """Those that have enough known days, and a sale, before the days held out."""
    return [
        one
        for one in series
        if np.isfinite(one.quantity[:-holdout]).sum() >= LEAST_DAYS and np.nansum(one.quantity[:-holdout]) > 0
    ]


def verdict(scores: dict[str, dict[str, float]], before: Card | None) -> tuple[bool, str]:
    """Whether the new network is to be served, and why: its weighted quantile loss must be below that of what is served, and of
    last week's sale repeated.
    """
    new, naive, served = (scores.get(name, {}).get("wql") for name in ("new", "seasonal-naive", "served"))
    if new is None:
        return False, "not promoted: nothing was sold in the days held out, so nothing can be judged"
    if served is not None and not new < served:
        return False, f"not promoted: the weighted quantile loss is {new:.4f}, that of the served version {served:.4f}"
    if naive is not None and not new < naive:
        return (
            False,
            f"not promoted: the weighted quantile loss is {new:.4f}, that of the weekday's last sale {naive:.4f}",
        )
    if before is None:
        return (
            True,
            f"promoted: nothing was served; the weighted quantile loss is {new:.4f}, that of the weekday's last sale {naive:.4f}",
        )
    if served is None:
        return True, f"promoted: the served version cannot be asked; the weighted quantile loss is {new:.4f}"
    return True, f"promoted: the weighted quantile loss is {new:.4f}, that of the version served until now {served:.4f}"


def data_card(series: Sequence[Series], holdout: int) -> DataCard:
    """Which sales were learnt from: those before the days held out."""
    learnt = [cut(one, holdout) for one in series]
    digest = hashlib.sha256()
    for one in learnt:
        digest.update(f"{one.key}\0{one.category}\0{one.start}\0".encode())
        for values in (one.quantity, one.promotion, one.price):
            digest.update(b"" if values is None else np.ascontiguousarray(values, dtype="<f8").tobytes())
    first, last = spark.span(learnt)
    return DataCard(
        fingerprint=digest.hexdigest(), series=len(learnt), days=spark.known_days(learnt), first=first, last=last
    )


def _network(series: Sequence[Series], plan: Plan) -> Any:
    try:
        from forecasting.network import TrainingSettings, train
    except ImportError:
        raise SourceError("training needs PySpark and PyTorch: run `make training`") from None
    return train([cut(one, plan.holdout) for one in series], TrainingSettings(steps=plan.steps, seed=plan.seed))


def _statistical(table: DataFrame, plan: Plan) -> list[Judged]:
    """The models that need no training, each series judged where it is: on the executors."""

    def rows_of(series: Sequence[Series]) -> list[dict[str, Any]]:
        from forecasting.champion import Champion

        models: list[Forecaster] = [SeasonalNaive(), Champion()]
        return [asdict(row) for row in judging.judge(learnable(series, plan.holdout), models, plan.holdout)]

    return [Judged(**row) for row in spark.per_series(table, plan.country, rows_of, judging.SCHEMA).to_pylist()]


def _named(network: ServedNetwork, name: str) -> ServedNetwork:
    network.name = name
    return network


def _served(registry: Registry, card: Card) -> ServedNetwork | None:
    """What is served, to be judged on the same days; None, with a line in the log, if it cannot be loaded."""
    try:
        return _named(ServedNetwork.load(registry, card), "served")
    except RegistryError as error:
        _log.warning("the served version cannot be compared with", version=card.version, error=str(error))
        return None
