"""What Grafana and its ClickHouse plugin make of a query before ClickHouse sees it.

First the browser: ``$__conditionalAll`` (``applyConditionalAll`` in the plugin's ``src/data/CHDatasource.ts``), then variables with
Grafana's formats. Then the plugin's backend: the macros of ``pkg/macros/macros.go`` (grafana/clickhouse-datasource). Alert rules
have no browser: only the second step happens, so a variable in one is an error here as it is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

ALL = "$__all"
Value = str | Sequence[str]


class MacroError(ValueError):
    """The plugin would refuse the query, or send ClickHouse a dollar sign."""


@dataclass(frozen=True)
class Window:
    """What the time picker and the width of a panel say."""

    start: datetime
    end: datetime
    interval: timedelta = timedelta(minutes=1)


@dataclass(frozen=True)
class Choice:
    """A variable's value, and what "all" stands for."""

    value: Value
    options: Sequence[str] = field(default=())


def arguments(sql: str, opening: int) -> tuple[list[str], int]:
    """The arguments of the call whose bracket opens there, split at commas outside inner brackets, and where it ends."""
    depth, start, found = 0, opening + 1, []
    for at in range(opening, len(sql)):
        if sql[at] == "(":
            depth += 1
        elif sql[at] == ")":
            depth -= 1
        if (sql[at] == "," and depth == 1) or depth == 0:
            found.append(sql[start:at])
            start = at + 1
        if depth == 0:
            return found, at + 1
    raise MacroError(f"a bracket is not closed: {sql[opening:][:80]}")


def conditional_all(sql: str, variables: Mapping[str, Choice]) -> str:
    """``$__conditionalAll(condition, $variable)`` is the condition, or ``1=1`` while the variable is all or empty."""
    macro = "$__conditionalAll("
    while (at := sql.rfind(macro)) != -1:
        found, end = arguments(sql, at + len(macro) - 1)
        if len(found) != 2:
            raise MacroError("$__conditionalAll wants a condition and a variable")
        chosen = variables[found[1].strip()[1:]].value
        text = chosen if isinstance(chosen, str) else ",".join(chosen)
        sql = sql[:at] + ("1=1" if text in {"", ALL} else found[0]) + sql[end:]
    return sql


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _formatted(choice: Choice, how: str | None) -> str:
    values = [choice.value] if isinstance(choice.value, str) else list(choice.value)
    if values == [ALL]:
        values = list(choice.options)
    if how == "sqlstring":
        return ",".join(map(_quoted, values))
    if how is None:  # the plugin's own format
        return values[0] if isinstance(choice.value, str) else ",".join(map(_quoted, values))
    raise MacroError(f"format {how} is not used by our dashboards")


def replaced(sql: str, variables: Mapping[str, Choice]) -> str:
    """``$name``, ``${name}`` and ``${name:format}`` with the variables' values; what is no variable stays."""

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        return _formatted(variables[name], found[2]) if name in variables else found[0]

    return re.sub(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)", one, sql)


def _date(moment: datetime) -> str:
    return f"toDate('{moment:%Y-%m-%d}')"


def _seconds(moment: datetime) -> str:
    return f"toDateTime({int(moment.timestamp())})"


def _milliseconds(moment: datetime) -> str:
    return f"fromUnixTimestamp64Milli({int(moment.timestamp()) * 1000 + moment.microsecond // 1000})"


def _between(column: str, window: Window, literal: Callable[[datetime], str]) -> str:
    return f"{column} >= {literal(window.start)} AND {column} <= {literal(window.end)}"


def _interval_s(window: Window) -> int:
    return int(max(window.interval.total_seconds(), 1))


#: Each macro with the number of its arguments.
MACROS: dict[str, tuple[int, Callable[..., str]]] = {
    "fromTime": (0, lambda w: _seconds(w.start)),
    "toTime": (0, lambda w: _seconds(w.end)),
    "fromTime_ms": (0, lambda w: _milliseconds(w.start)),
    "toTime_ms": (0, lambda w: _milliseconds(w.end)),
    "timeFilter": (1, lambda w, c: _between(c, w, _seconds)),
    "timeFilter_ms": (1, lambda w, c: _between(c, w, _milliseconds)),
    "dateFilter": (1, lambda w, c: _between(c, w, _date)),
    "dateTimeFilter": (2, lambda w, d, t: f"({_between(d, w, _date)}) AND ({_between(t, w, _seconds)})"),
    "timeInterval": (1, lambda w, c: f"toStartOfInterval(toDateTime({c}), INTERVAL {_interval_s(w)} second)"),
    "timeInterval_ms": (
        1,
        lambda w, c: (
            f"toStartOfInterval(toDateTime64({c}, 3), INTERVAL {max(int(w.interval / timedelta(milliseconds=1)), 1)} millisecond)"
        ),
    ),
    "interval_s": (0, lambda w: str(_interval_s(w))),
}
_MACRO = re.compile(r"\$__(\w+)")


def expanded(sql: str, window: Window) -> str:
    """The plugin's backend macros, as ClickHouse gets them.

    Raises:
        MacroError: an argument too many or too few, or something with a dollar sign that nobody expands.
    """
    done, at = "", 0
    while found := _MACRO.search(sql, at):
        if found[1] not in MACROS:
            raise MacroError(f"nobody expands {found[0]}")
        count, function = MACROS[found[1]]
        given, end = (
            arguments(sql, found.end()) if sql[found.end() : found.end() + 1] == "(" and count else ([], found.end())
        )
        given = [] if given == [""] else given
        if len(given) != count:
            raise MacroError(f"{found[0]} wants {count} arguments, received {len(given)}")
        done += sql[at : found.start()] + function(window, *(one.strip() for one in given))
        at = end
    done += sql[at:]
    if "$" in done:
        raise MacroError(f"nobody expands what follows the dollar sign: {done[done.index('$') :][:60]}")
    return done


def as_sent(sql: str, window: Window, variables: Mapping[str, Choice] | None = None) -> str:
    """A panel's query as ClickHouse gets it; without variables, an alert rule's."""
    if variables is not None:
        sql = replaced(conditional_all(sql, variables), variables)
    return expanded(sql, window)


def last(hours: float, until: datetime | None = None, interval: timedelta = timedelta(minutes=1)) -> Window:
    """The window of so many hours up to now."""
    end = until or datetime.now(UTC)
    return Window(end - timedelta(hours=hours), end, interval)
