"""What a record of another system is to us, as a mapping says it in YAML: each of our fields from a path, a constant or a lookup.

Paths are JMESPath (https://jmespath.org); a name that the record has as it stands, such as a CSV column with blanks, needs no
quoting. docs/connectors.md has the language.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import jmespath
import orjson
from jmespath.exceptions import JMESPathError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from producers.stock import numbers
from schemas.reading import Refusal, read_product, store_in
from schemas.topics import PRODUCTS, TOPICS

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "aisleflow:connector")
Destination = Literal["stock-movements", "transactions", "orders", "prices", "products"]
#: Of these texts a number is made, so that ``12`` and ``"12"`` name one article.
_KEPT_AS_THEY_ARE = (str, dict, list)


def _texts(table: Any) -> Any:
    """YAML reads 101 as a number, but it is a name here."""
    if not isinstance(table, dict):
        return table
    return {str(key): value if isinstance(value, (dict, list)) else str(value) for key, value in table.items()}


Lookup = Annotated[dict[str, str], BeforeValidator(_texts)]


class Strict(BaseModel):
    """A part of a configuration: what it does not know is an error, since it would be a misspelling."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _zone_exists(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone") from error
    return name


Zone = Annotated[str, BeforeValidator(_zone_exists)]


class Path:
    """A JMESPath expression, or the plain name of a field."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._compiled = jmespath.compile(text)
        except JMESPathError:
            self._compiled = None  # a column's name, such as "Item Code"

    @property
    def is_name(self) -> bool:
        """Whether it is no more than the name of a field."""
        return self._compiled is None or self._compiled.parsed["type"] == "field"

    def of(self, record: Any) -> Any:
        """What the record has there; None if nothing.

        Raises:
            ValueError: the path is neither a field of the record nor an expression that can be applied to it.
        """
        if isinstance(record, dict) and self.text in record:
            return record[self.text]
        if self._compiled is None:
            raise ValueError(f"the record has no field {self.text!r}")
        try:
            return self._compiled.search(record)
        except (JMESPathError, TypeError, ValueError) as error:  # it lets some of Python's own through
            raise ValueError(f"{self.text}: {error}") from error


class Value(Strict):
    """Where one of our fields comes from: a path (or several, joined), or a constant; then, in this order, what is done to it."""

    path: str | list[str] | None = None
    const: str | int | float | None = None
    join: str = Field(" ", description="Put between the values of several paths.")
    lookup: str | Lookup | None = Field(None, description="A table of the configuration by name, or the table itself.")
    default: str | int | float | None = Field(None, description="Where there is nothing, or the lookup knows nothing.")
    time: str | None = Field(None, description="How a time is written: iso, epoch_s, epoch_ms, or as strptime has it.")
    zone: Zone = Field("UTC", description="Of times without an offset.")
    decimal: Literal[".", ","] | None = Field(None, description="A number as people write it, with this decimal mark.")
    absolute: bool = False
    scale: Decimal | None = Field(None, description="The number is multiplied by this.")
    each: str | None = Field(None, description="A list: one object of ``fields`` for each element of this path.")
    fields: dict[str, Value] | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_text_is_a_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_origin(self) -> Value:
        if sum(origin is not None for origin in (self.path, self.const, self.each)) != 1:
            raise ValueError("needs one of path, const and each")
        if (self.each is None) != (self.fields is None):
            raise ValueError("each and fields go together")
        return self

    @cached_property
    def _paths(self) -> list[Path]:
        texts = self.path if isinstance(self.path, list) else [self.path or self.each or "@"]
        return [Path(text) for text in texts]

    def of(self, record: Any, lookups: Mapping[str, Lookup]) -> Any:
        """The value for a record; None if there is none.

        Raises:
            ValueError: what the record has cannot become one.
        """
        if self.fields is not None:
            elements = self._paths[0].of(record)
            if not isinstance(elements, list):
                raise ValueError(f"{self.each} is no list")
            return [fields_of(self.fields, element, lookups) for element in elements]
        found = self.const if self.const is not None else self._found(record)
        if found is not None and self.lookup is not None:
            table = self.lookup if isinstance(self.lookup, dict) else lookups[self.lookup]
            named = f"the lookup {self.lookup!r}" if isinstance(self.lookup, str) else "its lookup"
            if (known := table.get(str(found))) is None and self.default is None:
                raise ValueError(f"{named} does not know {str(found)[:64]!r}")
            found = known
        if found is None:
            return self.default
        if self.time is not None:
            return _time(found, self.time, self.zone)
        if self.decimal is not None or self.absolute or self.scale is not None:
            return _number(found, self.decimal, self.absolute, self.scale)
        return found

    def _found(self, record: Any) -> Any:
        values = [path.of(record) for path in self._paths]
        # Odoo writes false where a field is empty; none of our fields is a truth value.
        values = [None if value is False or value == "" else value for value in values]
        if len(values) == 1:
            return values[0]
        return None if None in values else self.join.join(map(str, values))


def fields_of(fields: Mapping[str, Value], record: Any, lookups: Mapping[str, Lookup]) -> dict[str, Any]:
    """Our fields of a record, those that it has.

    Raises:
        FieldError: one of them cannot be had.
    """
    found = {}
    for name, value in fields.items():
        try:
            one = value.of(record, lookups)
        except FieldError as error:
            raise FieldError(f"{name}.{error.field}", str(error)) from error
        except (ValueError, TypeError, ArithmeticError) as error:
            raise FieldError(name, str(error)) from error
        if one is not None:
            found[name] = one if isinstance(one, _KEPT_AS_THEY_ARE) else _text(one)
    return found


class FieldError(ValueError):
    """A field of ours that a record does not give."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def _text(value: Any) -> str:
    """Numbers as text, which every field of ours takes: ids are texts, and amounts are exact so."""
    if isinstance(value, float):
        value = Decimal(repr(value))
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _number(found: Any, decimal: str | None, absolute: bool, scale: Decimal | None) -> Decimal:
    text = _text(found).strip()
    if decimal is not None:
        cell = numbers.number(text, decimal)
        if cell.value is None:
            raise ValueError(f"{text[:64]!r} is no number: {cell.reason}")
        text = cell.value
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:64]!r} is no number") from None
    number = abs(number) if absolute else number
    return number if scale is None else number * scale


def _time(found: Any, form: str, zone: str) -> str:
    text = _text(found).strip()
    try:
        if form in ("epoch_s", "epoch_ms"):
            moment = datetime.fromtimestamp(float(text) / (1000 if form == "epoch_ms" else 1), UTC)
        else:
            moment = datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form)  # noqa: DTZ007
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text[:64]!r} is no time as {form}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Mapped:
    """One fact of ours, ready for Kafka."""

    topic: str
    key: str
    """The shop, or the article where shops share it."""
    value: bytes


class Case(Strict):
    """Fields for the records that an expression is true of."""

    when: str
    fields: dict[str, Value] = Field({})
    skip: bool = Field(False, description="Such records are none of our business.")


class Map(Strict):
    """What the records of one resource, or of one kind of file, are to us."""

    to: Destination
    identity: list[str] = Field(
        min_length=1,
        description="Paths to what makes a record one record: two with the same values are the same fact, told twice.",
    )
    when: str | None = Field(None, description="Records of which this is not true are none of our business.")
    each: str | None = Field(None, description="A fact for each element of this path; the record is its `parent`.")
    fields: dict[str, Value]
    cases: list[Case] = Field([], description="The first that holds adds its fields, or has the record skipped.")

    @cached_property
    def _compiled(self) -> tuple[list[Path], Path | None, Path | None, list[tuple[Path, Case]]]:
        return (
            [Path(text) for text in self.identity],
            Path(self.when) if self.when else None,
            Path(self.each) if self.each else None,
            [(Path(case.when), case) for case in self.cases],
        )

    def lookups_named(self) -> Iterator[str]:
        """The tables that it refers to."""
        pending = [self.fields, *(case.fields for case in self.cases)]
        while pending:
            for value in pending.pop().values():
                if isinstance(value.lookup, str):
                    yield value.lookup
                if value.fields:
                    pending.append(value.fields)

    def columns(self) -> set[str]:
        """The plain fields that every record must have, even if there is nothing in them."""
        values = [one for one in self.fields.values() if one.default is None and one.path is not None]
        paths = [
            Path(text) for one in values for text in (one.path if isinstance(one.path, list) else [one.path]) if text
        ]
        return {path.text for path in (*paths, *map(Path, self.identity)) if path.is_name}

    def facts(self, record: Any, origin: str, lookups: Mapping[str, Lookup], latest_ms: int) -> list[Mapped] | Refusal:
        """What a record says, judged by the workers' own reader: no facts, one or several, or why it cannot be taken.

        Args:
            record: as the other system gave it, of JSON's types.
            origin: the connector and resource; ids are made of it and the identity.
            latest_ms: the newest acceptable timestamp, milliseconds since 1970.
        """
        identity, when, each, _ = self._compiled
        try:
            if when is not None and not when.of(record):
                return []
            found = []
            for place, element in enumerate([record] if each is None else elements(each, record)):
                names = [path.of(element) for path in identity]
                if None in names or "" in names:
                    missing = self.identity[[name in (None, "") for name in names].index(True)]
                    return Refusal(missing, "is missing, and tells one record from another")
                fact = self._fact(element, lookups)
                if fact is None:
                    continue
                named = orjson.dumps([*names, *([place] if each is not None else [])], default=str).decode()
                made = self._with_id(fact, f"{origin}\n{named}")
                value = orjson.dumps(made)
                key = _key_of(self.to, value, latest_ms)
                if isinstance(key, Refusal):
                    return key
                found.append(Mapped(self.to, key, value))
        except FieldError as error:
            return Refusal(error.field, str(error))
        except (ValueError, TypeError) as error:  # TypeError: a number beyond 64 bits within a value
            return Refusal("", str(error))
        return found

    def _fact(self, element: Any, lookups: Mapping[str, Lookup]) -> dict[str, Any] | None:
        further: dict[str, Value] = {}
        for when, case in self._compiled[3]:
            if when.of(element):
                if case.skip:
                    return None
                further = case.fields
                break
        return fields_of({**self.fields, **further}, element, lookups)

    def _with_id(self, fact: dict[str, Any], name: str) -> dict[str, Any]:
        event = TOPICS[self.to].event
        if event is not None and "event_id" in event.model_fields:
            return {"event_id": str(uuid.uuid5(NAMESPACE, name)), **fact}
        return fact


def _key_of(topic: str, value: bytes, latest_ms: int) -> str | Refusal:
    """The key of a fact, as the workers' own reader sees it, or why that refuses it."""
    if topic != PRODUCTS.name:
        return store_in(topic, value, latest_ms)
    found = read_product(value, latest_ms)
    return found if isinstance(found, Refusal) else found.sku


def elements(each: Path, record: Any) -> list[Any]:
    """The elements of a list in a record, each with the record as its ``parent``.

    Raises:
        FieldError: there is something else.
    """
    found = each.of(record)
    if found is None:
        return []
    if not isinstance(found, list):
        raise FieldError(each.text, "is no list")
    return [{**(one if isinstance(one, dict) else {"value": one}), "parent": record} for one in found]
