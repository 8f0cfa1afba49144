"""Writing to ClickHouse: nothing counts as written before ClickHouse has confirmed it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from aisleflow import log, metrics, tracing

logger = log.get(__name__)
T = TypeVar("T")

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 5.0
# Errors that trying again cannot mend: rows that ClickHouse cannot read, tables and columns that are not there, a
# refused user.
HOPELESS_CODES = (6, 16, 26, 27, 33, 38, 41, 47, 53, 60, 62, 72, 81, 117, 192, 193, 194, 497, 516)

_encoder = msgspec.json.Encoder()


class CannotWrite(Exception):
    """ClickHouse refuses the rows for good; the worker must stop without acknowledging them."""


def encode_rows(rows: Sequence[Any]) -> bytes:
    """Rows as ``JSONCompactEachRow``: one JSON array a line.

    A time goes as seconds, ``ms / 1000``, as ClickHouse reads a DateTime64(3) in JSON: exact, since a double is written
    with the fewest digits that tell it from its neighbours, three decimals until the year 200000.
    """
    return _encoder.encode_lines(rows)


class ClickHouseSink:
    """Inserts batches, tried again with back-off until confirmed."""

    def __init__(self, client: Client, on_answer: Callable[[], None] = lambda: None) -> None:
        """``on_answer`` is called after each answer, refusals that are tried again included: who waits for a slow
        ClickHouse, or one that is away, is not stuck.
        """
        self._client = client
        self._on_answer = on_answer

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Any], token: str) -> None:
        """Insert rows and return when ClickHouse has confirmed them.

        Args:
            table: the table.
            columns: the names of the rows' fields.
            rows: sequences of JSON-ready values; none is no insert.
            token: names the records that the rows follow from. ClickHouse keeps one copy of the same rows of the same
                records; after a crash the same records may lead to other rows, which are written.

        Raises:
            CannotWrite: ClickHouse says that it never will take these rows.
        """
        if rows:
            await self.until_answered(self.insert_blocking, table, columns, rows, token)

    def insert_blocking(self, table: str, columns: Sequence[str], rows: Sequence[Any], token: str) -> None:
        """One attempt at ``insert``, from a thread."""
        block = encode_rows(rows)
        settings = {
            "insert_deduplication_token": f"{table}:{token}:{hashlib.blake2b(block, digest_size=16).hexdigest()}",
            # A retry after a crash between a table and its views must still reach the views.
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            # Timestamps may spread over any number of months when old days are published.
            "max_partitions_per_insert_block": 0,
            # By which a server's log of queries can be tied to the worker's.
            "log_comment": f"cycle {token}",
        }
        with tracing.span(
            f"INSERT {table}",
            "CLIENT",
            parent=tracing.current.get(),
            attributes={"rows": len(rows), "bytes": len(block)},
        ):
            self._client.raw_insert(
                *(table, list(columns), block),
                settings=settings,
                fmt="JSONCompactEachRow",
                transport_settings=tracing.http_headers(),
            )
        metrics.ROWS.labels(table).inc(len(rows))

    async def until_answered(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Make a blocking call to ClickHouse in a thread, again with back-off until it answers.

        Raises:
            CannotWrite: ClickHouse's answer is an error that trying again cannot mend.
        """
        delay = FIRST_RETRY_S
        while True:
            try:
                answer = await asyncio.to_thread(call, *arguments, **named)
                self._on_answer()
                return answer
            except (ClickHouseError, OSError, HTTPError) as error:
                if is_hopeless(str(error)):
                    raise CannotWrite(str(error)) from error
                metrics.SINK_RETRIES.inc()
                self._on_answer()
                logger.warning(
                    "clickhouse_did_not_answer", call=call.__name__, retry_in_s=delay, error=str(error)[:300]
                )
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, guards nothing
                delay = min(delay * 2, LONGEST_RETRY_S)


def is_hopeless(message: str) -> bool:
    """Whether a ClickHouse error message carries a code that trying again cannot mend."""
    return any(f"Code: {code}." in message or f"code {code}," in message.lower() for code in HOPELESS_CODES)
