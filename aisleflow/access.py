"""Who may do what on Kafka: our own parts as ACLs, and producers, each with topics of its shops and nothing else.

Kafka's ACLs know topics, not keys or contents. So a producer of shop ``ST1001`` may not write to ``transactions``, where
it could write for any shop, but to ``transactions.from.ST1001``, its shop's *door*; ``aisleflow gate`` passes on what names
that shop (``stream_processors/gate.py``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from aisleflow.clients import kafka_config
from aisleflow.settings import Settings
from schemas.topics import ALERTS, DELIVERIES, DOOR, FORECAST_ACCURACY, FORECASTS, QUESTIONS, STOCK_OUTLOOK, TOPICS

TIMEOUT_S = 30.0
#: The topics that connectors publish to.
CONNECTED = ("stock-movements", "transactions", "orders", "prices", "products")

READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE


class Grant(NamedTuple):
    """One user may do one thing to a topic or group, or to all whose names begin so. Reading and writing imply seeing."""

    user: str
    operation: AclOperation
    name: str
    kind: ResourceType = ResourceType.TOPIC
    prefixed: bool = False


def parts_grants(settings: Settings) -> Iterator[Grant]:
    """What each of our own parts needs, and no more."""
    prefix, group = settings.topic_prefix, settings.consumer_group
    fed = [topic for topic in TOPICS.values() if topic.event is not None and topic not in (ALERTS, DELIVERIES)]
    for topic in fed:
        name = prefix + topic.name
        yield from (
            Grant("worker", operation, name) for operation in (READ, WRITE)
        )  # WRITE: what lies in a wrong partition
        yield Grant("worker", WRITE, f"{prefix}{topic.dead_letters}")
        yield Grant("simulator", WRITE, name)
        yield Grant("api", READ, name)  # how old what waits is
        if topic is QUESTIONS:
            yield Grant("api", WRITE, name)
        if topic.key != "store_id":  # what is said of all shops comes in by no shop's door
            continue
        yield Grant("gate", WRITE, f"{prefix}{topic.dead_letters}")
        yield Grant("gate", READ, f"{name}{DOOR}", prefixed=True)
        yield Grant("gate", WRITE, name)
        yield Grant("api", WRITE, name)
        yield from (Grant("cli", operation, f"{name}{DOOR}", prefixed=True) for operation in (READ, WRITE))
    yield Grant("worker", WRITE, prefix + ALERTS.name)
    # Connectors publish facts and bury what they could not read; they and webhooks deliver any topic, and bury what nobody took.
    for topic in (topic for topic in TOPICS.values() if topic.event is not None):
        yield from (Grant(user, READ, prefix + topic.name) for user in ("connect", "webhooks"))
    for name in CONNECTED:
        yield from (Grant("connect", WRITE, prefix + topic) for topic in (name, f"{name}.dlq"))
    yield from (Grant(user, WRITE, f"{prefix}{DELIVERIES.dead_letters}") for user in ("connect", "webhooks"))
    yield Grant("restock", WRITE, prefix + STOCK_OUTLOOK.name)
    yield from (Grant("forecasts", WRITE, prefix + topic.name) for topic in (FORECASTS, FORECAST_ACCURACY))
    for name in TOPICS:
        yield from (Grant("cli", operation, prefix + name) for operation in (READ, WRITE))
    for user, operation in (
        ("worker", READ),
        ("gate", READ),
        ("api", DESCRIBE),
        ("simulator", DESCRIBE),
        ("cli", READ),
        ("connect", READ),
        ("webhooks", READ),
    ):
        yield Grant(user, operation, group, ResourceType.GROUP, prefixed=True)


def producer_grants(user: str, doors: Iterable[str]) -> list[Grant]:
    """What a producer may do: write to its shops' doors."""
    return [Grant(user, WRITE, door) for door in doors]


def allow(settings: Settings, grants: Iterable[Grant]) -> None:
    """Add ACLs, and return when Kafka goes by them; those that are there stay.

    Raises:
        KafkaException: Kafka does not answer, has no authorizer, or these settings' user may not.
    """
    wanted = set(grants)
    admin = AdminClient(kafka_config(settings))
    for future in admin.create_acls([_binding(grant) for grant in wanted], request_timeout=TIMEOUT_S).values():
        future.result()
    deadline = time.monotonic() + TIMEOUT_S
    while not wanted <= set(granted(settings)):
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Kafka took the ACLs and does not show them"))
        time.sleep(0.1)


def granted(settings: Settings, user: str | None = None) -> list[Grant]:
    """The ACLs on topics and groups that there are, of one user or of all; none if these settings' user may not see them
    (confluent-kafka drops that error).

    Raises:
        KafkaException: Kafka does not answer.
    """
    admin = AdminClient(kafka_config(settings))
    found: Any = admin.describe_acls(_filter(user), request_timeout=TIMEOUT_S).result()
    return [
        Grant(
            acl.principal.removeprefix("User:"),
            acl.operation,
            acl.name,
            acl.restype,
            acl.resource_pattern_type == ResourcePatternType.PREFIXED,
        )
        for acl in found
        if acl.permission_type == AclPermissionType.ALLOW
    ]


def may_administer(settings: Settings) -> bool:
    """Whether these settings' user may change users and ACLs.

    Raises:
        KafkaException: Kafka does not answer.
    """
    admin = AdminClient(kafka_config(settings))
    cluster: Any = admin.describe_cluster(include_authorized_operations=True, request_timeout=TIMEOUT_S).result()
    return AclOperation.ALTER in (cluster.authorized_operations or ())


def revoke(settings: Settings, user: str) -> None:
    """Take all ACLs from a user; what it is connected with is refused from then on.

    Raises:
        KafkaException: as for :func:`allow`.
    """
    admin = AdminClient(kafka_config(settings))
    for future in admin.delete_acls([_filter(user)], request_timeout=TIMEOUT_S).values():
        future.result()


def _binding(grant: Grant) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL
    allow = AclPermissionType.ALLOW
    return AclBinding(grant.kind, grant.name, pattern, f"User:{grant.user}", "*", grant.operation, allow)


def _filter(user: str | None) -> AclBindingFilter:
    principal = None if user is None else f"User:{user}"
    any_of = (AclOperation.ANY, AclPermissionType.ANY)
    return AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, principal, None, *any_of)  # type: ignore[arg-type]
