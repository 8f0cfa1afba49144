"""From a question to its answer: understood, asked of ClickHouse within limits, and shown with all that it rests on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from aisleflow import log
from api.database import Database, LimitError, RejectedError, Row
from api.problems import UnavailableError
from api.questions import guard, model, words
from api.questions.measures import MEASURES
from api.questions.names import Names
from api.questions.parser import NotUnderstood, Understood, parse
from api.questions.query import Query
from api.questions.sql import QueryError, Statement, compile_query

LIMITS = {
    "max_execution_time": 8,
    "max_result_rows": 10_000,
    "max_memory_usage": 1024**3,
    "max_rows_to_read": 500_000_000,
    "max_bytes_to_read": 50 * 1024**3,
}
"""What one question may take of ClickHouse. The reader's own limits are higher."""

logger = log.get(__name__)
Source = Literal["rules", "model", "sql"]


class MeasureInfo(BaseModel):
    """What was measured."""

    name: str
    title: str
    definition: str = Field(description="What the figure means.")
    unit: str = Field(description="Of `value`; % means a share from 0 to 1, currency that of the column currency.")


class Window(BaseModel):
    """The time of an answer."""

    words: str = Field(description="In words.")
    from_day: str | None = Field(description="First business day; each shop's own.")
    to_day: str | None = Field(description="Last business day, included.")
    from_hour: int | None = Field(description="From this hour of the day on.")
    to_hour: int | None = Field(description="Before this hour of the day.")
    since: datetime | None = Field(description="Instead of days: from this moment on.")
    as_of: datetime = Field(description="The moment that today, now and balances refer to.")


class Answer(BaseModel):
    """What was asked, how it was understood, the SQL that was run, and what it gave; or why there is no answer."""

    question_id: str
    question: str
    answered: bool
    understood: str | None = Field(description="The question as it was understood, in one sentence.")
    source: Source | None = Field(
        description="Who understood it: rules; a model, into the same measures; or a model that wrote the SQL itself."
    )
    measure: MeasureInfo | None
    query: Query | None = Field(description="The question as measure, dimensions, filters and time.")
    window: Window | None
    sql: str | None = Field(description="What was run.")
    parameters: dict[str, Any] | None = Field(description="The values of its parameters.")
    columns: list[str] = Field(description="Names of the columns, in order.")
    rows: list[dict[str, Any]]
    truncated: bool = Field(description="There are more rows than these.")
    corrections: list[tuple[str, str]] = Field(description="Words that were read as others.")
    notes: list[str] = Field(description="What to know before relying on it.")
    reason: str | None = Field(description="Why it was not answered.")
    near: list[str] = Field(description="Questions like it that can be answered.")
    took_ms: int


@dataclass(frozen=True)
class Asker:
    """Who asks, for the record, and the only shops that they may know of; None: all."""

    name: str
    shops: frozenset[str] | None = None


async def answer(
    question: str, asker: Asker, names: Names, database: Database, translator: model.Translator | None, now: datetime
) -> Answer:
    """Answer a question.

    Raises:
        UnavailableError: ClickHouse does not answer.
    """
    began = time.perf_counter()
    known = names if asker.shops is None else names.only(asker.shops)
    blank = _blank(question)
    try:
        found = await _answered(blank, asker, known, database, translator, now)
    except NotUnderstood as error:
        found = blank.model_copy(update={"reason": str(error), "near": words.near(question, known)})
    except LimitError:
        reason = "That reads more than a question may. Ask about fewer days, or fewer shops."
        found = blank.model_copy(update={"reason": reason, "near": words.near(question, known)})
    return found.model_copy(update={"took_ms": round((time.perf_counter() - began) * 1000)})


async def _answered(
    blank: Answer, asker: Asker, names: Names, database: Database, translator: model.Translator | None, now: datetime
) -> Answer:
    try:
        return await _of_query(blank, parse(blank.question, names, now), "rules", asker, names, database, now)
    except NotUnderstood as error:
        if translator is None or error.is_final:
            raise
        why = error
    query = await translator.query(blank.question, names, now)
    if query is not None:
        understood = Understood(query, notes=("A model translated this question: check that it is what you meant.",))
        return await _of_query(blank, understood, "model", asker, names, database, now)
    if (written := await translator.sql(blank.question, names, now)) is None:
        raise why
    try:
        sql = guard.checked(written, asker.shops)
    except guard.Refused as error:
        raise NotUnderstood(f"{why} A model wrote SQL for it that is not allowed: {error}.") from None
    parameters: dict[str, Any] = {} if asker.shops is None else {"shops": sorted(asker.shops)}
    statement = Statement(sql, parameters, guard.MOST_ROWS)
    note = "A model wrote this SQL; no measure stands behind it. Read it before you rely on the rows."
    try:
        rows = await database.limited(statement.sql, statement.parameters, LIMITS)
    except RejectedError:
        raise NotUnderstood(f"{why} A model wrote SQL for it that ClickHouse does not run.") from None
    return _with_rows(blank, statement, rows, names).model_copy(
        update={"understood": "As the SQL says.", "source": "sql", "notes": [note], "window": None}
    )


async def _of_query(
    blank: Answer, understood: Understood, source: Source, asker: Asker, names: Names, database: Database, now: datetime
) -> Answer:
    query = limited(understood.query, asker)
    try:
        statement = compile_query(query, now)
    except QueryError as error:
        raise NotUnderstood(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    try:
        rows = await database.limited(statement.sql, statement.parameters, LIMITS)
    except RejectedError as error:  # ours: the tables are not those that this version knows
        raise UnavailableError(
            "clickhouse", "ClickHouse does not run this; its tables may be of another version."
        ) from error
    measure = MEASURES[query.measure]
    notes = [*understood.notes]
    if query.order == "least" and set(query.by) & {"sku", "category"}:
        notes.append("Articles without any such movement have no row.")
    if measure.extra and len({row["currency"] for row in rows}) > 1:
        notes.append("Amounts are in several currencies and are not added up.")
    return _with_rows(blank, statement, rows, names).model_copy(
        update={
            "understood": words.sentence(understood.query, names, now),
            "source": source,
            "measure": MeasureInfo(
                name=query.measure, title=measure.title, definition=measure.definition, unit=measure.unit
            ),
            "query": understood.query,
            "window": Window(
                words=words.window(query, now),
                from_day=query.from_day and query.from_day.isoformat(),
                to_day=query.to_day and query.to_day.isoformat(),
                from_hour=query.from_hour,
                to_hour=query.to_hour,
                since=query.since,
                as_of=query.at or now,
            ),
            "corrections": list(understood.corrections),
            "notes": notes,
        }
    )


def limited(query: Query, asker: Asker) -> Query:
    """The query over no other shops than the asker may know of.

    Raises:
        NotUnderstood: it names only others.
    """
    if asker.shops is None:
        return query
    stores = asker.shops & set(query.stores) if query.stores else asker.shops
    if not stores:
        raise NotUnderstood("You may ask about your own shops only.", is_final=True)
    return query.model_copy(update={"stores": tuple(sorted(stores))})


def _with_rows(blank: Answer, statement: Statement, rows: Sequence[Row], names: Names) -> Answer:
    kept = list(rows[: statement.limit])
    return blank.model_copy(
        update={
            "answered": True,
            "sql": statement.sql,
            "parameters": statement.parameters,
            "rows": [_named(row, names) for row in kept],
            "columns": list(_named(kept[0], names)) if kept else [],
            "truncated": len(rows) > statement.limit,
        }
    )


def _named(row: Row, names: Names) -> Row:
    """A row with what its shop and article are called."""
    found: Row = {}
    for column, value in row.items():
        found[column] = value
        if column == "store_id":
            found["shop"] = names.shop(value)
        if column == "sku":
            known = names.products.get(value)
            found["product"] = known.name if known else ""
    return found


def _blank(question: str) -> Answer:
    return Answer(
        question_id=str(uuid.uuid4()),
        question=question,
        answered=False,
        understood=None,
        source=None,
        measure=None,
        query=None,
        window=None,
        sql=None,
        parameters=None,
        columns=[],
        rows=[],
        truncated=False,
        corrections=[],
        notes=[],
        reason=None,
        near=[],
        took_ms=0,
    )


def utc_now() -> datetime:
    """Now, to the millisecond."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
