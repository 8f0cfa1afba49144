"""Reading statements: what an analyst may run, and where an INSERT's data begins."""

import pytest

from infra.clickhouse.statement import Statement, StatementError, check_reader, parse

TABLE_FUNCTIONS = frozenset({"file", "url", "s3", "remote", "mysql", "numbers", "merge", "executable", "eval"})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"SELECT 1", Statement("SELECT 1", "SELECT", None)),
        (b" /* x; */ SELECT ';' -- ;\n ;", Statement(" /* x; */ SELECT ';' -- ;\n ", "SELECT", None)),
        (b"SELECT 1 FORMAT JSON", Statement("SELECT 1 FORMAT JSON", "SELECT", "JSON")),
        (b"SELECT (SELECT 'FORMAT CSV')", Statement("SELECT (SELECT 'FORMAT CSV')", "SELECT", None)),
        (
            b"INSERT INTO t (a) FORMAT Native\n\x00\xff;",
            Statement("INSERT INTO t (a) ", "INSERT", "Native", b"\x00\xff;"),
        ),
        (
            b"insert into t (format) format JSONEachRow {}",
            Statement("insert into t (format) ", "INSERT", "JSONEachRow", b"{}"),
        ),
        (b"INSERT INTO t VALUES (1, ';')", Statement("INSERT INTO t ", "INSERT", "Values", b" (1, ';')")),
        (b"INSERT INTO t SELECT 1", Statement("INSERT INTO t SELECT 1", "INSERT SELECT", None)),
        (b"INSERT INTO t (a) FORMAT CSV", Statement("INSERT INTO t (a) ", "INSERT", "CSV", b"")),
    ],
)
def test_parse(body: bytes, expected: Statement) -> None:
    assert parse(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  -- nothing\n",
        b"SELECT 1; DROP TABLE t",
        b"SELECT 1;;SELECT 2",
        b"SELECT '\xff'",
        b"SELECT 1 -- ';\n; DROP t",
    ],
)
def test_parse_refuses(body: bytes) -> None:
    with pytest.raises(StatementError) as caught:
        parse(body)
    assert caught.value.code == 62


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM aisleflow.visits",
        "WITH 1 AS x SELECT x",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT 'file(' || \"url\" FROM t -- file('/etc/passwd')",
        "SELECT number FROM numbers(3)",
        "SELECT url FROM t",
        "SHOW TABLES",
        "DESCRIBE visits",
        "EXPLAIN SELECT 1",
    ],
)
def test_an_analyst_may(sql: str) -> None:
    check_reader("analyst", parse(sql.encode()), TABLE_FUNCTIONS)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t SELECT 1",
        "DROP TABLE t",
        "KILL QUERY WHERE 1",
        "SYSTEM FLUSH LOGS",
        "SELECT file('/etc/passwd')",
        "SELECT `file`('/etc/passwd')",
        "SELECT \"file\" /* x */ ('/etc/passwd')",
        "SELECT `fi\\x6ce`('/etc/passwd')",
        "SELECT arrayMap(file, ['/etc/passwd'])",
        "SELECT * APPLY file FROM (SELECT '/etc/passwd' AS x)",
        "DESCRIBE url('http://127.0.0.1:1/')",
        "DESCRIBE TABLE S3('http://127.0.0.1/x')",
        "EXPLAIN TABLE OVERRIDE mysql('a', 'b', 'c', 'd', 'e')",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "SELECT ‘ ' ’ AS a, file('/etc/passwd') AS b, ‘ ' ’ AS c",
        "SELECT $a$ ' $a$, file('/etc/passwd'), $a$ ' $a$",
        "SELECT * FROM eval('SELECT 1')",
        "SELECT aiGenerate('x')",
    ],
)
def test_an_analyst_may_not(sql: str) -> None:
    with pytest.raises(StatementError) as caught:
        check_reader("analyst", parse(sql.encode()), TABLE_FUNCTIONS)
    assert caught.value.code == 497


@pytest.mark.parametrize(("sql", "code"), [("SET readonly = 0", 164), ("SELEC 1", 62), ("(1)", 62)])
def test_what_is_refused_for_another_reason(sql: str, code: int) -> None:
    with pytest.raises(StatementError) as caught:
        check_reader("analyst", parse(sql.encode()), TABLE_FUNCTIONS)
    assert caught.value.code == code
