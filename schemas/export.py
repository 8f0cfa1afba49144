"""The contracts for programs that are not ours: JSON Schema of every event, and an AsyncAPI 3.0 document of every
topic.

``aisleflow contracts export`` writes them to ``schemas/exported``. A version of a schema that a later one replaces
stays in ``exported/history/EVENT.N.json``, so that ``schemas.compatibility`` can hold the models to everything ever
published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from schemas.events import Event
from schemas.topics import DAY_MS, TOPICS, Topic

EXPORTED = Path(__file__).parent / "exported"
ASYNCAPI = "asyncapi.json"
TABLE_BEGIN, TABLE_END = "<!-- topics: written by `aisleflow contracts export` -->\n", "<!-- topics: end -->\n"

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
JSON_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
KAFKA_CHANNEL_BINDING = "0.5.0"
KAFKA_MESSAGE_BINDING = "0.5.0"
ANNOTATIONS = frozenset({"$schema", "$id", "title", "description", "examples", "deprecated"})
"""Keywords that say nothing about which values are valid."""

DEAD_LETTER_HEADERS = {
    "topic": "Topic of the record that could not be read.",
    "partition": "Its partition.",
    "offset": "Its offset there.",
    "stage": "The step that refused it.",
    "field": "The field at fault; empty for the whole record.",
    "error": "Why it was refused, in words.",
}

Schema = dict[str, Any]


class _WithoutFieldTitles(GenerateJsonSchema):
    """Pydantic's titles of fields repeat their names."""

    def field_title_should_be_set(self, schema: CoreSchema | Any) -> bool:
        return False


def events() -> dict[str, type[Event]]:
    """The events of the topic registry by their name."""
    return {topic.event.__name__: topic.event for topic in TOPICS.values() if topic.event is not None}


def json_schema(event: type[Event]) -> Schema:
    """The JSON Schema (draft 2020-12) of what a sender may publish."""
    generated = event.model_json_schema(mode="validation", schema_generator=_WithoutFieldTitles)
    return {"$schema": JSON_SCHEMA_DIALECT, "$id": f"urn:aisleflow:event:{event.__name__}", **generated}


def meaning(schema: Any) -> Any:
    """A schema without its annotations: two of one meaning take the same values."""
    if isinstance(schema, list):
        return [meaning(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for keyword, value in schema.items():
        if keyword in ("properties", "$defs"):  # their keys are names, which may well be "title"
            kept[keyword] = {name: meaning(part) for name, part in value.items()}
        elif keyword not in ANNOTATIONS:
            kept[keyword] = meaning(value)
    return kept


def asyncapi(version: str) -> Schema:
    """The AsyncAPI 3.0 document: a channel per topic, with what Kafka needs to know of it."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:aisleflow",
        "info": {
            "title": "Aisleflow's topics",
            "version": version,
            "description": "Facts from shops and what follows from them, on Apache Kafka. The minor version counts the schemas' "
            "changes, which are all compatible. An installation may put a prefix before every topic's name.",
            "license": {"name": "AGPL-3.0-only"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": dict(operation for topic in TOPICS.values() for operation in _operations(topic)),
        "components": {
            "messages": {
                **{_message_name(topic): _message(topic) for topic in TOPICS.values() if topic.event is not None},
                "DeadLetter": _dead_letter(),
                "DeadLetterMark": _dead_letter_mark(),
            }
        },
    }


def _channel(topic: Topic) -> Schema:
    names = [_message_name(topic)] if topic.event is not None else ["DeadLetter", "DeadLetterMark"]
    channel: Schema = {
        "address": topic.name,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [topic.config["cleanup.policy"]],
                    "retention.ms": int(topic.config["retention.ms"]),
                    "max.message.bytes": int(topic.config["max.message.bytes"]),
                    "message.timestamp.type": topic.config["message.timestamp.type"],
                },
                "bindingVersion": KAFKA_CHANNEL_BINDING,
            }
        },
    }
    if topic.dead_letters is not None:
        channel["x-dead-letters"] = {"$ref": f"#/channels/{topic.dead_letters}"}
    return channel


def _operations(topic: Topic) -> Iterator[tuple[str, Schema]]:
    """Anybody with the right to may publish to a topic, and read it."""
    words = "".join(part.capitalize() for part in topic.name.replace(".dlq", "-dead-letters").split("-"))
    yield f"send{words}", {"action": "send", "channel": {"$ref": f"#/channels/{topic.name}"}}
    yield f"receive{words}", {"action": "receive", "channel": {"$ref": f"#/channels/{topic.name}"}}


def _message_name(topic: Topic) -> str:
    return topic.event.__name__ if topic.event is not None else "DeadLetter"


def _message(topic: Topic) -> Schema:
    name = _message_name(topic)
    return {
        "name": name,
        "summary": (topic.event.__doc__ or "").strip().splitlines()[0] if topic.event else "",
        "contentType": "application/json",
        "payload": {"schemaFormat": JSON_SCHEMA_FORMAT, "schema": {"$ref": f"./{name}.json"}},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"The event's {topic.key}, as UTF-8.", "x-field": topic.key},
                "bindingVersion": KAFKA_MESSAGE_BINDING,
            }
        },
    }


def _dead_letter() -> Schema:
    properties = {name: {"type": "string", "description": text} for name, text in DEAD_LETTER_HEADERS.items()}
    return {
        "name": "DeadLetter",
        "summary": "A record that could not be read, with its original key and bytes.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "properties": properties, "required": list(properties)},
    }


def _dead_letter_mark() -> Schema:
    handled = {"type": "string", "enum": ["replayed", "dropped"], "description": "What was done with the letters."}
    span = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    return {
        "name": "DeadLetterMark",
        "summary": "Says which letters before it need no more attention, as [first, last] offsets of its own partition.",
        "contentType": "application/json",
        "headers": {"type": "object", "properties": {"handled": handled}, "required": ["handled"]},
        "payload": {
            "type": "object",
            "properties": {"offsets": {"type": "array", "items": span}},
            "required": ["offsets"],
        },
    }


def topics_table() -> str:
    """The registry as a Markdown table."""
    rows = [
        (f"`{topic.name}`", topic.description, f"`{topic.key}`", topic.partitions, _kept(topic))
        for topic in TOPICS.values()
        if topic.event is not None
    ]
    lines = ["| topic | what | key | partitions | kept |", "| --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    dead = next(topic for topic in TOPICS.values() if topic.event is None)
    lines += ["", f"Each has dead letters in `TOPIC.dlq`: {dead.partitions} partition, {_kept(dead)}."]
    return "\n".join(lines) + "\n"


def _kept(topic: Topic) -> str:
    return f"the newest per `{topic.key}`" if topic.compacted else f"{topic.retention_ms // DAY_MS} days"


def with_table(page: str) -> str:
    """A Markdown page with the table between its two marks brought up to date.

    Raises:
        ValueError: the page lacks the marks.
    """
    before, begin, rest = page.partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not end:
        raise ValueError(f"has no {TABLE_BEGIN.strip()} ... {TABLE_END.strip()}")
    return f"{before}{begin}\n{topics_table()}\n{end}{after}"


def documents(folder: Path = EXPORTED) -> dict[str, str]:
    """What the folder should hold, by path in it: the models' schemas, those they replace, and the AsyncAPI
    document.
    """
    wanted = {}
    superseded = len(list((folder / "history").glob("*.json")))
    for name, event in events().items():
        schema = json_schema(event)
        wanted[f"{name}.json"] = _text(schema)
        current = folder / f"{name}.json"
        if current.exists() and meaning(before := json.loads(current.read_bytes())) != meaning(schema):
            number = len(list((folder / "history").glob(f"{name}.*.json"))) + 1
            wanted[f"history/{name}.{number}.json"] = _text(before)
            superseded += 1
    wanted[ASYNCAPI] = _text(asyncapi(f"1.{superseded}.0"))
    return wanted


def _text(document: Schema) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def stale(folder: Path = EXPORTED) -> list[str]:
    """The files that are missing or other than the models say, and those that nothing exports any more."""
    wanted = documents(folder)
    there = {path.name for path in folder.glob("*.json")}
    changed = [name for name, text in wanted.items() if not _holds(folder / name, text)]
    return changed + sorted(there - wanted.keys())


def write(folder: Path = EXPORTED) -> list[str]:
    """Bring the folder up to date; the paths that were written, relative to it."""
    wanted = documents(folder)
    changed = {name: text for name, text in wanted.items() if not _holds(folder / name, text)}
    for name, text in changed.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return list(changed)


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text
