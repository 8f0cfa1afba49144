"""The expansion that our tests use agrees with the plugin's own tests: the cases' facts are from grafana/clickhouse-datasource,
``pkg/macros/macros_test.go`` (TestInterpolate and those before it) and ``src/data/CHDatasource.test.ts``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.grafana.macros import ALL, Choice, MacroError, Window, as_sent, conditional_all, expanded, replaced

WINDOW = Window(
    datetime(2014, 11, 12, 11, 45, 26, 123_000, UTC),
    datetime(2015, 11, 12, 11, 45, 26, 456_000, UTC),
    timedelta(seconds=20),
)


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("x > $__fromTime", "x > toDateTime(1415792726)"),
        ("x < $__toTime", "x < toDateTime(1447328726)"),
        ("x > $__fromTime_ms", "x > fromUnixTimestamp64Milli(1415792726123)"),
        ("x < $__toTime_ms", "x < fromUnixTimestamp64Milli(1447328726456)"),
        ("$__dateFilter(d)", "d >= toDate('2014-11-12') AND d <= toDate('2015-11-12')"),
        (
            "$__dateTimeFilter(d, t)",
            "(d >= toDate('2014-11-12') AND d <= toDate('2015-11-12')) AND "
            "(t >= toDateTime(1415792726) AND t <= toDateTime(1447328726))",
        ),
        ("$__timeInterval(c)", "toStartOfInterval(toDateTime(c), INTERVAL 20 second)"),
        ("$__timeInterval_ms(c)", "toStartOfInterval(toDateTime64(c, 3), INTERVAL 20000 millisecond)"),
        ("INTERVAL $__interval_s second", "INTERVAL 20 second"),
        (
            "select * from foo where $__timeFilter(cast(sth as timestamp))",
            "select * from foo where cast(sth as timestamp) >= toDateTime(1415792726) AND cast(sth as timestamp) <= toDateTime(1447328726)",
        ),
        (
            "select * from foo where $__timeFilter(cast(sth as timestamp) )",
            "select * from foo where cast(sth as timestamp) >= toDateTime(1415792726) AND cast(sth as timestamp) <= toDateTime(1447328726)",
        ),
        (
            "select * from foo where $__timeFilter_ms(cast(sth as timestamp))",
            "select * from foo where cast(sth as timestamp) >= fromUnixTimestamp64Milli(1415792726123) AND "
            "cast(sth as timestamp) <= fromUnixTimestamp64Milli(1447328726456)",
        ),
        (
            "select * from foo where ( date >= $__fromTime and date <= $__toTime ) limit 100",
            "select * from foo where ( date >= toDateTime(1415792726) and date <= toDateTime(1447328726) ) limit 100",
        ),
        (
            "select * from foo where ( date >= $__fromTime_ms ) and ( date <= $__toTime_ms ) limit 100",
            "select * from foo where ( date >= fromUnixTimestamp64Milli(1415792726123) ) and "
            "( date <= fromUnixTimestamp64Milli(1447328726456) ) limit 100",
        ),
    ],
)
def test_macros_of_the_backend(sql: str, sent: str) -> None:
    assert expanded(sql, WINDOW) == sent


def test_an_interval_is_a_second_at_least() -> None:
    assert expanded("$__interval_s", Window(WINDOW.start, WINDOW.end, timedelta(milliseconds=5))) == "1"


@pytest.mark.parametrize(
    "sql", ["$__timeFilter()", "$__timeFilter(a, b)", "$__dateTimeFilter(a)", "$__unknown", "$store", "$__timeFilter(a"]
)
def test_what_nobody_expands_is_an_error(sql: str) -> None:
    with pytest.raises(MacroError):
        expanded(sql, WINDOW)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ([ALL], "where 1=1 order"),
        ("", "where 1=1 order"),
        (["a", "b"], "where store_id IN ($store) order"),
        ("a", "where store_id IN ($store) order"),
    ],
)
def test_conditional_all(value: str | list[str], sent: str) -> None:
    sql = "where $__conditionalAll(store_id IN ($store), $store) order"
    assert conditional_all(sql, {"store": Choice(value)}) == sent


def test_conditional_all_twice_and_within_brackets() -> None:
    sql = "($__conditionalAll(f(a, b) IN ($x), $x)) AND $__conditionalAll(c = $y, $y)"
    assert conditional_all(sql, {"x": Choice(["1"]), "y": Choice([ALL])}) == "(f(a, b) IN ($x)) AND 1=1"


@pytest.mark.parametrize(
    ("value", "sent"),
    [("ST'1", "'ST''1'"), (["a", "b"], "'a','b'"), ([ALL], "'p','q'")],
)
def test_variables_become_literals(value: str | list[str], sent: str) -> None:
    choice = {"store": Choice(value, ["p", "q"])}
    assert replaced("${store:sqlstring} $__toTime ${other}", choice) == f"{sent} $__toTime ${{other}}"
    assert as_sent("x = ${store:sqlstring}", WINDOW, choice) == f"x = {sent}"
