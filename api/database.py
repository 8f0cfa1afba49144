"""ClickHouse for asynchronous code: queries run in a few threads, and what keeps one from answering becomes a 503."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Hashable, Mapping
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import orjson
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from urllib3.exceptions import HTTPError

from aisleflow import log, tracing
from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from api.problems import UnavailableError
from api.together import Together

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CONNECT_TIMEOUT_S = 2
QUERY_TIMEOUT_S = 10
CONCURRENT_QUERIES = 8
# Of one statement: so many run at once, then those who ask the same about something else are asked for together.
UNDER_WAY, ASKED_TOGETHER = 3, 100

# One thread a query: many requests share the processors. Versions of a row lie in one partition, since it follows from
# their key; of a receipt, since its first record holds.
_SETTINGS = {
    "max_threads": 1,
    "do_not_merge_across_partitions_select_final": 1,
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
}

Row = dict[str, Any]
T = TypeVar("T")
logger = log.get(__name__)


def _rows(answer: bytes) -> list[Row]:
    names, types, *rows = map(orjson.loads, answer.splitlines())
    for column, type_ in enumerate(types):
        convert = datetime.fromisoformat if "DateTime" in type_ else date.fromisoformat if "Date" in type_ else None
        if convert is not None:
            for row in rows:
                if row[column] is not None:
                    row[column] = convert(row[column])
    return [dict(zip(names, row, strict=True)) for row in rows]


class LimitError(Exception):
    """A query would take more time, memory or rows than it was given."""


class RejectedError(Exception):
    """ClickHouse answers, and does not run this query: it names what is not there, or is no SQL."""


_CODE = re.compile(r"Code: (\d+)")
# ClickHouse's codes for a limit of its settings: rows, time, speed, memory, bytes, result.
_OVER_LIMIT = frozenset((158, 159, 160, 241, 307, 396))


class Database:
    """Runs parameterised SQL. Connects when first asked, and again by itself after ClickHouse was away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._connecting = threading.Lock()
        self._limiter = anyio.CapacityLimiter(CONCURRENT_QUERIES)
        self._together: dict[str, Together[Any, list[Row]]] = {}

    async def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a query, as dictionaries by column; times are aware (UTC), decimals floats.

        Raises:
            UnavailableError: ClickHouse does not answer, or answers with an error.
        """
        return await anyio.to_thread.run_sync(self._query, sql, dict(parameters or {}), limiter=self._limiter)

    async def rows_about(self, sql: str, key: Hashable) -> list[Row]:
        """The rows of a query about some keys (its parameter ``keys``, an array), of which this is one: those who ask the
        same about others while one is on its way are answered together. The caller picks the rows that are about its own.

        Raises:
            UnavailableError: as for ``rows``.
        """
        if sql not in self._together:
            self._together[sql] = Together(partial(self._about, sql), ASKED_TOGETHER, UNDER_WAY)
        return await self._together[sql].ask([key])

    async def _about(self, sql: str, keys: list[Any]) -> list[Row]:
        return await self.rows(sql, {"keys": keys})

    async def limited(self, sql: str, parameters: Mapping[str, Any], limits: Mapping[str, Any]) -> list[Row]:
        """As ``rows``, within limits of ClickHouse's settings (``max_execution_time``, ``max_rows_to_read``, ...).

        Raises:
            LimitError: the query would go over one.
            RejectedError: ClickHouse does not run it.
            UnavailableError: ClickHouse does not answer.
        """
        try:
            return await anyio.to_thread.run_sync(
                self._query, sql, dict(parameters), {**_SETTINGS, **limits}, limiter=self._limiter
            )
        except UnavailableError as away:
            code = _CODE.search(str(away.__cause__)) if isinstance(away.__cause__, DatabaseError) else None
            if code is None:
                raise
            raise (LimitError if int(code[1]) in _OVER_LIMIT else RejectedError)(str(away.__cause__)[:500]) from away

    async def words(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[str]:
        """The values of a query for one column of words without spaces: cheaper than ``rows`` where only those are needed.

        Raises:
            UnavailableError: as for ``rows``.
        """
        return await anyio.to_thread.run_sync(self._words, sql, dict(parameters or {}), limiter=self._limiter)

    def _query(self, sql: str, parameters: dict[str, Any], settings: dict[str, Any] = _SETTINGS) -> list[Row]:
        return self._answer(
            lambda client: _rows(
                client.raw_query(
                    sql,
                    parameters=parameters,
                    settings=settings,
                    fmt="JSONCompactEachRowWithNamesAndTypes",
                    transport_settings=tracing.http_headers(),
                )
            )
        )

    def _words(self, sql: str, parameters: dict[str, Any]) -> list[str]:
        return self._answer(
            lambda client: client.raw_query(sql, parameters=parameters, fmt="TabSeparated").decode().split()
        )

    def _answer(self, ask: Callable[[Client], T]) -> T:
        try:
            return ask(self._connected())
        except (ClickHouseError, HTTPError, OSError, ValueError) as error:
            # The server's words may show SQL or addresses: they belong in the log.
            logger.warning("clickhouse_away", error=f"{type(error).__name__}: {error}"[:500])
            raise UnavailableError("clickhouse", "ClickHouse does not answer; try again shortly.") from error

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = clickhouse_client(
                    self._settings,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    send_receive_timeout=QUERY_TIMEOUT_S,
                    query_retries=0,
                )
            return self._client

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None
