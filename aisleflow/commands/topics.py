"""``aisleflow topics``: create the registry's topics in Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from aisleflow.settings import Settings
    from schemas.topics import Topic


class TopicsError(RuntimeError):
    """A topic cannot be used as it is; the message says which and what to do."""


def topics() -> None:
    """Create every topic that is missing; existing ones are checked, and keep their records as AISLEFLOW_RETENTION_* says."""
    from confluent_kafka import KafkaException

    from aisleflow.settings import as_kafka_user, settings

    try:
        created = ensure(as_kafka_user(settings(), "admin"))
    except (KafkaException, TopicsError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else error
        typer.echo(f"topics: {reason} (Kafka at {settings().kafka_bootstrap})", err=True)
        raise typer.Exit(1) from None
    typer.echo("\n".join(f"created {name}" for name in created) or "every topic is there")


def ensure(settings: Settings, timeout_s: float = 30) -> list[str]:
    """Create the missing topics of the registry and return their names.

    Raises:
        TopicsError: an existing topic has another number of partitions. They are never added here: keys would move to
            other partitions, and with them the order of one store's facts.
        KafkaException: Kafka does not answer or refuses.
    """
    import time

    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    from aisleflow.clients import kafka_config
    from schemas.topics import TOPICS

    admin = AdminClient(kafka_config(settings))
    wanted = {settings.topic_prefix + topic.name: topic for topic in TOPICS.values()}
    partitions = {name: topic.partitions_of(settings.store_partitions) for name, topic in wanted.items()}
    there = admin.list_topics(timeout=timeout_s).topics
    missing = [
        NewTopic(name, partitions[name], settings.topic_replication, config=_config(topic, settings))
        for name, topic in wanted.items()
        if name not in there
    ]
    created = []
    for name, future in (admin.create_topics(missing, request_timeout=timeout_s) if missing else {}).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:  # somebody else was first
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    # A topic shows in the metadata a moment after its creation; who comes after us may count on it.
    deadline = time.monotonic() + timeout_s
    while not wanted.keys() <= (there := admin.list_topics(timeout=timeout_s).topics).keys():
        if time.monotonic() > deadline:
            raise TopicsError(f"Kafka does not show {', '.join(sorted(wanted.keys() - there.keys()))} yet; try again")
        time.sleep(0.1)
    for name, expected in partitions.items():
        if (found := len(there[name].partitions)) != expected:
            raise TopicsError(
                f"topic {name} has {found} partitions instead of {expected}: set AISLEFLOW_STORE_PARTITIONS as when it "
                "was created, use another AISLEFLOW_TOPIC_PREFIX and publish again, or delete the topic if its facts are "
                "not needed"
            )
    _retain(admin, {name: _config(topic, settings)["retention.ms"] for name, topic in wanted.items()}, timeout_s)
    return created


def _config(topic: Topic, settings: Settings) -> dict[str, str]:
    """A topic's settings, with the time that its records are kept."""
    if topic.compacted:
        return topic.config
    days = settings.retention_topics_days if topic.event is not None else settings.retention_dead_letters_days
    return {**topic.config, "retention.ms": str(days * 24 * 3600 * 1000)}


def _retain(admin: AdminClient, wanted: dict[str, str], timeout_s: float) -> None:
    """Have topics that are there keep their records for so many milliseconds (-1: for ever)."""
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    asked = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
    other = [
        ConfigResource(
            ResourceType.TOPIC,
            resource.name,
            incremental_configs=[
                ConfigEntry("retention.ms", wanted[resource.name], incremental_operation=AlterConfigOpType.SET)
            ],
        )
        for resource, answer in admin.describe_configs(asked, request_timeout=timeout_s).items()
        if answer.result()["retention.ms"].value != wanted[resource.name]
    ]
    for answer in (admin.incremental_alter_configs(other, request_timeout=timeout_s) if other else {}).values():
        answer.result()
