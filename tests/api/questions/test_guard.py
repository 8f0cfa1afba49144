"""SQL from a model: one SELECT of listed things, and the asker's shops in every table."""

from __future__ import annotations

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from api.questions.guard import TABLES, Refused, checked

MINE = frozenset({"ST1001"})
GOOD = [
    "SELECT store_id, count() AS n FROM visitors WHERE business_day >= today() - 7 GROUP BY store_id ORDER BY n DESC LIMIT 5",
    "WITH t AS (SELECT store_id, sum(basket_value) AS v FROM receipts GROUP BY store_id) SELECT t.store_id, t.v FROM t WHERE v > 100;",
    "SELECT v.store_id, countIf(purchased) FROM visitors AS v JOIN receipts r ON v.store_id = r.store_id GROUP BY 1",
    "SELECT a.sku FROM stock_positions_final a LEFT JOIN products_final p USING (sku) WHERE p.category IN ('Milk', 'Bread')",
    "SELECT store_id FROM visitors UNION ALL SELECT store_id FROM receipts",
    "SELECT count(*) FROM visitors WHERE store_id IN (SELECT store_id FROM stock_positions_final WHERE gap != '')",
    "SELECT CASE WHEN shelf > 0 THEN 'a' ELSE 'b' END, dateDiff('day', moved_at, now()), quantile(0.9)(shelf) FROM stock_positions_final",
    "SELECT * FROM (SELECT store_id, row_number() OVER (PARTITION BY store_id ORDER BY timestamp) AS r FROM receipts) WHERE r = 1",
]
BAD = [
    "",
    "DROP TABLE visits",
    "INSERT INTO visits SELECT 1",
    "SELECT 1; SELECT 2",
    "EXPLAIN SELECT 1",
    "SELECT * FROM system.tables",
    "SELECT * FROM default.visitors",
    "SELECT * FROM events",
    "SELECT * FROM question_log_final",
    "SELECT * FROM Visitors",
    "SELECT * FROM url('http://x', 'CSV')",
    "SELECT * FROM file('/etc/passwd')",
    "SELECT * FROM remote('x', y, z)",
    "SELECT * FROM visitors, merge('a', 'b')",
    "SELECT * FROM numbers(10)",
    "SELECT x FROM view(SELECT 1 AS x)",
    "SELECT file('/etc/passwd')",
    "SELECT sleep(3) FROM visitors",
    "SELECT getSetting('log_comment')",
    "SELECT dictGet('a', 'b', 1)",
    "SELECT currentUser(), version(), hostName()",
    "SELECT arrayMap(x -> x, [1]) FROM visitors",
    "SELECT * APPLY(sum) FROM visitors",
    "SELECT * EXCEPT(store_id) FROM visitors",
    "SELECT COLUMNS('a') FROM visitors",
    "SELECT * FROM visitors SETTINGS max_threads = 8",
    "SELECT * FROM visitors INTO OUTFILE '/tmp/x'",
    "SELECT * FROM visitors FORMAT JSON",
    "SELECT * FROM visitors PREWHERE file('a')",
    "SELECT * FROM visitors FINAL",
    "SELECT * FROM visitors SAMPLE 0.1",
    "SELECT count() FROM visitors WHERE store_id IN events",
    "SELECT count() FROM visitors WHERE store_id IN (events)",
    "SELECT count() FROM visitors WHERE (1, store_id) IN ((1, events))",
    "SELECT count() FROM visitors WHERE store_id GLOBAL IN events",
    "SELECT in(store_id, events) FROM visitors",
    "WITH visitors AS (SELECT * FROM events) SELECT * FROM visitors",
    "SELECT {shops:Array(String)} FROM visitors",
    "SELECT * FROM `events`",
    'SELECT * FROM "system"."users"',
    "SELECT (SELECT count() FROM system.users)",
    "SELECT 1 FROM visitors WHERE x = '\\' OR 1=1",
    "SELECT * FROM visitors -- " + "x" * 7000,
]  # fmt: skip


@pytest.mark.parametrize("sql", BAD)
def test_what_is_refused(sql: str) -> None:
    with pytest.raises(Refused) as refused:
        checked(sql, None)
    assert str(refused.value)


@pytest.mark.parametrize("sql", GOOD)
@pytest.mark.parametrize("shops", [None, MINE])
def test_what_may_run_is_bounded_and_of_the_askers_shops(sql: str, shops: frozenset[str] | None) -> None:
    may_run = checked(sql, shops)
    (tree,) = sqlglot.parse(may_run, dialect="clickhouse")
    assert isinstance(tree, exp.Select)
    assert tree.args["limit"].expression.name == "1001"
    assert "ST1001" not in may_run
    if shops is not None:
        for table in tree.find_all(exp.Table):
            if TABLES.get(table.name):
                where = table.find_ancestor(exp.Select).args["where"].sql(dialect="clickhouse")  # type: ignore[union-attr]
                assert where == "WHERE store_id IN {shops: Array(String)}"


def test_a_part_never_stands_for_a_table() -> None:
    """The name of a part of WITH means a table inside that part, and outside of its own query."""
    for sql in (
        "WITH events AS (SELECT * FROM events) SELECT * FROM events",
        "SELECT * FROM events, (WITH events AS (SELECT 1) SELECT 1)",
    ):
        (tree,) = sqlglot.parse(checked(sql, None), dialect="clickhouse")
        assert tree is not None
        assert {table.name for table in tree.find_all(exp.Table)} == {"part_events"}


WORDS = """SELECT * FROM WHERE visitors events system . , ( ) IN = 'x' 1 AND WITH AS t JOIN ON url file numbers UNION ALL store_id count
; -- GROUP BY"""
tokens = st.sampled_from(WORDS.split())


@given(st.lists(tokens, max_size=25).map(" ".join))
def test_whatever_passes_reads_listed_tables_only(sql: str) -> None:
    try:
        (tree,) = sqlglot.parse(checked(sql, MINE), dialect="clickhouse")
    except Refused:
        return
    assert tree is not None
    names = {table.name for table in tree.find_all(exp.Table)}
    assert {name for name in names if not name.startswith("part_")} <= TABLES.keys()
