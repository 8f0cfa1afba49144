"""``aisleflow rederive``: after an upgrade that changed the rules, have every stored day derived by the new ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from aisleflow.settings import Settings

# So many days a worker opens at once without noticing.
DAYS_AT_ONCE = 20
PATIENCE_S = 60.0

# A visit of each day that rules of another version made, and its first event.
_OUTDATED = """
SELECT store_id, toString(business_day), argMin(visitor_id, started_at), toUnixTimestamp64Milli(min(started_at))
FROM visits FINAL WHERE rules != %(rules)s
GROUP BY store_id, business_day ORDER BY business_day DESC, store_id
"""
_EVENTS = """
SELECT toString(event_id) AS event_id, store_id, camera_id, visitor_id, event_type,
    toUnixTimestamp64Milli(timestamp) AS at, nullIf(zone_id, '') AS zone_id, dwell_ms, is_staff, confidence, metadata
FROM events FINAL
WHERE (store_id, toDate(timestamp), visitor_id) IN %(visits)s
  AND (store_id, visitor_id, toUnixTimestamp64Milli(timestamp)) IN %(moments)s
LIMIT 1 BY store_id, visitor_id, timestamp
"""
_STILL_OLD = """
SELECT count() FROM visits FINAL
WHERE rules != %(rules)s AND (store_id, business_day) IN %(days)s
  AND (store_id, visitor_id, toUnixTimestamp64Milli(started_at)) IN %(moments)s
"""
Outdated = tuple[str, str, str, int]
"""(store_id, business_day, visitor_id, time of its first event in milliseconds since 1970)"""


class RederiveError(RuntimeError):
    """The days do not become current; the message says why that may be."""


def rederive() -> None:
    """Derive anew, newest first, the stored days that an older version of the rules made. Workers must be running.

    One stored fact of each day is published again. It is a duplicate, which counts nowhere, but it makes the worker of
    that store open the day, see by whose rules its rows were made, and write those that differ. Safe to run again.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from confluent_kafka import KafkaException

    from aisleflow.settings import settings

    total = 0
    try:
        for days in run(settings()):
            total += days
            typer.echo(f"{total:,} days derived anew")
    except (ClickHouseError, KafkaException, RederiveError, ValueError) as error:
        typer.echo(f"rederive: {error}", err=True)
        raise typer.Exit(1) from None
    if not total:
        typer.echo("every day is of the present rules")


def run(settings: Settings) -> Iterator[int]:
    """Have the days derived anew, so many at a time; yields how many. Days whose events have expired stay as they are.

    Raises:
        RederiveError: they do not become current.
        ClickHouseError, KafkaException: one of the two does not answer.
    """
    from aisleflow.clients import clickhouse_client, kafka_producer, raise_on
    from schemas.topics import VISIT_EVENTS
    from stream_processors.store_day import RULES

    producer = kafka_producer(settings)
    topic = settings.topic_prefix + VISIT_EVENTS.name
    with clickhouse_client(settings) as client:
        outdated: list[Any] = list(client.query(_OUTDATED, {"rules": RULES}).result_rows)
        for first in range(0, len(outdated), DAYS_AT_ONCE):
            days = outdated[first : first + DAYS_AT_ONCE]
            if facts := _facts(client, days):
                for store_id, value in facts:
                    producer.produce(topic, value, store_id, on_delivery=lambda error, _: raise_on(error))
                producer.flush(PATIENCE_S)
                _wait(client, days, len(days) - len(facts))
                yield len(facts)


def _facts(client: Client, days: list[Outdated]) -> list[tuple[str, bytes]]:
    """(key, value) of a stored event of each of these days, as a sender would publish it."""
    import orjson

    keys = {
        "visits": tuple(
            (store, datetime.fromtimestamp(at / 1000, UTC).date(), visitor) for store, _, visitor, at in days
        ),
        "moments": tuple((store, visitor, at) for store, _, visitor, at in days),
    }
    found = []
    for row in client.query(_EVENTS, keys).named_results():
        event = dict(row)
        moment = datetime.fromtimestamp(event.pop("at") / 1000, UTC)
        event |= {"timestamp": moment.isoformat(), "metadata": orjson.loads(event["metadata"])}
        found.append((event["store_id"], orjson.dumps(event)))
    return found


def _wait(client: Client, days: list[Outdated], without_events: int) -> None:
    import time

    from stream_processors.store_day import RULES

    keys = {
        "rules": RULES,
        "days": tuple((store, day) for store, day, _, _ in days),
        "moments": tuple((store, visitor, at) for store, _, visitor, at in days),
    }
    deadline = time.monotonic() + PATIENCE_S
    while (left := int(client.query(_STILL_OLD, keys).result_rows[0][0])) > without_events:
        if time.monotonic() > deadline:
            raise RederiveError(
                f"{left - without_events} of {len(days)} days are not derived after {PATIENCE_S:.0f} s: are the workers "
                "running and caught up (GET /health), and are they of this version? Run it again then."
            )
        time.sleep(0.2)
