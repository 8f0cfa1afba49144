"""The models in this process: loaded beside the first requests, asked in a thread of their own, changed without a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from aisleflow import log
from aisleflow.settings import Settings
from api.forecasts.answers import Models, ServedModel
from api.problems import ProblemError
from schemas.events import MAX_HORIZON_DAYS

if TYPE_CHECKING:
    from forecasting.service import Answer, Question
    from forecasting.serving import Serving

logger = log.get(__name__)
T = TypeVar("T")


class Predictor:
    """Asks the models. Nothing of them is imported before ``warm`` has begun, which is when the API already answers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._since = datetime.now(UTC)
        self._loading = threading.Lock()
        self._serving: Serving | None = None
        # Forecasts are computation: more at once than this only make each other late.
        self._limiter = anyio.CapacityLimiter(2)

    def warm(self, then: Callable[[], None]) -> None:
        """Begin to load the models, in a thread, which calls ``then`` when they are there."""

        def load() -> None:
            self._loaded()
            then()

        threading.Thread(target=load, name="load-forecasters", daemon=True).start()

    def _loaded(self) -> Serving:
        with self._loading:
            if self._serving is None:
                from forecasting.serving import Serving

                self._serving = Serving(self._settings.models)
                self._serving.rehearse()
            return self._serving

    async def ready(self) -> None:
        """Wait until the models are loaded: then what they need can be imported at once."""
        if self._serving is None:
            await self.run(self._loaded)

    async def answer(self, questions: Sequence[Question], model: str = "") -> list[Answer]:
        """Answers in the order of the questions.

        Raises:
            ProblemError: 422, there is no such model, or it cannot answer so far ahead.
        """

        def work() -> list[Answer]:
            try:
                return self._loaded().answer(questions, model)
            except LookupError as error:
                fault = {"field": "model", "reason": str(error.args[0])}
                raise ProblemError(422, f"model: {error.args[0]}", errors=[fault]) from None

        return await self.run(work)

    async def run(self, work: Callable[[], T]) -> T:
        """Compute something beside the event loop, when its turn has come."""
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    async def models(self) -> Models:
        """What is served now."""

        def work() -> Models:
            serving = self._loaded()
            served = [
                ServedModel(
                    name=name,
                    kind="statistical",
                    version=None,
                    served_since=self._since,
                    trained_at=None,
                    horizon=MAX_HORIZON_DAYS,
                    scores={},
                    trained_on={},
                )
                for name in serving.statistical
            ]
            warnings = []
            card, since, problem = serving.trained()
            if card is not None:
                data = card.data
                served.append(
                    ServedModel(
                        name=card.model,
                        kind="trained",
                        version=card.version,
                        served_since=since or card.created_at,
                        trained_at=card.created_at,
                        horizon=card.horizon,
                        scores=dict(card.metrics),
                        trained_on={
                            "fingerprint": data.fingerprint,
                            "series": data.series,
                            "days": data.days,
                            "first": data.first.isoformat(),
                            "last": data.last.isoformat(),
                        },
                    )
                )
            if problem:
                warnings.append(problem)
            return Models(models=served, warnings=warnings)

        return await self.run(work)
