"""Where questions are asked: the API, the page and tests come here. Every one is told to the log."""

from __future__ import annotations

import orjson

from aisleflow import log, metrics
from aisleflow.settings import Settings
from api.database import Database
from api.events.ingest import Ingest
from api.problems import UnavailableError
from api.questions.answers import Answer, Asker, answer, utc_now
from api.questions.catalogue import Catalogue
from api.questions.model import Translator
from api.questions.names import Names
from schemas import topics
from schemas.events import Question, dump

MOST_SQL = 20_000
logger = log.get(__name__)


class Desk:
    """Answers questions, and publishes who asked what on the topic ``questions``."""

    def __init__(self, settings: Settings, database: Database, ingest: Ingest) -> None:
        self._database = database
        self._ingest = ingest
        self._catalogue = Catalogue(database)
        self._translator = Translator.from_settings(settings)

    async def names(self, shops: frozenset[str] | None = None) -> Names:
        """What there is to ask about, for somebody who may know of these shops only.

        Raises:
            UnavailableError: ClickHouse does not answer.
        """
        names = await self._catalogue.names()
        return names if shops is None else names.only(shops)

    async def ask(self, question: str, who: str, shops: frozenset[str] | None = None) -> Answer:
        """Answer a question, and keep who asked it.

        Args:
            question: in plain words.
            who: for the record.
            shops: the only ones that the asker may know of; None: all.

        Raises:
            UnavailableError: ClickHouse does not answer; or Kafka does not take the record of a question for which a model wrote SQL.
        """
        now = utc_now()
        names = await self._catalogue.names()
        found = await answer(question, Asker(who, shops), names, self._database, self._translator, now)
        metrics.QUESTIONS.labels("answered" if found.answered else "refused", found.source or "none").inc()
        asked = Question(
            event_id=found.question_id,
            timestamp=now,
            asked_by=who,
            question=question[:500].encode("utf-8", "replace").decode(),
            shops=sorted(shops or ()),
            outcome="ANSWERED" if found.answered else "REFUSED",
            source={"rules": "RULES", "model": "MODEL", "sql": "SQL", None: "NONE"}[found.source],  # type: ignore[arg-type]
            understood=(found.understood or found.reason or "")[:2000],
            sql=(found.sql or "")[:MOST_SQL],
            parameters=orjson.dumps(found.parameters).decode()[:MOST_SQL] if found.parameters else "",
            rows=len(found.rows),
            took_ms=found.took_ms,
        )
        try:
            await self._ingest.publish_one(topics.QUESTIONS.name, asked.event_id, dump(asked))
        except UnavailableError:
            if found.source == "sql":
                raise
            logger.warning("question_not_recorded", question_id=found.question_id)
            found.notes.append("Kafka is away: the record of this question is in the API's log only.")
        return found
