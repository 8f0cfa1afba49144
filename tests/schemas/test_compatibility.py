"""What a change of a schema does to those who send and read: every way to break them is told, and no other change
is.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from schemas.compatibility import compare, compare_all, compare_channels
from schemas.export import asyncapi, events, json_schema

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NULL: Schema = {"type": "null"}


def optional(*types: Schema) -> Schema:
    return {"anyOf": [*types, NULL]}


def record(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


BREAKS = {
    "field removed": (record(a=TEXT, b=TEXT), record(a=TEXT), "E.b", "the field was removed"),
    "field renamed": (record(a=TEXT), record(b=TEXT), "E.a", "the field was removed"),
    "new required field": (record(a=TEXT), record(("b",), a=TEXT, b=TEXT), "E.b", "a new field is required"),
    "became required": (record(a=TEXT), record(("a",), a=TEXT), "E.a", "became required"),
    "became optional": (record(("a",), a=TEXT), record(a=TEXT), "E.a", "became optional"),
    "type changed": (record(a=TEXT), record(a=WHOLE), "E.a", "no longer takes string"),
    "type narrowed": (record(a={"type": "number"}), record(a=WHOLE), "E.a", "no longer takes number"),
    "type widened": (record(a=WHOLE), record(a={"type": "number"}), "E.a", "may now also be number"),
    "null refused": (record(a=optional(TEXT)), record(a=TEXT), "E.a", "no longer takes null"),
    "null allowed": (record(a=TEXT), record(a=optional(TEXT)), "E.a", "may now also be null"),
    "anything narrowed": (record(a={}), record(a=TEXT), "E.a", "no longer takes any JSON"),
    "text became a list": (
        record(a={"type": ["string", "null"]}),
        record(a=optional({"type": "array"})),
        "E.a",
        "takes string",
    ),
    "enum value removed": (record(a={"enum": ["x", "y"]}), record(a={"enum": ["x"]}), "E.a", "no longer takes 'y'"),
    "const changed": (record(a={"const": "x"}), record(a={"const": "y"}), "E.a", "no longer takes 'x'"),
    "text became an enum": (record(a=TEXT), record(a={**TEXT, "enum": ["x"]}), "E.a", "only takes 'x' now"),
    "maximum lowered": (
        record(a={**WHOLE, "maximum": 9}),
        record(a={**WHOLE, "maximum": 8}),
        "E.a",
        "tightened from 9 to 8",
    ),
    "maximum lowered to 0": (
        record(a={**WHOLE, "maximum": 9}),
        record(a={**WHOLE, "maximum": 0}),
        "E.a",
        "tightened from 9 to 0",
    ),
    "minimum raised": (
        record(a={**WHOLE, "minimum": 0}),
        record(a={**WHOLE, "minimum": 1}),
        "E.a",
        "tightened from 0 to 1",
    ),
    "limit is new": (record(a=WHOLE), record(a={**WHOLE, "exclusiveMinimum": 0}), "E.a", "exclusiveMinimum 0 is new"),
    "shorter text": (
        record(a={**TEXT, "maxLength": 128}),
        record(a={**TEXT, "maxLength": 64}),
        "E.a",
        "tightened from 128 to 64",
    ),
    "longer text": (record(a=TEXT), record(a={**TEXT, "minLength": 1}), "E.a", "minLength 1 is new"),
    "fewer items": (
        record(a={"type": "array", "maxItems": 9}),
        record(a={"type": "array", "maxItems": 5}),
        "E.a",
        "tightened",
    ),
    "pattern added": (record(a=TEXT), record(a={**TEXT, "pattern": "^x$"}), "E.a", "pattern ^x$ is new"),
    "pattern changed": (
        record(a={**TEXT, "pattern": "^y$"}),
        record(a={**TEXT, "pattern": "^x$"}),
        "E.a",
        "replaces ^y$",
    ),
    "format added": (record(a=TEXT), record(a={**TEXT, "format": "uuid"}), "E.a", "format uuid is new"),
    "default changed": (
        record(a={**WHOLE, "default": 0}),
        record(a={**WHOLE, "default": 1}),
        "E.a",
        "the default changed",
    ),
    "default gone": (record(a={**WHOLE, "default": 0}), record(a=WHOLE), "E.a", "the default changed"),
    "items narrowed": (
        record(a={"type": "array", "items": TEXT}),
        record(a={"type": "array", "items": WHOLE}),
        "E.a[]",
        "no longer takes string",
    ),
    "inside a list of objects": (
        record(lines={"type": "array", "items": record(sku=TEXT)}),
        record(lines={"type": "array", "items": record()}),
        "E.lines[].sku",
        "the field was removed",
    ),
    "inside an optional object": (
        record(a=optional(record(b={**WHOLE, "maximum": 9}))),
        record(a=optional(record(b={**WHOLE, "maximum": 8}))),
        "E.a.b",
        "tightened from 9 to 8",
    ),
    "inside a definition": (
        {**record(a={"$ref": "#/$defs/A"}), "$defs": {"A": record(b=TEXT)}},
        {**record(a={"$ref": "#/$defs/A"}), "$defs": {"A": record(b=WHOLE)}},
        "E.a.b",
        "no longer takes string",
    ),
    "inside a map": (
        {"type": "object", "additionalProperties": WHOLE},
        {"type": "object", "additionalProperties": TEXT},
        "E{}",
        "no longer takes integer",
    ),
    "keys of a map": (
        {"type": "object", "propertyNames": {"enum": ["mon", "tue"]}},
        {"type": "object", "propertyNames": {"enum": ["mon"]}},
        "E{name}",
        "no longer takes 'tue'",
    ),
    "map narrowed": (
        {"type": "object"},
        {"type": "object", "additionalProperties": WHOLE},
        "E{}",
        "no longer takes any JSON",
    ),
    "unknown fields refused": (
        record(a=TEXT),
        {**record(a=TEXT), "additionalProperties": False},
        "E",
        "unknown fields",
    ),
    "a rule over fields": (record(a=TEXT), {**record(a=TEXT), "then": {"required": ["a"]}}, "E", "'then' changed"),
}

NOTES = {
    "enum value added": (record(a={"enum": ["x"]}), record(a={"enum": ["x", "y"]}), "E.a", "takes 'y' too"),
    "enum given up": (record(a={**TEXT, "enum": ["x"]}), record(a=TEXT), "E.a", "takes any value"),
    "maximum raised": (
        record(a={**WHOLE, "maximum": 8}),
        record(a={**WHOLE, "maximum": 9}),
        "E.a",
        "widened from 8 to 9",
    ),
    "minimum lowered to 0": (
        record(a={**WHOLE, "minimum": 1}),
        record(a={**WHOLE, "minimum": 0}),
        "E.a",
        "widened from 1 to 0",
    ),
    "limit given up": (record(a={**WHOLE, "maximum": 8}), record(a=WHOLE), "E.a", "widened from 8 to none"),
    "pattern given up": (record(a={**TEXT, "pattern": "^x$"}), record(a=TEXT), "E.a", "was given up"),
    "unknown fields taken": ({**record(), "additionalProperties": False}, record(), "E", "now takes unknown fields"),
    "a free name given a meaning": (
        {**record(), "additionalProperties": {}},
        {**record(a=TEXT), "additionalProperties": {}},
        "E.a",
        "senders may use freely",
    ),
}

SAFE = {
    "nothing": (record(a=TEXT), record(a=TEXT)),
    "new optional field": (record(a=TEXT), record(a=TEXT, b=optional(WHOLE))),
    "other words": (record(a=TEXT), record(a={**TEXT, "description": "New words.", "title": "A"})),
    "other order": (record(a=optional(TEXT, WHOLE), b=TEXT), record(b=TEXT, a=optional(WHOLE, TEXT))),
    "moved to a definition": (
        record(a=record(b=TEXT)),
        {**record(a={"$ref": "#/$defs/A"}), "$defs": {"A": record(b=TEXT)}},
    ),
    "type list for anyOf": (record(a={"type": ["string", "null"]}), record(a=optional(TEXT))),
    "const for an enum of one": (record(a={"const": "x"}), record(a={"enum": ["x"]})),
    "a default where there was none": (record(a=WHOLE), record(a={**WHOLE, "default": 0})),
    "a definition of itself": (
        {"$ref": "#/$defs/Tree", "$defs": {"Tree": record(a={"$ref": "#/$defs/Tree"})}},
        {"$ref": "#/$defs/Tree", "$defs": {"Tree": record(a={"$ref": "#/$defs/Tree"}, b=TEXT)}},
    ),
}


@pytest.mark.parametrize(("old", "new", "place", "problem"), BREAKS.values(), ids=BREAKS)
def test_what_breaks(old: Schema, new: Schema, place: str, problem: str) -> None:
    broken = [finding for finding in compare("E", old, new) if finding.breaks]
    assert any(finding.place == place and problem in finding.problem and finding.advice for finding in broken), broken


@pytest.mark.parametrize(("old", "new", "place", "problem"), NOTES.values(), ids=NOTES)
def test_what_readers_must_know_first(old: Schema, new: Schema, place: str, problem: str) -> None:
    (finding,) = compare("E", old, new)
    assert not finding.breaks
    assert finding.place == place
    assert problem in finding.problem


@pytest.mark.parametrize(("old", "new"), SAFE.values(), ids=SAFE)
def test_what_is_safe(old: Schema, new: Schema) -> None:
    assert compare("E", old, new) == []


def _drop_metadata_field(schema: Schema) -> None:
    del schema["$defs"]["Metadata"]["properties"]["sku_zone"]


def _drop_event_type(schema: Schema) -> None:
    schema["properties"]["event_type"]["enum"].remove("REENTRY")


def _halve_names(schema: Schema) -> None:
    schema["properties"]["zone_id"]["anyOf"][0]["maxLength"] = 64


def _require_dwell(schema: Schema) -> None:
    schema["required"].append("dwell_ms")


def _forget_that_zones_are_named(schema: Schema) -> None:
    del schema["then"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (_drop_metadata_field, "VisitEvent.metadata.sku_zone"),
        (_drop_event_type, "VisitEvent.event_type"),
        (_halve_names, "VisitEvent.zone_id"),
        (_require_dwell, "VisitEvent.dwell_ms"),
        (_forget_that_zones_are_named, "VisitEvent"),
    ],
)
def test_bad_changes_of_a_real_event(change: Callable[[Schema], None], place: str) -> None:
    old = json_schema(events()["VisitEvent"])
    new = copy.deepcopy(old)
    change(new)
    assert [finding.place for finding in compare("VisitEvent", old, new) if finding.breaks] == [place]


def test_every_version_counts_not_only_the_last() -> None:
    """a: taken by the first version, gone in the second, so that the third may differ from the second but not from the
    first.
    """
    first, second, third = record(a=TEXT, b=TEXT), record(b=TEXT), record(a=WHOLE, b=TEXT)
    assert compare_all({"E": [second]}, {"E": third}) == []
    (was, now) = compare_all({"E": [first, second]}, {"E": third})
    assert (was.place, now.place) == ("E.a", "E.a")


def test_an_event_that_is_gone() -> None:
    (finding,) = compare_all({"E": [record(a=TEXT)]}, {})
    assert finding.breaks
    assert finding.problem == "the event was removed"


def _fewer_partitions(channels: Schema) -> None:
    channels["visit-events"]["bindings"]["kafka"]["partitions"] = 4


def _compact(channels: Schema) -> None:
    channels["visit-events"]["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] = ["compact"]


def _no_dead_letters(channels: Schema) -> None:
    del channels["visit-events"]["x-dead-letters"]


def _remove(channels: Schema) -> None:
    del channels["visit-events"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_fewer_partitions, "its partitions changed from 8 to 4"),
        (_compact, "its cleanup policy changed"),
        (_no_dead_letters, "its dead letters changed"),
        (_remove, "the topic was removed"),
    ],
)
def test_bad_changes_of_a_topic(change: Callable[[Schema], None], problem: str) -> None:
    old = asyncapi("1.0.0")
    new = copy.deepcopy(old)
    change(new["channels"])
    (finding,) = compare_channels(old, new)
    assert finding.place == "visit-events"
    assert problem in finding.problem


def test_another_key_moves_every_record() -> None:
    old = asyncapi("1.0.0")
    new = copy.deepcopy(old)
    new["components"]["messages"]["Transaction"]["bindings"]["kafka"]["key"]["x-field"] = "transaction_id"
    (finding,) = compare_channels(old, new)
    assert finding.problem == "its key changed from ['store_id'] to ['transaction_id']"


def test_more_topics_break_nothing() -> None:
    old = asyncapi("1.0.0")
    new = copy.deepcopy(old)
    new["channels"]["more"] = new["channels"]["alerts"]
    assert compare_channels(old, new) == []
