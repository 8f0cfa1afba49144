"""The topic registry: one name each, joinable topics in step, and a place for what cannot be read."""

import re

import pytest

from aisleflow.settings import Settings
from schemas.topics import STORE_PARTITIONS, TOPICS, Topic

FACTS = [topic for topic in TOPICS.values() if topic.event is not None]
DEAD = [topic for topic in TOPICS.values() if topic.event is None]


def test_names_are_unique() -> None:
    """A dictionary would hide a second topic of the same name: look at the module itself."""
    from schemas import topics

    singles = [value for value in vars(topics).values() if isinstance(value, Topic)]
    assert len({id(topic) for topic in singles}) == len({topic.name for topic in singles}) == len(TOPICS)
    assert all(name == topic.name for name, topic in TOPICS.items())


def test_every_event_has_one_topic() -> None:
    assert len({topic.event for topic in FACTS}) == len(FACTS)


@pytest.mark.parametrize("topic", TOPICS.values(), ids=TOPICS)
def test_names_fit_kafka_and_any_prefix(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z][a-z.-]*", topic.name)
    assert len("p" * 64 + topic.name) <= 249


@pytest.mark.parametrize("topic", FACTS, ids=lambda topic: topic.name)
def test_topics_of_facts_can_be_joined(topic: Topic) -> None:
    """All but the catalogue and questions, which belong to no shop: any worker may take any part of them."""
    key = {"products": "sku", "questions": "event_id"}.get(topic.name, "store_id")
    assert (topic.key, topic.partitions) == (key, STORE_PARTITIONS)
    assert topic.partitions_of(16) == 16


def test_the_contract_and_the_settings_have_the_same_default() -> None:
    assert Settings.model_fields["store_partitions"].default == STORE_PARTITIONS


@pytest.mark.parametrize("topic", FACTS, ids=lambda topic: topic.name)
def test_the_key_is_a_required_field(topic: Topic) -> None:
    assert topic.event is not None
    assert topic.event.model_fields[topic.key].is_required()


@pytest.mark.parametrize("topic", FACTS, ids=lambda topic: topic.name)
def test_dead_letters_exist_and_stay_longer(topic: Topic) -> None:
    assert topic.dead_letters == f"{topic.name}.dlq"
    dead = TOPICS[topic.dead_letters]
    assert dead.event is None
    assert dead.dead_letters is None
    assert not dead.compacted, "marks and letters have no key of their own"
    assert dead.partitions == 1, "an offset names a letter"
    assert dead.retention_ms >= topic.retention_ms
    assert int(dead.config["max.message.bytes"]) > int(topic.config["max.message.bytes"]), "the headers need room too"


def test_there_are_no_other_dead_letters() -> None:
    assert {topic.name for topic in DEAD} == {topic.dead_letters for topic in FACTS}


@pytest.mark.parametrize("topic", TOPICS.values(), ids=TOPICS)
def test_what_is_compacted_is_kept_for_ever(topic: Topic) -> None:
    policy, retention = topic.config["cleanup.policy"], int(topic.config["retention.ms"])
    assert (policy, retention) == (("compact", -1) if topic.compacted else ("delete", topic.retention_ms))
    assert retention == -1 or retention > 0
