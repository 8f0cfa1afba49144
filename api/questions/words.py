"""A query in a sentence, and questions that are near one which could not be answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from api.questions.measures import MEASURES, Measure
from api.questions.names import Names
from api.questions.query import Query
from api.questions.times import WEEKDAYS

NEAR = 4
_BY = {"sku": "article", "category": "category"}
_ACTIONS = {"FILL_SHELF": "shelves to fill from the back", "ORDER": "articles to order", "COUNT": "articles to count"}
MOST_NAMED = 5


def sentence(query: Query, names: Names, now: datetime) -> str:
    """What the query asks, in one sentence made from the query alone."""
    measure = MEASURES[query.measure]
    title = _ACTIONS[query.action] if query.action else measure.title
    words = [f"How many: {title}" if query.count else title[0].upper() + title[1:]]
    if query.by:
        words.append("by " + " and ".join(_BY.get(name, name) for name in query.by))
    if what := _listed([*(names.product(sku) for sku in query.skus), *query.categories]):
        words.append(f"of {what}")
    if query.zones:
        words.append(f"in the zone {_listed([names.zones.get(zone) or zone for zone in query.zones])}")
    words.append(f"in {_listed([names.shop(store) for store in query.stores])}" if query.stores else "in all shops")
    text = ", ".join(words)
    if when := window(query, now):
        text += f", {when}"
    if query.order:
        which = "largest" if query.order == "most" else "smallest"
        text += f"; the {which}" if query.top == 1 else f"; the {query.top or ''} {which}".replace("  ", " ")
    elif query.top:
        text += f"; the first {query.top}"
    return text + "."


def window(query: Query, now: datetime) -> str:
    """The time that a query is about, in words; empty where it is about now, whatever the time."""
    parts = []
    if query.from_day is not None and query.to_day is not None:
        first, last = query.from_day, query.to_day
        parts.append(f"on {_day(first)}" if first == last else f"from {_day(first)} to {_day(last)}")
    if query.from_hour is not None:
        parts.append(f"between {query.from_hour}:00 and {query.to_hour}:00")
    if query.since is not None:
        parts.append(f"since {query.since.astimezone(UTC):%d %B %Y %H:%M} UTC")
    if query.at is not None:
        parts.append(f"as of {query.at.astimezone(UTC):%d %B %Y %H:%M} UTC")
    if query.ahead_hours is not None:
        parts.append(f"within {query.ahead_hours} hours from now")
    if not parts and not MEASURES[query.measure].has_days:
        parts.append("now")
    return " ".join(parts)


def _day(day: date) -> str:
    return f"{WEEKDAYS[day.weekday()].capitalize()} {day.day} {day:%B %Y}"


def _listed(words: Sequence[str]) -> str:
    shown = [*words[:MOST_NAMED], *([f"{len(words) - MOST_NAMED} more"] if len(words) > MOST_NAMED else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def examples(names: Names) -> list[str]:
    """Questions that can be answered here, with names that there are; those of each measure after one another."""
    return [example for measure in MEASURES.values() for example in examples_of(measure, names)]


def examples_of(measure: Measure, names: Names) -> list[str]:
    """Questions that a measure answers here; none where nothing has such a name."""
    shop = next((name for name in names.stores.values() if name), next(iter(names.stores), ""))
    product = next((product for product in names.products.values() if product.name), None)
    sku = product.sku if product else next(iter(names.products), "")
    category = names.categories[0] if names.categories else ""
    known = {"shop": shop, "sku": sku, "category": category}
    return [
        example.format(**known)
        for example in measure.examples
        if all(known[name] for name in known if f"{{{name}}}" in example)
    ]


def near(question: str, names: Names) -> list[str]:
    """The questions most like this one that can be answered."""
    from rapidfuzz import fuzz, process

    known = examples(names)
    found = process.extract(
        question.lower()[:300], [text.lower() for text in known], scorer=fuzz.token_set_ratio, limit=NEAR
    )
    return [known[place] for _, _, place in found]


_HEADINGS = {"store_id": "shop id", "sku": "SKU", "sales_a_day": "sold a day", "zone_id": "zone"}
_DO = {"FILL_SHELF": "fill the shelf", "ORDER": "order", "COUNT": "count"}
_UNITS = {"%": "share", "currency": "amount", "s": "seconds", "min": "minutes"}


def heading(column: str, unit: str) -> str:
    """What stands over a column of an answer."""
    return _UNITS.get(unit, unit) if column == "value" and unit else _HEADINGS.get(column, column.replace("_", " "))


def cell(column: str, value: object, unit: str) -> str:
    """A value of an answer for people: shares as percent, weekdays by name, times to the minute."""
    if value is None:
        return "–"
    if column == "weekday" and isinstance(value, int):
        return WEEKDAYS[value - 1].capitalize()
    if column == "hour" and isinstance(value, int):
        return f"{value}:00"
    if column == "value" and unit == "%" and isinstance(value, int | float):
        return f"{value * 100:.2f} %"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.2f}" if unit == "currency" and column == "value" else f"{value:,.4f}".rstrip("0").rstrip(".")
    if column == "action" and isinstance(value, str):
        return _DO.get(value, value)
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str) and value.startswith("1970-01-01T00:00:00"):
        return "–"
    if isinstance(value, str) and len(value) > 18 and value[10:11] == "T":
        return value[:16].replace("T", " ") + " UTC"
    return str(value)
