"""The description of ClickHouse's tables in analysts.md, made from the comments in the database itself.

``python docs/make_tables.py`` writes it anew; a test says when that is due.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from chdb.state import connect

from schemas import migrations

PAGE = Path(__file__).parent / "analysts.md"
_SECTION = re.compile(r"(<!-- tables: .*? -->\n).*?(<!-- end of tables -->)", re.DOTALL)
_QUERY = """
SELECT table, any(tables.comment) AS comment, any(sorting_key) AS sorting_key,
       arraySort(column -> column.1, groupArray((position, columns.name, columns.type, columns.comment))) AS columns
FROM system.columns AS columns
INNER JOIN system.tables AS tables ON tables.database = columns.database AND tables.name = columns.table
WHERE columns.database = 'described' AND engine LIKE '%MergeTree'
GROUP BY table ORDER BY table
"""
# How a column is stored is no matter for a reader.
_STORAGE = re.compile(r"LowCardinality\((\w+)\)|SimpleAggregateFunction\(\w+, (.*)\)")


def describe() -> str:
    """Markdown for every table that the migrations create."""
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(folder)
        connection.query("CREATE DATABASE described")
        connection.query("USE described")
        for migration in migrations.load():
            for statement in migration.statements:
                connection.query(statement)
        rows = connection.query(_QUERY, "JSONEachRow").bytes().splitlines()
        connection.close()
    return "\n".join(line for row in rows for line in _table(orjson.loads(row)))


def _table(row: dict[str, Any]) -> Iterator[str]:
    yield f"### {row['table']}\n\n{row['comment']} Ordered by `{row['sorting_key']}`.\n"
    yield "| column | type | meaning |\n| --- | --- | --- |"
    for _, name, kind, comment in row["columns"]:
        plain = _STORAGE.sub(lambda match: match[1] or match[2], kind)
        yield f"| `{name}` | {plain} | {comment} |"
    yield ""


def refreshed(page: str) -> str:
    """The page with its section of tables as it should be."""
    return _SECTION.sub(lambda section: f"{section[1]}\n{describe()}\n{section[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text()))
