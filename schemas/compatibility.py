"""Whether the models can stand beside every schema ever published: full, transitive compatibility of JSON Schemas.

Both directions count. *Backward*: what an old sender may publish, the new reader takes, and it means the same.
*Forward*: what an old reader relies on, the new sender still gives: no field vanishes, becomes optional or takes
another type. Two kinds of growth are allowed although an old reader refuses the new values: further values of an
enumeration, and wider limits. They are notes, which say to update readers before senders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.export import ANNOTATIONS, Schema

_JUDGED = frozenset(
    {"type", "enum", "const", "anyOf", "$ref", "$defs", "default", "pattern", "format", "items"}
) | frozenset({"properties", "required", "additionalProperties", "propertyNames"})
# keyword: +1 if a larger number lets more pass, -1 if a smaller one does
_LIMITS = {
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), 1),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), -1),
}
_ABSENT = object()


@dataclass(frozen=True)
class Finding:
    """One difference: where, what, and what to do. A note (``breaks`` false) is allowed growth that readers must know
    first.
    """

    place: str
    problem: str
    advice: str
    breaks: bool = True

    def __str__(self) -> str:
        return f"{'BREAKS' if self.breaks else 'note'}  {self.place}: {self.problem}. {self.advice}"


_READERS_FIRST = "Allowed: update every reader before any sender uses it."


def compare(name: str, old: Schema, new: Schema) -> list[Finding]:
    """What changed between two JSON Schemas of one event and matters to senders or readers."""
    return list(_Comparison(old, new).schemas(name, old, new, ()))


def compare_all(published: Mapping[str, Sequence[Schema]], current: Mapping[str, Schema]) -> list[Finding]:
    """Every event against all its published versions; a finding that several versions give is told once."""
    findings: dict[Finding, None] = {}
    for name, versions in published.items():
        if name not in current:
            advice = "Bring the model and its topic back; events that nobody sends cost nothing."
            findings[Finding(name, "the event was removed", advice)] = None
            continue
        for version in versions:
            findings |= dict.fromkeys(compare(name, version, current[name]))
    return list(findings)


def compare_channels(old: Schema, new: Schema) -> list[Finding]:
    """What changed between two AsyncAPI documents in the topics: name, key, partitions and compaction stay."""
    findings = []
    for name, before in old["channels"].items():
        if name not in new["channels"]:
            findings.append(
                Finding(name, "the topic was removed", "Bring it back: its records and readers are still there.")
            )
            continue
        was, now = _traits(old, before), _traits(new, new["channels"][name])
        findings += [
            Finding(
                name,
                f"its {trait} changed from {was[trait]} to {now[trait]}",
                "Make a new topic instead, and move readers to it.",
            )
            for trait in was
            if was[trait] != now[trait]
        ]
    return findings


def _traits(document: Schema, channel: Schema) -> dict[str, Any]:
    kafka = channel["bindings"]["kafka"]
    messages = [document["components"]["messages"][name] for name in channel["messages"]]
    return {
        "partitions": kafka["partitions"],
        "cleanup policy": kafka["topicConfiguration"]["cleanup.policy"],
        "key": [message.get("bindings", {}).get("kafka", {}).get("key", {}).get("x-field") for message in messages],
        "event": list(channel["messages"]),
        "dead letters": channel.get("x-dead-letters", {}).get("$ref"),
    }


class _Comparison:
    """Two documents, so that references find their definitions."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old, new

    def schemas(self, place: str, old: Schema, new: Schema, above: tuple[tuple[int, int], ...]) -> Iterator[Finding]:
        """Compare two schemas of one place, whatever alternatives each has."""
        if (id(old), id(new)) in above:  # a definition that refers to itself
            return
        above = (*above, (id(old), id(new)))
        if "default" in old and old["default"] != new.get("default", _ABSENT):
            advice = f"Keep {old['default']!r}: records without the field would mean something else."
            yield Finding(place, "the default changed", advice)
        olds, news = list(_alternatives(old, self._old)), list(_alternatives(new, self._new))
        for before in olds:
            judged = [list(self._alternative(place, before, after, above)) for after in news if _takes(after, before)]
            if judged:
                yield from min(judged, key=lambda found: (sum(finding.breaks for finding in found), len(found)))
            else:
                advice = "Take it on; if it must go, publish a new event under a new name."
                yield Finding(place, f"no longer takes {_type(before)}", advice)
        for after in news:
            if not any(_takes(before, after) for before in olds):
                advice = "Readers of today fail on it: add an optional field of the new type instead."
                yield Finding(place, f"may now also be {_type(after)}", advice)

    def _alternative(
        self, place: str, old: Schema, new: Schema, above: tuple[tuple[int, int], ...]
    ) -> Iterator[Finding]:
        yield from _values(place, old, new)
        yield from _limits(place, old, new)
        yield from _texts(place, old, new)
        yield from self._objects(place, old, new, above)
        if "items" in old or "items" in new:
            yield from self.schemas(f"{place}[]", old.get("items", {}), new.get("items", {}), above)
        for keyword in sorted((old.keys() | new.keys()) - _JUDGED - ANNOTATIONS - _LIMITS.keys()):
            if old.get(keyword, _ABSENT) != new.get(keyword, _ABSENT):
                yield Finding(place, f"{keyword!r} changed, which this check cannot judge", "Leave it as it was.")

    def _objects(self, place: str, old: Schema, new: Schema, above: tuple[tuple[int, int], ...]) -> Iterator[Finding]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed, needs = set(old.get("required", ())), set(new.get("required", ()))
        for name in before.keys() - after.keys():
            yield Finding(
                f"{place}.{name}", "the field was removed", "Keep it; mark it deprecated if nobody should use it."
            )
        for name in after.keys() - before.keys():
            if name in needs:
                yield Finding(
                    f"{place}.{name}", "a new field is required", "Give it a default that old records can have."
                )
            elif old.get("additionalProperties", False) is not False:
                advice = "Make sure that no sender uses the name for something else already."
                yield Finding(
                    f"{place}.{name}", "a name that senders may use freely has a meaning now", advice, breaks=False
                )
        for name in before.keys() & after.keys():
            if name in needs - needed:
                yield Finding(f"{place}.{name}", "became required", "Keep it optional: old records lack it.")
            if name in needed - needs:
                yield Finding(
                    f"{place}.{name}", "became optional", "Keep it required: readers of today fail without it."
                )
            yield from self.schemas(f"{place}.{name}", before[name], after[name], above)
        for keyword, where in (("additionalProperties", "{}"), ("propertyNames", "{name}")):
            free, bound = old.get(keyword, True), new.get(keyword, True)
            if bound is False and free is not False:
                yield Finding(place, "no longer takes unknown fields", "Let them pass: old records may carry some.")
            elif free is False and bound is not False:
                yield Finding(place, "now takes unknown fields", _READERS_FIRST, breaks=False)
            elif free is not False and (keyword in old or keyword in new):
                yield from self.schemas(f"{place}{where}", _as_object(free), _as_object(bound), above)


def _alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The schema as a list of schemas of one type each; one without a type takes anything."""
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        yield from _alternatives(target, root)
    elif "anyOf" in schema:
        for option in schema["anyOf"]:
            yield from _alternatives(option, root)
    elif isinstance(schema.get("type"), list):
        yield from ({**schema, "type": name} for name in schema["type"])
    else:
        yield schema


def _type(schema: Schema) -> str:
    return str(schema.get("type", "any JSON"))


def _takes(wider: Schema, narrower: Schema) -> bool:
    """Whether the first's type holds every value of the second's."""
    one, other = wider.get("type"), narrower.get("type")
    return one is None or one == other or (one == "number" and other == "integer")


def _as_object(schema: Schema | bool) -> Schema:
    return schema if isinstance(schema, dict) else {}


def _listed(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _values(place: str, old: Schema, new: Schema) -> Iterator[Finding]:
    before, after = _listed(old), _listed(new)
    if before is None and after is not None:
        yield Finding(place, f"only takes {_these(after)} now", "Let every value pass as before.")
    elif before is not None and after is None:
        yield Finding(place, "takes any value now, not only a listed one", _READERS_FIRST, breaks=False)
    elif before is not None and after is not None:
        if gone := [value for value in before if value not in after]:
            yield Finding(place, f"no longer takes {_these(gone)}", "Keep the value: it is in records that exist.")
        if added := [value for value in after if value not in before]:
            yield Finding(place, f"takes {_these(added)} too", _READERS_FIRST, breaks=False)


def _these(values: Iterable[Any]) -> str:
    return ", ".join(repr(value) for value in values)


def _limits(place: str, old: Schema, new: Schema) -> Iterator[Finding]:
    for keyword, direction in _LIMITS.items():
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        if after is not None and (before is None or (after - before) * direction < 0):
            change = (
                f"{keyword} {after} is new" if before is None else f"{keyword} was tightened from {before} to {after}"
            )
            yield Finding(place, change, "Old records may go beyond it: leave the limit as it was.")
        else:
            yield Finding(
                place,
                f"{keyword} was widened from {before} to {'none' if after is None else after}",
                _READERS_FIRST,
                breaks=False,
            )


def _texts(place: str, old: Schema, new: Schema) -> Iterator[Finding]:
    for keyword in ("pattern", "format"):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        if after is None:
            yield Finding(place, f"{keyword} {before} was given up", _READERS_FIRST, breaks=False)
        else:
            change = "is new" if before is None else f"replaces {before}"
            yield Finding(place, f"{keyword} {after} {change}", "Old records may not match it: leave it as it was.")
