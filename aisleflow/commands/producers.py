"""``aisleflow producers add|list|remove``: who outside may write facts to a secured Kafka, and for which shops."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aisleflow.secrets import KAFKA_PARTS

if TYPE_CHECKING:
    from aisleflow.settings import Settings

app = typer.Typer(
    help="Producers, such as tills, at a secured Kafka (`aisleflow up --secure`, or your own with SASL/SCRAM and ACLs). Each may "
    "write the facts of its shops and read nothing. Exit code 1: the names do not fit; 3: Kafka failed.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(help="The producer's user name at Kafka, such as till-17.")]

MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 8192
RESERVED = {*KAFKA_PARTS, "admin", "broker", "controller", "ANONYMOUS"}
USER_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Kafka's own rule for names of topics; a store's id may hold : and @ too.
TOPIC_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,249}")


class ProducersError(ValueError):
    """A name cannot be used; the message says why and what to do."""


@app.command()
def add(
    name: Name,
    store: Annotated[list[str], typer.Option(help="A shop that it may write for; may be repeated.")],
    topic: Annotated[
        list[str] | None, typer.Option(help="What it may write: transactions by default; may be repeated.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where it reaches Kafka, if not where we do.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
) -> None:
    """Make a producer and print how it connects. The password is shown this once; Kafka keeps only what proves it."""
    import json

    with _kafka() as settings:
        made = create(settings, name, store, topic or ["transactions"])
        login = {
            "bootstrap.servers": address or settings.kafka_bootstrap,
            "security.protocol": "SASL_SSL" if settings.kafka_security_protocol.endswith("SSL") else "SASL_PLAINTEXT",
            "sasl.mechanism": MECHANISM,
            "sasl.username": name,
            "sasl.password": made["password"],
        }
    typer.echo(json.dumps({"doors": made["doors"], **login}) if as_json else snippets(login, made["doors"]))


@app.command("list")
def list_() -> None:
    """Show the producers there are, the topics they may write to, and how many records the gate has not passed on yet."""
    with _kafka() as settings:
        found = producers(settings)
        late = waiting(settings, sorted({door for doors in found.values() for door in doors}))
    for name, doors in found.items():
        typer.echo(f"{name:24} {' '.join(doors)}")
    for door, count in late.items():
        typer.echo(f"{count:,} records wait at {door}: does `aisleflow gate` run?")
    if not found:
        typer.echo("no producers; `aisleflow producers add NAME --store STORE` makes one")


@app.command()
def remove(name: Name) -> None:
    """End a producer's access, at once, also on connections that it holds. What it wrote stays."""
    with _kafka() as settings:
        delete(settings, name)
    typer.echo(f"{name} may do nothing any more")


def create(settings: Settings, name: str, stores: list[str], topics: list[str]) -> dict[str, Any]:
    """Make a user that may write these topics' facts of these shops; its ``password``, and ``doors``, the topics to write to.

    Raises:
        ProducersError: the user exists or its name is taken by a part of ours; a shop or topic cannot have a door.
        KafkaException: Kafka does not answer or refuses.
    """
    import secrets

    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AdminClient,
        ScramCredentialInfo,
        ScramMechanism,
        UserScramCredentialUpsertion,
    )

    from aisleflow import access
    from aisleflow.clients import kafka_config

    _check_name(name)
    doors = [door(settings, topic, store) for topic in topics for store in stores]
    if name in _users(settings):
        raise ProducersError(f"{name} exists; remove it first, or choose another name")
    access.allow(settings, access.producer_grants(name, doors))  # first: it tells a Kafka that has no ACLs
    _open_doors(settings, dict.fromkeys(doors))
    password = secrets.token_hex(24)
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
    admin = AdminClient(kafka_config(settings))
    wanted = UserScramCredentialUpsertion(name, info, password.encode())
    for future in admin.alter_user_scram_credentials([wanted]).values():
        future.result()
    return {"password": password, "doors": doors}


def delete(settings: Settings, name: str) -> None:
    """Take a producer's ACLs, then its password.

    Raises:
        ProducersError: there is no such producer.
        KafkaException: Kafka does not answer or refuses.
    """
    from confluent_kafka.admin import AdminClient, ScramMechanism, UserScramCredentialDeletion  # type: ignore[attr-defined]

    from aisleflow import access
    from aisleflow.clients import kafka_config

    _check_name(name)
    users = _users(settings)
    if name not in users and name not in producers(settings):
        raise ProducersError(f"there is no producer {name}; `aisleflow producers list` shows all")
    # First what the connections that it holds are judged by.
    access.revoke(settings, name)
    if name in users:
        admin = AdminClient(kafka_config(settings))
        wanted = UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_512)
        for future in admin.alter_user_scram_credentials([wanted]).values():
            future.result()


def producers(settings: Settings) -> dict[str, list[str]]:
    """The producers, each with the doors that it may write to.

    Raises:
        KafkaException: Kafka does not answer or refuses.
    """
    from aisleflow import access
    from schemas.topics import DOOR

    found: dict[str, list[str]] = {}
    for grant in sorted(access.granted(settings)):
        inside = grant.name.startswith(settings.topic_prefix) and DOOR in grant.name and not grant.prefixed
        if inside and grant.operation == access.WRITE and grant.user not in KAFKA_PARTS:
            found.setdefault(grant.user, []).append(grant.name)
    return found


def waiting(settings: Settings, doors: list[str]) -> dict[str, int]:
    """Records that the gate has not passed on, at the doors where there are any.

    Raises:
        KafkaException: Kafka does not answer or refuses.
    """
    from confluent_kafka import Consumer

    from aisleflow.clients import group_offsets, kafka_config
    from stream_processors.gate import group

    if not doors:
        return {}
    consumer = Consumer({**kafka_config(settings), "group.id": group(settings), "log_level": 2})
    try:
        ends, confirmed = group_offsets(consumer, [(door, 0) for door in doors])
        return {topic: end - confirmed[topic, 0] for (topic, _), end in ends.items() if end > confirmed[topic, 0]}
    finally:
        consumer.close()


def door(settings: Settings, topic: str, store_id: str) -> str:
    """The name of the topic that a shop's own producers write to, as Kafka knows it.

    Raises:
        ProducersError: see there.
    """
    from schemas.events import STORE_PATTERN
    from schemas.reading import READERS
    from schemas.topics import DOOR

    if topic not in READERS:
        raise ProducersError(f"{topic!r} has no doors; there are {', '.join(READERS)}")
    if len(store_id) > 64 or not re.fullmatch(STORE_PATTERN.strip("^$"), store_id):
        raise ProducersError(f"{store_id!r} is not a store's id")
    name = f"{settings.topic_prefix}{topic}{DOOR}{store_id}"
    if not TOPIC_PATTERN.fullmatch(name):
        raise ProducersError(f"{store_id} has a character that Kafka does not take in a topic's name; use HTTP for it")
    return name


def snippets(login: dict[str, str], doors: list[str]) -> str:
    """How to connect, to paste into a program of any language."""
    lines = "\n".join(f"  {name}={value}" for name, value in login.items())
    java = "\n".join(f"  {name}={value}" for name, value in login.items() if not name.startswith("sasl.user"))
    jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    user, password = login["sasl.username"], login["sasl.password"]
    java = java.replace(
        f"  sasl.password={password}", f'  sasl.jaas.config={jaas} username="{user}" password="{password}";'
    )
    ssl = "true" if login["security.protocol"] == "SASL_SSL" else "false"
    return f"""{user} may write to {", ".join(doors)} and do nothing else. The password is shown this once.

librdkafka (C, C++, C#, Go, Python, Rust, PHP, Ruby; kcat -F FILE)
{lines}
  enable.idempotence=true

Java
{java}
  enable.idempotence=true

JavaScript (kafkajs)
  new Kafka({{
    brokers: ["{login["bootstrap.servers"]}"], ssl: {ssl},
    sasl: {{ mechanism: "scram-sha-512", username: "{user}", password: "{password}" }},
  }})"""


def _check_name(name: str) -> None:
    if name in RESERVED:
        raise ProducersError(f"{name} is one of Aisleflow's own parts; choose another name")
    if not USER_PATTERN.fullmatch(name):
        raise ProducersError(f"{name!r} is not a name: letters, digits, dots, dashes and underscores, 64 at most")


def _users(settings: Settings) -> set[str]:
    """Who has a password."""
    from confluent_kafka.admin import AdminClient

    from aisleflow import access
    from aisleflow.clients import kafka_config

    if not access.may_administer(settings):  # asked without leave, librdkafka 2.16 ends the process
        raise ProducersError(
            f"the user {settings.kafka_user} may not make users; set AISLEFLOW_KAFKA_USER to one who may"
        )

    admin = AdminClient(kafka_config(settings))
    return set(admin.describe_user_scram_credentials().result())  # type: ignore[union-attr]


def _open_doors(settings: Settings, doors: dict[str, None]) -> None:
    """Create the topics that are missing: one partition, since the gate decides where a shop's facts go."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    from aisleflow.clients import kafka_config
    from schemas.topics import DOOR, TOPICS

    admin = AdminClient(kafka_config(settings))
    wanted = []
    for name in doors:
        facts = TOPICS[name.removeprefix(settings.topic_prefix).partition(DOOR)[0]]
        wanted.append(NewTopic(name, 1, settings.topic_replication, config=facts.config | {"cleanup.policy": "delete"}))
    for name, future in admin.create_topics(wanted).items():
        try:
            future.result()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_EXCEPTION:
                raise ProducersError(f"Kafka does not take {name} as a topic: {error.args[0].str()}") from None
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


@contextmanager
def _kafka() -> Iterator[Settings]:
    """The settings with which users are made; what fails is told in a line."""
    from confluent_kafka import KafkaError, KafkaException

    from aisleflow.settings import as_kafka_user, settings

    chosen = as_kafka_user(settings(), "admin")
    try:
        yield chosen
    except ProducersError as error:
        typer.echo(f"producers: {error}", err=True)
        raise typer.Exit(1) from None
    except KafkaException as error:
        reason, code = error.args[0].str(), error.args[0].code()
        if code == KafkaError.SECURITY_DISABLED:
            reason = "this Kafka has no users and ACLs: start it with `aisleflow up --secure`"
        typer.echo(f"producers: {reason} (Kafka at {chosen.kafka_bootstrap})", err=True)
        raise typer.Exit(3) from None
