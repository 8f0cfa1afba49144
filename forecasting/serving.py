"""Which models answer in this process, and which of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from aisleflow import log
from forecasting.baseline import SeasonalNaive
from forecasting.champion import Champion
from forecasting.registry import Card, Registry, RegistryError
from forecasting.series import Forecaster, Series
from forecasting.served import Promoted
from forecasting.service import Answer, Question, answer

logger = log.get(__name__)


class Serving:
    """The statistical models, and the trained one that is promoted in a registry.

    Args:
        models: the registry's URL.
    """

    def __init__(self, models: str) -> None:
        self._registry = Registry(models)
        self._trained = Promoted(self._registry)
        self._by_name: dict[str, Forecaster] = {one.name: one for one in (Champion(), SeasonalNaive())}
        self._default = next(iter(self._by_name.values()))

    @property
    def statistical(self) -> list[str]:
        """The names of the models that need no training, the one that is asked first by default."""
        return list(self._by_name)

    def answer(self, questions: Sequence[Question], model: str = "", *, thorough: bool = False) -> list[Answer]:
        """Answers by a model, by default by the best for each product.

        With ``thorough`` the default tries the trained network too on each product's past, which takes it five times as long: a night
        has the time, a request has not.

        Raises:
            LookupError: there is no model of this name.
        """
        if model == self._trained.name:
            return self._by_network(questions)
        asked = self._by_name.get(model) if model else self._default
        if asked is None:
            raise LookupError(f"is none of {', '.join((*self._by_name, self._trained.name))}")
        served = self._trained.current() if thorough and asked is self._default else None
        if served is None or any(one.horizon > served[1].settings.horizon for one in questions):
            return answer(questions, asked)
        card, network = served
        answers = answer(questions, Champion([network]))
        return [replace(one, version=card.version if network.name in one.forecast.model else "") for one in answers]

    def _by_network(self, questions: Sequence[Question]) -> list[Answer]:
        if (served := self._trained.current()) is None:
            raise LookupError(
                f"{self._trained.name} is not served: {self._trained.problem or 'no version is promoted'}"
            )
        card, network = served
        if questions and max(one.horizon for one in questions) > network.settings.horizon:
            raise LookupError(f"{self._trained.name} answers at most {network.settings.horizon} days ahead")
        return [replace(one, version=card.version) for one in answer(questions, network)]

    def trained(self) -> tuple[Card | None, datetime | None, str]:
        """The trained model that is served, since when, and why none (or an earlier version) is where one should be."""
        served, problem = self._trained.current(), self._trained.problem
        if served is None:
            return None, None, problem
        try:
            since = [one.at for one in self._registry.history(served[0].model) if one.version == served[0].version]
        except RegistryError as error:
            since, problem = [], str(error)
        return served[0], since[-1] if since else None, problem

    def rehearse(self) -> None:
        """Answer a made-up question, so that the first real one finds everything loaded."""
        import scipy.special  # noqa: F401 - what confidence scores are made with

        days = np.arange(120.0)
        made_up = Series("rehearsal", date(2026, 1, 1), 5 + days % 7 + np.sin(days))
        began = datetime.now(UTC)
        self.answer([Question(made_up, 14)])
        if self._trained.current() is not None:
            self.answer([Question(made_up, 14)], self._trained.name)
        logger.info("forecasters_loaded", seconds=round((datetime.now(UTC) - began) / timedelta(seconds=1), 3))
