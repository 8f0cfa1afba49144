"""The trained network answering: ONNX Runtime and numpy, without PyTorch.

``ServedNetwork`` is one version. ``Promoted`` is whichever version is promoted: it looks for another one now and then, so a
server picks a promotion or a roll-back up without a restart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from aisleflow import log
from forecasting.features import FeatureSettings, Prepared, sample, stacked
from forecasting.registry import Card, Registry, RegistryError
from forecasting.series import QUANTILES, Forecast, Series

#: The network's name in the registry and in answers.
NAME = "lstm"
ONNX, WEIGHTS, FEATURES = "network.onnx", "weights.safetensors", "features.json"

#: Asked at once: more than this gains nothing and takes memory.
BATCH = 512
#: No day is forecast above this many times the highest sale that was ever seen.
CEILING = 3.0
FEW_DAYS = 28

Inputs = Mapping[str, npt.NDArray[np.generic]]
#: From a batch of inputs to quantiles (series, days, quantiles) and means (series, days), both in multiples of the scale.
Run = Callable[[Inputs], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]

_log = log.get(__name__)


class ServedNetwork:
    """One trained network, as a ``Forecaster``. Safe to be asked by several threads.

    Args:
        onnx: the network's graph and weights.
        features: ``FeatureSettings`` as JSON, as they were when it was trained.
        threads: of ONNX Runtime, for one request.

    Raises:
        RegistryError: the network was made by other rules of features than this release has.
    """

    name = NAME

    def __init__(self, onnx: bytes, features: bytes, threads: int = 1) -> None:
        import onnxruntime

        self.settings = _settings(features)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])

    @classmethod
    def load(cls, registry: Registry, card: Card, threads: int = 1) -> ServedNetwork:
        """A version from the registry, its files verified.

        Raises:
            CorruptArtefactError: a file is missing, or not what was saved.
            RegistryError: it was made for other rules of features.
        """
        return cls(registry.read(card, ONNX), registry.read(card, FEATURES), threads)

    def forecast(self, series: Sequence[Series], horizon: int) -> list[Forecast]:
        """A forecast of ``horizon`` days for each series, in their order; zeros, with a warning, where nothing was ever known.

        Raises:
            ValueError: more days ahead than it was trained for.
        """
        return answers(series, horizon, self.settings, self._run)

    def _run(self, inputs: Inputs) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        quantiles, mean = self._session.run(None, dict(inputs))
        return quantiles, mean


class Promoted:
    """The version that is promoted at the moment, as a ``Forecaster`` that other threads may ask.

    Args:
        registry: where versions are.
        model: their name.
        every_s: how old at most what is known of promotions may be; to look is to list a small folder.
        threads: of ONNX Runtime, for one request.
    """

    name = NAME

    def __init__(self, registry: Registry, model: str = NAME, every_s: float = 2.0, threads: int = 1) -> None:
        self._registry, self._model, self._every_s, self._threads = registry, model, every_s, threads
        self._lock = threading.Lock()
        self._looked = -float("inf")
        self._position = 0
        self._served: tuple[Card, ServedNetwork] | None = None
        self.problem = ""
        """Why the promoted version is not the one that is served; empty if it is."""

    def current(self) -> tuple[Card, ServedNetwork] | None:
        """What is served, and its card; None while nothing is promoted or can be read.

        A version that cannot be loaded (corrupted, storage away) leaves the one before it serving, with a line in the log.
        """
        with self._lock:
            if time.monotonic() - self._looked >= self._every_s:
                try:
                    self._look()
                    self.problem = ""
                except RegistryError as error:
                    if str(error) != self.problem:
                        _log.error("promoted model not loaded", model=self._model, error=str(error))
                    self.problem = str(error)
                self._looked = time.monotonic()
            return self._served

    def forecast(self, series: Sequence[Series], horizon: int) -> list[Forecast]:
        """As ``ServedNetwork.forecast``.

        Raises:
            RegistryError: no version is promoted.
        """
        if (served := self.current()) is None:
            raise RegistryError(f"no version of {self._model} is promoted: train one with aisleflow train")
        return served[1].forecast(series, horizon)

    def _look(self) -> None:
        if (position := self._registry.position(self._model)) == self._position:
            return
        card = self._registry.promoted(self._model)
        if card is not None and (self._served is None or self._served[0].version != card.version):
            self._served = card, ServedNetwork.load(self._registry, card, self._threads)
            _log.info("model loaded", model=card.model, version=card.version)
        self._position = position


def answers(
    series: Sequence[Series], horizon: int, settings: FeatureSettings, run: Run, name: str = NAME
) -> list[Forecast]:
    """Forecasts by a network, whatever runs it.

    Raises:
        ValueError: more days ahead than ``settings.horizon``.
    """
    if not 1 <= horizon <= settings.horizon:
        raise ValueError(f"the network forecasts 1 to {settings.horizon} days, not {horizon}")
    found: list[Forecast] = []
    for first in range(0, len(series), BATCH):
        batch = series[first : first + BATCH]
        samples = [sample(Prepared(one, horizon), len(one.quantity), horizon, settings) for one in batch]
        quantiles, means = run(stacked(samples))
        found += [
            _forecast(one, asked.scale, quantiles[row], means[row], name)
            for row, (one, asked) in enumerate(zip(batch, samples, strict=True))
        ]
    return found


def _forecast(
    series: Series, scale: float, quantiles: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], name: str
) -> Forecast:
    known = series.quantity[np.isfinite(series.quantity)]
    if not known.size:
        nothing = np.zeros(len(mean))
        warning = ("no day of this product's demand is known",)
        return Forecast(
            series.key,
            series.end + timedelta(days=1),
            nothing,
            dict.fromkeys(QUANTILES, nothing),
            name,
            warnings=warning,
        )
    highest = CEILING * max(float(known.max()), 1.0)
    units = np.clip(quantiles.astype(np.float64).T * scale, 0.0, highest)
    units = np.maximum.accumulate(units, axis=0)
    few = (f"only {known.size} days of history are known",) if known.size < FEW_DAYS else ()
    return Forecast(
        series.key,
        series.end + timedelta(days=1),
        np.clip(mean.astype(np.float64) * scale, 0.0, highest),
        dict(zip(QUANTILES, units, strict=True)),
        name,
        "an LSTM that learnt from all products together",
        few,
    )


def _settings(features: bytes) -> FeatureSettings:
    found: dict[str, Any] = {}
    try:
        import json

        found = json.loads(features)
        settings = FeatureSettings.model_validate(found)
    except ValueError as error:
        raise RegistryError(f"the settings of a trained network cannot be read: {error}") from error
    if settings.version != FeatureSettings().version:
        raise RegistryError(
            f"a network made for version {settings.version} of the features cannot be asked by version {FeatureSettings().version}: "
            "train anew, or promote another version"
        )
    return settings
