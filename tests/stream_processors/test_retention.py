"""What is kept for how long: tables and topics follow the settings, and what is derived outlives its facts unharmed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from pydantic import ValidationError

from aisleflow.clients import clickhouse_client, kafka_config
from aisleflow.commands import migrate, topics
from aisleflow.settings import Settings
from schemas import migrations, retention
from tests.stream_processors import test_derivation
from tests.stream_processors.test_derivation import Log, event, layout, receipt

DAY_MS = 86_400_000


def test_every_table_with_a_ttl_has_its_class_and_its_default() -> None:
    """The defaults of the settings are what the migrations say, so that a fresh database needs no change."""
    created = {
        name: "TTL " + ttl
        for migration in migrations.load()
        for statement in migration.statements
        for name, ttl in _ttls(statement)
    }
    plain = {
        table: sql.replace("INTERVAL 13 MONTH", "toIntervalMonth(13)")
        .replace("INTERVAL 25 MONTH", "toIntervalMonth(25)")
        .replace("INTERVAL 14 DAY", "toIntervalDay(14)")
        .replace("INTERVAL 90 DAY", "toIntervalDay(90)")
        for table, sql in created.items()
    }
    assert retention.TABLES.keys() | retention.FIXED == plain.keys()
    defaults = Settings(_env_file=None)  # type: ignore[call-arg]
    days = {
        name: getattr(defaults, f"retention_{name}_days") for name in ("events", "results", "health", "dead_letters")
    }
    assert list(retention.statements(plain, days)) == []  # type: ignore[arg-type]


def _ttls(statement: str) -> Iterator[tuple[str, str]]:
    if statement.startswith("CREATE TABLE") and "\nTTL " in statement:
        yield statement.split()[5], statement.split("\nTTL ")[1].splitlines()[0]


def test_what_is_derived_may_not_go_before_its_facts() -> None:
    with pytest.raises(ValidationError, match="AISLEFLOW_RETENTION_RESULTS_DAYS"):
        Settings(_env_file=None, retention_events_days=400, retention_results_days=399)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="AISLEFLOW_RETENTION_TOPICS_DAYS"):
        Settings(_env_file=None, retention_events_days=10, retention_topics_days=11)  # type: ignore[call-arg]


def test_topics_keep_their_records_as_the_settings_say(kafka: str, make_world: Callable[..., Settings]) -> None:
    settings = make_world(kafka, None)
    names = ("visit-events", "visit-events.dlq", "store-layouts")

    def kept() -> list[str]:
        asked = [ConfigResource(ResourceType.TOPIC, settings.topic_prefix + name) for name in names]
        admin = AdminClient(kafka_config(settings))
        found = admin.describe_configs(asked)
        return [found[resource].result()["retention.ms"].value for resource in asked]

    assert kept() == [str(30 * DAY_MS), str(90 * DAY_MS), "-1"]
    changed = settings.model_copy(update={"retention_topics_days": 3, "retention_dead_letters_days": 7})
    assert topics.ensure(changed) == []
    assert kept() == [str(3 * DAY_MS), str(7 * DAY_MS), "-1"]


@pytest.fixture
def log(clickhouse: str, make_world: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """A log whose records Kafka took ten days ago, and settings that keep events for five."""
    monkeypatch.setattr(test_derivation, "ARRIVED", int(time.time() * 1000) - 10 * DAY_MS)
    settings = make_world(None, clickhouse, store_partitions=1)
    with clickhouse_client(settings) as client:
        yield Log(settings.model_copy(update={"retention_events_days": 5}), client)


async def test_rows_go_and_what_was_derived_from_them_stays(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    store = log.store()
    at = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 10 * 86_400 - s)) for s in (600, 500, 400, 60)]
    await log.read(
        event(store, at=at[0], visitor_id="A"),
        event(store, "BILLING_QUEUE_JOIN", at=at[1], visitor_id="A", zone_id="BILLING"),
        event(store, at=at[1], visitor_id="B"),
        receipt(store, "T", at[2]),
    )
    columns = "visitor_id, events, purchased"
    derived = log.visits(store, columns)
    assert [row[0] for row in derived] == ["A", "B"]
    depths = log.rows("SELECT timestamp, depth FROM queue_depth FINAL WHERE store_id = %(store)s ORDER BY 1", store)
    assert depths
    migrate.retain(log.client, log.settings)
    for table in ("events", "event_ids", "visits", "transactions"):
        log.client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert log.rows("SELECT count() FROM events WHERE store_id = %(store)s", store) == [(0,)], "expired"
    assert log.visits(store, columns) == derived
    # Late ones of that day, which arrive today and make workers open it.
    monkeypatch.setattr(test_derivation, "ARRIVED", int(time.time() * 1000))
    log.restart()
    await log.read(event(store, "EXIT", at=at[3], visitor_id="A"), event(store, at=at[3], visitor_id="C"))
    assert log.visits(store, columns)[:2] == derived
    log.restart()
    await log.read(layout(store, "2026-11-01T00:00:00Z", time_zone="Asia/Kolkata"))
    assert log.visits(store, columns)[:2] == derived, "a new layout does not derive anew what cannot be"
    assert (
        log.rows("SELECT timestamp, depth FROM queue_depth FINAL WHERE store_id = %(store)s ORDER BY 1", store)
        == depths
    )


def test_tables_that_are_there_are_changed_once(clickhouse: str, make_world: Callable[..., Settings]) -> None:
    settings = make_world(None, clickhouse)
    with clickhouse_client(settings) as client:
        assert migrate.retain(client, settings) == []
        longer: Any = settings.model_copy(update={"retention_health_days": 30})
        assert migrate.retain(client, longer) == [
            f"ALTER TABLE {name} MODIFY TTL toDateTime(at) + INTERVAL 30 DAY" for name in ("worker_health", "topic_lag")
        ]
        assert migrate.retain(client, longer) == []
