"""From a query to SQL with parameters. No value of a question is ever part of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from api.questions.measures import MEASURES, SOURCES, Measure, Source
from api.questions.query import MOST_ROWS, Query

TIME_DIMENSIONS = ("day", "weekday", "hour")
_COLUMNS = {"shop": "store_id", "zone": "zone_id"}
_PRODUCTS = "(SELECT sku AS product_sku, category FROM products_final) AS products"


class QueryError(ValueError):
    """The measure cannot be asked so; the message says why."""


@dataclass(frozen=True)
class Statement:
    """One SELECT, its parameters, and the columns that it gives. ``limit`` rows and one more: more means that some are left out."""

    sql: str
    parameters: dict[str, Any]
    limit: int


def check(query: Query) -> Measure:
    """The measure of a query that fits it.

    Raises:
        QueryError: there is no such measure, or it cannot be asked so.
    """
    measure = MEASURES.get(query.measure)
    if measure is None:
        raise QueryError(f"there is no measure {query.measure!r}")
    source = SOURCES[measure.source]
    title = measure.title
    if wrong := [name for name in query.by if name not in source.dimensions]:
        raise QueryError(f"{title} cannot be told by {' and '.join(wrong)}")
    if query.zones and not source.zone:
        raise QueryError(f"{title} cannot be told of a zone")
    if (query.skus or query.categories) and not source.sku:
        raise QueryError(f"{title} cannot be told of articles")
    is_balance = measure.source == "positions"
    if query.at is not None and (not is_balance or query.measure == "in_transit"):
        raise QueryError(f"{title} cannot be told as of a moment in the past")
    if (query.from_day or query.since) and not source.day:
        raise QueryError(f"{title} is known as of now only" + (", or as of one moment" if is_balance else ""))
    if query.from_hour is not None and not source.hour:
        raise QueryError(f"{title} cannot be told of hours of the day")
    if query.action and query.measure != "gaps":
        raise QueryError(f"{title} has no actions")
    if (query.ahead_hours is not None) != (query.measure == "stockouts"):
        raise QueryError("only what will run out is known ahead: say within how many hours, 48 at most")
    if measure.kind == "list" and query.by and not query.count:
        raise QueryError(f"{title} is a list: by {' and '.join(query.by)} it can only be counted")
    if measure.kind != "list" and query.count:
        raise QueryError(f"{title} is a figure already")
    if query.top and not (query.by or measure.kind == "list"):
        raise QueryError("the largest or smallest of what? Say by what")
    return measure


def compile_query(query: Query, now: datetime) -> Statement:
    """The SQL of a query, as of a moment.

    Raises:
        QueryError: the measure cannot be asked so.
    """
    measure = check(query)
    source = SOURCES["positions_then" if query.at is not None else measure.source]
    parameters: dict[str, Any] = {}
    shops, scope = _filters(query, source, parameters)
    places = {"shops": shops, "scope": scope, "now": "{now:DateTime64(3, 'UTC')}", "at": "{at:DateTime64(3, 'UTC')}"}
    with_, relation = (_filled(text, places) for text in (source.with_, source.relation))
    if "{now:" in with_:
        parameters["now"] = _moment(now)
    if query.at is not None:
        parameters["at"] = _moment(query.at)
    where = [part for part in (source.where, measure.where) if part]
    # A source with parts of its own has its filters in them.
    where += [part for part in (scope if source.sku else shops,) if part != "1" and not source.with_]
    if source.zone and query.zones:
        where.append(f"{source.zone} IN {{zones:Array(String)}}")
        parameters["zones"] = list(query.zones)
    if query.action:
        where.append("action = {action:String}")
        parameters["action"] = query.action
    if query.ahead_hours is not None:
        parameters["ahead"] = query.ahead_hours
    where += _span(query, source, parameters)
    if measure.current and query.from_day is None and query.since is None:
        where.append(measure.current)
    if "category" in query.by:
        relation = f"{relation}\n    LEFT JOIN {_PRODUCTS} ON sku = product_sku"
    limit = min(query.top or MOST_ROWS, MOST_ROWS)
    parameters["limit"] = limit + 1 if query.top is None else limit
    lines = [f"WITH {with_}"] if with_ else []
    lines += _body(query, measure, source, relation, where)
    return Statement("\n".join(lines), parameters, limit)


def _body(query: Query, measure: Measure, source: Source, relation: str, where: Sequence[str]) -> list[str]:
    condition = [f"WHERE {' AND '.join(where)}"] if where else []
    if measure.kind == "list" and not query.count:
        return [
            f"SELECT {measure.value}",
            f"FROM {relation}",
            *condition,
            f"ORDER BY {measure.order}",
            "LIMIT {limit:UInt32}",
        ]
    groups = [(_COLUMNS.get(name, name), source.dimensions[name]) for name in query.by]
    selected = [column if column == expression else f"{expression} AS {column}" for column, expression in groups]
    names = [column for column, _ in groups] + ([measure.extra] if measure.extra else [])
    value = "count()" if measure.kind == "list" else measure.value
    lines = [f"SELECT {', '.join([*selected, *([measure.extra] if measure.extra else []), f'{value} AS value'])}"]
    lines += [f"FROM {relation}", *condition]
    if names:
        lines.append(f"GROUP BY {', '.join(names)}")
    lines.append(f"ORDER BY {', '.join(_order(query, measure, names))}" if names else "")
    # What is in one currency is not more than what is in another: the largest of each.
    each = f" BY {measure.extra}" if measure.extra and query.top else ""
    lines.append(f"LIMIT {{limit:UInt32}}{each}")
    return [line for line in lines if line]


def _order(query: Query, measure: Measure, names: Sequence[str]) -> list[str]:
    by_time = any(name in TIME_DIMENSIONS for name in query.by) and query.order is None
    value = "value ASC" if query.order == "least" else "value DESC"
    first = [measure.extra] if measure.extra and not by_time else []
    rest = [name for name in names if name not in first]
    return [*first, *([] if by_time else [value]), *rest]


def _filters(query: Query, source: Source, parameters: dict[str, Any]) -> tuple[str, str]:
    """The conditions of the shops asked about, and of shops and articles together; 1 for none."""
    shops = []
    if query.stores:
        shops.append("store_id IN {stores:Array(String)}")
        parameters["stores"] = list(query.stores)
    articles = []
    if query.skus:
        articles.append("sku IN {skus:Array(String)}")
        parameters["skus"] = list(query.skus)
    if query.categories:
        articles.append("sku IN (SELECT sku FROM products_final WHERE category IN {categories:Array(String)})")
        parameters["categories"] = list(query.categories)
    scope = [*shops, *([f"({' OR '.join(articles)})"] if articles else [])]
    return " AND ".join(shops) or "1", " AND ".join(scope) or "1"


def _span(query: Query, source: Source, parameters: dict[str, Any]) -> list[str]:
    found = []
    if query.since is not None:
        found.append(f"{source.moment} >= {{since:DateTime64(3, 'UTC')}}")
        parameters["since"] = _moment(query.since)
    if query.from_day is not None and query.to_day is not None:
        found.append(f"{source.day} BETWEEN {{from_day:Date}} AND {{to_day:Date}}")
        parameters |= {"from_day": query.from_day.isoformat(), "to_day": query.to_day.isoformat()}
        if source.day == "day":
            # The shop's date lies at most a day beside that of UTC: this finds the rows by their time.
            found.append(
                f"{source.moment} BETWEEN {{from_time:DateTime64(3, 'UTC')}} AND {{to_time:DateTime64(3, 'UTC')}}"
            )
            parameters["from_time"] = _moment(_midnight(query.from_day, -1))
            parameters["to_time"] = _moment(_midnight(query.to_day, 2))
    if query.from_hour is not None and query.to_hour is not None:
        found.append(f"{source.hour} >= {{from_hour:UInt8}} AND {source.hour} < {{to_hour:UInt8}}")
        parameters |= {"from_hour": query.from_hour, "to_hour": query.to_hour}
    return found


def _midnight(day: date, days: int) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=days)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _filled(text: str, places: dict[str, str]) -> str:
    for name, fill in places.items():
        text = text.replace(f"{{{name}}}", fill)
    return text.replace("WHERE 1 AND ", "WHERE ").replace("    WHERE 1\n", "").replace("WHERE 1 GROUP", "GROUP")
