"""From a question in plain words to a query, by rules alone.

Every word must be understood: as a name, as part of a time, as a word of the lexicon, or as one that says nothing. A question with
any other word is refused, since an answer to half of a question is a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from api.questions import times
from api.questions.lexicon import COMMANDS, LARGEST, SHORT, WEAK, Meaning, lexicon, unsupported, vocabulary
from api.questions.measures import MEASURES, SOURCES
from api.questions.names import EntityKind, Names, Words, split, stem
from api.questions.query import Dimension, Query
from api.questions.sql import QueryError, check

MOST_CHARACTERS = 300
MOST_WORDS = 60
DEFAULT_TOP = 10
_LONGEST = 8
_KINDS: tuple[EntityKind, ...] = ("category", "sku", "zone", "shop")


class NotUnderstood(ValueError):
    """The question cannot be answered; the message says why, in a sentence for who asked. ``is_final``: no model may try."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


@dataclass(frozen=True)
class Understood:
    """A query, and what was changed in the question to read it so."""

    query: Query
    corrections: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Span:
    """A run of words and what it says; ``entities`` by kind where it is a name, ``raw`` as written."""

    words: Words
    raw: tuple[str, ...]
    meaning: Meaning
    entities: dict[EntityKind, frozenset[str]] | None = None

    @property
    def is_plural(self) -> bool:
        """Whether its last word was a plural."""
        return self.raw[-1] != self.words[-1]

    @property
    def number(self) -> int | None:
        """The number that it is."""
        if len(self.raw) != 1:
            return None
        word = self.raw[0]
        return int(word) if word.isdecimal() and len(word) < 6 else times.NUMBERS.get(word)


def parse(question: str, names: Names, now: datetime) -> Understood:
    """Understand a question.

    Args:
        question: as somebody asked it.
        names: of what there is; only what the asker may know of.
        now: the moment at which it is asked, aware.

    Raises:
        NotUnderstood: with the reason.
    """
    if len(question) > MOST_CHARACTERS:
        raise NotUnderstood(f"That is longer than {MOST_CHARACTERS} characters; ask one thing at a time.")
    raw = split(question)
    if not raw or len(raw) > MOST_WORDS:
        raise NotUnderstood("Ask one question in a sentence.")
    if raw[0] in COMMANDS:
        raise NotUnderstood(
            f"“{raw[0]}” is an order; here are only answers, and nothing can be changed.", is_final=True
        )
    words, corrections = _corrected(raw, names)
    for word in words:
        if (reason := unsupported().get(stem(word))) is not None and (stem(word),) not in names.index:
            raise NotUnderstood(f"“{word}” cannot be answered: {reason}.", is_final=True)
    try:
        found, text = times.find(" ".join(words), now, ZoneInfo("UTC"))
        spans = list(_spans(text.split(), names))
        zone = _zone(spans, names)
        if zone.key != "UTC":  # today is another day there
            found, _ = times.find(" ".join(words), now, zone)
    except times.TimeError as error:
        raise NotUnderstood(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    query, notes = _Reading(spans, found, names, now, zone).query()
    return Understood(query, corrections, notes)


def _corrected(raw: Sequence[str], names: Names) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """The words with those misspelt put right: one letter off, two in long words; and what was changed."""
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    known = vocabulary() | names.vocabulary.keys()
    words: list[str] = []
    changed = []
    for word in raw:
        right = word
        # Two words written as one are found as one: "backroom", "back room".
        if stem(word) not in known and word not in known and len(word) >= 4 and word.isalpha():
            choices = names.vocabulary.keys() | SHORT if len(word) == 4 else known
            most = 1 if len(word) < 7 else 2
            near = process.extract(
                stem(word),
                sorted(choice for choice in choices if choice.isalpha() and len(choice) >= 4),
                scorer=OSA.distance,
                score_cutoff=most,
                limit=5,
            )
            close = [(match, distance) for match, distance, _ in near if len(word) > 5 or match[0] == word[0]]
            if close:
                right = min(close, key=lambda found: (found[1], found[0] not in names.vocabulary, found[0]))[0]
                changed.append((word, names.vocabulary.get(right, right)))
        words.append(right)
    return words, tuple(changed)


def _spans(words: Sequence[str], names: Names) -> Iterator[_Span]:
    """The text as the longest runs that mean something; a name wins where it is longer than what else the words say."""
    known, index = lexicon(), names.index
    place = 0
    while place < len(words):
        if words[place] == "|":
            place += 1
            continue
        stop = next((n for n in range(place, len(words)) if words[n] == "|"), len(words))
        for size in range(min(_LONGEST, stop - place), 0, -1):
            raw = tuple(words[place : place + size])
            run = tuple(map(stem, raw))
            if run in known:
                yield _Span(run, raw, known[run])
            elif run in index:
                yield _Span(run, raw, Meaning(), index[run])
            elif size == 1:
                span = _Span(run, raw, Meaning())
                if span.number is None:
                    raise NotUnderstood(_unknown(raw[0]))
                yield span
            else:
                continue
            place += size
            break


def _unknown(word: str) -> str:
    return f"“{word[:60]}” is no shop, article, zone or measure that is known here."


def _zone(spans: Sequence[_Span], names: Names) -> ZoneInfo:
    """The time zone of the shops that are named, or of all, if they share one; else UTC."""
    named = {store for span in spans if span.entities for store in span.entities.get("shop", ())}
    zones = {names.time_zones.get(store, "UTC") for store in named or names.stores}
    try:
        return ZoneInfo(zones.pop()) if len(zones) == 1 else ZoneInfo("UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


class _Reading:
    """One question on its way to a query."""

    def __init__(self, spans: Sequence[_Span], found: times.Times, names: Names, now: datetime, zone: ZoneInfo) -> None:
        self._spans = spans
        self._times = found
        self._names = names
        self._now = now
        self._zone = zone
        self._roles = {span.meaning.role for span in spans}
        self._order, self._top, self._ordered_noun = self._largest()
        self._notes: list[str] = []

    def query(self) -> tuple[Query, tuple[str, ...]]:
        measure = self._measure()
        entities = self._entities(measure)
        fields: dict[str, Any] = {"measure": measure, **entities}
        fields |= self._when(measure)
        fields |= self._shape(measure, entities)
        if measure == "gaps":
            actions = {span.meaning.action for span in self._spans} - {None}
            if len(actions) > 1:
                raise NotUnderstood(
                    "Filling, ordering and counting are three lists: ask for one, or for what to restock."
                )
            fields["action"] = next(iter(actions), None)
        try:
            query = Query(**fields)
            check(query)
        except QueryError as error:
            text = str(error)
            raise NotUnderstood(f"{text[0].upper()}{text[1:]}.") from None
        except ValueError as error:  # Pydantic's
            raise NotUnderstood("That cannot be asked so.") from error
        return query, tuple(self._notes)

    def _largest(self) -> tuple[str | None, int | None, Dimension | None]:
        """Most or least; how many; and of what."""
        orders = {span.meaning.order for span in self._spans} - {None}
        if len(orders) > 1:
            raise NotUnderstood("The most or the least? Ask for one.")
        order = next(iter(orders), None)
        top = None
        used: set[int] = set()
        for place, span in enumerate(self._spans):
            if span.meaning.order is None:
                continue
            for near in (place - 1, place + 1):
                if 0 <= near < len(self._spans) and (number := self._spans[near].number) is not None and number > 0:
                    if top is not None and near not in used:
                        raise NotUnderstood("How many of the largest? There are two numbers.")
                    top, used = number, {near}
        for place, span in enumerate(self._spans):
            if span.number is not None and place not in used and span.entities is None and span.raw != ("one",):
                raise NotUnderstood(f"What is the number {span.raw[0]}? " + _unknown(span.raw[0]))
        if top is not None and top > 1000:
            raise NotUnderstood("At most 1000 rows can be shown.")
        noun = None
        if order is not None:
            noun = next(
                (span.meaning.noun for span in self._spans if span.meaning.noun and not self._is_by(span)), None
            )
        return order, top, noun

    def _is_by(self, span: _Span) -> bool:
        place = self._spans.index(span)
        return place > 0 and self._spans[place - 1].meaning.role == "by"

    def _measure(self) -> str:
        scores: dict[str, float] = {}
        for span in self._spans:
            for name, weight in span.meaning.measures.items():
                scores[name] = scores.get(name, 0) + weight
        if "share" in self._roles:
            for name in ("conversion", "abandonment"):
                if any(name in span.meaning.measures for span in self._spans):
                    scores[name] = scores.get(name, 0) + 3
        scores = {name: score for name, score in scores.items() if score > 0}
        if "long" in self._roles:
            scores = {name: score + (MEASURES[name].unit in ("s", "min")) for name, score in scores.items()}
        nouns = {span.meaning.noun for span in self._spans} - {None}
        if not scores and self._order and nouns & {"sku", "category"}:
            scores = {"units": 1.0}  # the top ten articles are those that sell
        if not scores:
            raise NotUnderstood("What is asked for? No measure is named that is known here.")
        fitting = {name: score for name, score in scores.items() if self._fits(name)}
        if not fitting:
            best = max(scores, key=lambda name: scores[name])
            raise NotUnderstood(self._misfit(best))
        ranks = {name: place for place, name in enumerate(MEASURES)}
        best = max(fitting, key=lambda name: (round(fitting[name], 3), -ranks[name]))
        # Something else that was clearly asked for must not be dropped.
        for span in self._spans:
            strong = [name for name, weight in span.meaning.measures.items() if weight > WEAK]
            if strong and best not in span.meaning.measures:
                other = MEASURES[max(strong, key=lambda name: span.meaning.measures[name])].title
                if other != MEASURES[best].title:
                    raise NotUnderstood(f"That asks for {MEASURES[best].title} and for {other}: ask one at a time.")
        return best

    def _fits(self, name: str) -> bool:
        source = SOURCES[MEASURES[name].source]
        if (self._times.ahead_hours is not None) != (name == "stockouts"):
            return False
        for span in self._spans:
            if span.entities is not None and not self._allowed(span, name):
                return False
            noun = span.meaning.noun
            if noun and (self._is_by(span) or noun == self._ordered_noun) and noun not in source.dimensions:
                return False
        if self._times.from_hour is not None and not source.hour and source.day:
            return False
        if self._times.is_past and not source.day:
            # "What do I need to restock today?" is a question of now.
            return MEASURES[name].source == "positions" or self._is_today()
        if self._times.is_now:
            return not source.day or MEASURES[name].kind == "list"
        return True

    def _is_today(self) -> bool:
        today = self._now.astimezone(self._zone).date()
        found = self._times
        return found.from_day == found.to_day == today and found.from_hour is None and found.since is None

    def _misfit(self, name: str) -> str:
        measure = MEASURES[name]
        for span in self._spans:
            if span.entities is not None and not self._allowed(span, name):
                return f"“{' '.join(span.raw)}” does not go with {measure.title}, which is known by {', '.join(measure.dimensions)}."
        if self._times.ahead_hours is not None:
            return "Only what will run out is known ahead."
        if self._times.is_past and not measure.has_days:
            return f"{measure.title.capitalize()} is known as of now only."
        return f"{measure.title.capitalize()} cannot be asked so; it is known by {', '.join(measure.dimensions)}."

    def _allowed(self, span: _Span, name: str) -> list[EntityKind]:
        source = SOURCES[MEASURES[name].source]
        kinds = {"shop": True, "zone": bool(source.zone), "sku": bool(source.sku), "category": bool(source.sku)}
        return [kind for kind in _KINDS if kinds[kind] and kind in (span.entities or {})]

    def _entities(self, measure: str) -> dict[str, tuple[str, ...]]:
        found: dict[EntityKind, set[str]] = {kind: set() for kind in _KINDS}
        for span in self._spans:
            if span.entities is not None:
                kind = self._allowed(span, measure)[0]
                found[kind] |= span.entities[kind]
        skus, categories = found["sku"], found["category"]
        if skus and categories:
            # "Dairy milk": the milk among the dairy.
            both = {sku for sku in skus if self._names.products[sku].category in categories}
            if not both:
                raise NotUnderstood("Those articles and that category have nothing in common: ask about one of them.")
            skus, categories = both, set()
        if len(skus) > 200:
            raise NotUnderstood(f"{len(skus)} articles have that word in their name: say more of it, or a category.")
        return {
            "stores": tuple(sorted(found["shop"])),
            "skus": tuple(sorted(skus)),
            "categories": tuple(sorted(categories)),
            "zones": tuple(sorted(found["zone"])),
        }

    def _when(self, measure: str) -> dict[str, Any]:
        kind, source, found = MEASURES[measure].kind, MEASURES[measure].source, self._times
        if found.ahead_hours is not None:
            return {"ahead_hours": found.ahead_hours}
        today = self._now.astimezone(self._zone).date()
        if source == "positions" and (found.is_past or found.clock is not None):
            if found.since is not None or found.from_hour is not None:
                raise NotUnderstood("A balance is of one moment: say a day, or a day and a time.")
            day = found.to_day or today
            if found.from_day != found.to_day:
                raise NotUnderstood("A balance is of one moment: say one day, or a day and a time.")
            if found.clock is None and day == today:
                return {}
            clock = found.clock
            at = datetime.combine(day if clock else day + timedelta(days=1), clock or datetime.min.time(), self._zone)
            if at > self._now:
                raise NotUnderstood("That moment lies ahead: what was counted can be told, not what is to come.")
            return {"at": at.astimezone(UTC)}
        if not SOURCES[source].day:
            return {}
        if found.clock is not None:
            found = replace(found, from_hour=found.clock.hour, to_hour=found.clock.hour + 1)
        if found.since is not None:
            return {"since": found.since}
        days = {"from_day": found.from_day, "to_day": found.to_day}
        if found.from_day is None and (kind != "list" or measure in ("sold_out", "discrepancies")):
            days = {"from_day": today, "to_day": today}
            self._notes.append("No time was named: today.")
        if found.from_hour is not None:
            return {**days, "from_hour": found.from_hour, "to_hour": found.to_hour}
        return days

    def _shape(self, measure: str, entities: dict[str, tuple[str, ...]]) -> dict[str, Any]:
        """By what, in which order, how many."""
        source, kind = SOURCES[MEASURES[measure].source], MEASURES[measure].kind
        by: list[Dimension] = [span.meaning.noun for span in self._spans if span.meaning.noun and self._is_by(span)]
        by += [span.meaning.noun for span in self._spans if span.meaning.noun and span.raw[0] in ("daily", "hourly")]
        asked = [span for span in self._spans if span.meaning.noun and self._follows_which(span)]
        if kind == "list":
            return self._list_shape(by)
        order = self._order
        by += [span.meaning.noun for span in asked if span.meaning.noun]
        if order is not None and self._ordered_noun:
            by.append(self._ordered_noun)
        several = len(entities["stores"]) > 1 and self._named_apart("shop")
        if not by and "compare" in self._roles and not several and len(entities["skus"]) > 1:
            by = ["sku"]
        if not by and self._roles & {"where", "which"} and any(span.words in LARGEST for span in self._spans):
            order = "most"
        if not by and (
            "where" in self._roles or order is not None or "which" in self._roles or ("compare" in self._roles)
        ):
            zones = "zone" in source.dimensions and measure in ("dwell", "zone_visits") and not several
            by = [
                "zone" if zones and (entities["stores"] or "where" in self._roles) and not entities["zones"] else "shop"
            ]
        if not by and self._asks_what(measure, entities):
            by = ["sku"]
        dimensions = tuple(dict.fromkeys(by))
        if wrong := [name for name in dimensions if name not in source.dimensions]:
            raise NotUnderstood(
                f"{MEASURES[measure].title.capitalize()} cannot be told by {wrong[0]}; it is known by "
                f"{', '.join(source.dimensions)}."
            )
        if len(dimensions) > 2:
            raise NotUnderstood("By two things at most.")
        return {"by": dimensions, "order": order, "top": self._number_of_rows(asked) if order and dimensions else None}

    def _number_of_rows(self, asked: Sequence[_Span]) -> int:
        if self._top is not None:
            return self._top
        nouns = [
            span
            for span in self._spans
            if span.meaning.noun and (span.meaning.noun == self._ordered_noun or span in asked)
        ]
        return DEFAULT_TOP if any(span.is_plural for span in nouns if not self._is_by(span)) else 1

    def _list_shape(self, by: list[Dimension]) -> dict[str, Any]:
        dimensions = tuple(dict.fromkeys(by))
        if self._order and not dimensions and self._ordered_noun:
            dimensions = (self._ordered_noun,)
        if dimensions or "count" in self._roles:
            ranked = {"order": self._order, "top": self._number_of_rows([])} if self._order and dimensions else {}
            return {"by": dimensions, "count": True, **ranked}
        return {"top": self._top} if self._top else {}

    def _follows_which(self, span: _Span) -> bool:
        """Whether a noun is what "which" or "what" asks for: a word or two may stand between."""
        place = self._spans.index(span)
        before = self._spans[max(0, place - 3) : place]
        return any(other.meaning.role in ("which", "what") for other in before) and not any(
            other.entities for other in before
        )

    def _named_apart(self, kind: EntityKind) -> bool:
        return sum(1 for span in self._spans if span.entities and kind in span.entities) > 1

    def _asks_what(self, measure: str, entities: dict[str, tuple[str, ...]]) -> bool:
        first = next((span for span in self._spans), None)
        articles = entities["skus"] or entities["categories"]
        return MEASURES[measure].listed and first is not None and first.meaning.role == "what" and not articles
