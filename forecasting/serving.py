"""Which models answer in this process, and which of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from aisleflow import log
from forecasting.baseline import SeasonalNaive
from forecasting.champion import Champion
from forecasting.registry import Card, Registry, RegistryError
from forecasting.series import Forecaster, Series
from forecasting.service import Answer, Question, answer

logger = log.get(__name__)


class Serving:
    """The statistical models, and the trained one that is promoted in a registry.

    Args:
        models: the registry's URL.
    """

    def __init__(self, models: str) -> None:
        self._registry = Registry(models)
        self._by_name: dict[str, Forecaster] = {one.name: one for one in (Champion(), SeasonalNaive())}
        self._default = next(iter(self._by_name.values()))

    @property
    def statistical(self) -> list[str]:
        """The names of the models that need no training, the one that is asked first by default."""
        return list(self._by_name)

    def answer(self, questions: Sequence[Question], model: str = "") -> list[Answer]:
        """Answers by a model, by default by the best for each product.

        Raises:
            LookupError: there is no model of this name.
        """
        asked = self._by_name.get(model) if model else self._default
        if asked is None:
            raise LookupError(f"is none of {', '.join(self._by_name)}")
        return answer(questions, asked)

    def trained(self) -> tuple[Card | None, datetime | None, str]:
        """The trained model that is served, since when, and why none is where one should be."""
        try:
            found = {name: self._registry.promoted(name) for name in self._registry.models()}
            for name, card in found.items():
                if card is not None:
                    return card, self._registry.history(name)[-1].at, ""
        except RegistryError as error:
            logger.warning("models_not_known", error=str(error))
            return None, None, str(error)
        return None, None, ""

    def rehearse(self) -> None:
        """Answer a made-up question, so that the first real one finds everything loaded."""
        days = np.arange(120.0)
        made_up = Series("rehearsal", date(2026, 1, 1), 5 + days % 7 + np.sin(days))
        began = datetime.now(UTC)
        self.answer([Question(made_up, 14)])
        logger.info("forecasters_loaded", seconds=round((datetime.now(UTC) - began) / timedelta(seconds=1), 3))
