"""The description of ClickHouse's tables in analysts.md, made from the comments in the database itself.

``python docs/make_tables.py`` writes it anew; a test says when that is due. ``python docs/make_tables.py TABLE`` prints the view
TABLE_final of a new table, to be put into its migration.
"""

from __future__ import annotations

import re
import sys
import tempfile
import textwrap
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
WHERE columns.database = 'described' AND (engine LIKE '%MergeTree' OR engine = 'View')
GROUP BY table ORDER BY table
"""
# How a column is stored is no matter for a reader.
_STORAGE = re.compile(r"LowCardinality\((\w+)\)|SimpleAggregateFunction\(\w+, (.*)\)")
_FINAL = "_final"
#: Columns that only tell which version of a row holds.
BOOKKEEPING = {"version", "is_deleted"}
Row = dict[str, Any]


def tables() -> dict[str, Row]:
    """What the migrations create, tables and views, by name: comment, sorting key and columns (position, name, type, comment)."""
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(folder)
        connection.query("CREATE DATABASE described")
        connection.query("USE described")
        for migration in migrations.load():
            for statement in migration.statements:
                connection.query(statement)
        rows = connection.query(_QUERY, "JSONEachRow").bytes().splitlines()
        connection.close()
    return {row["table"]: row for row in map(orjson.loads, rows)}


def describe() -> str:
    """Markdown for every view and table: first one row a thing, then each TABLE_final, which stands for its table, then the
    tables without one.
    """
    by_name = tables()
    shown = sorted(
        by_name.keys() - {name.removesuffix(_FINAL) for name in by_name if name.endswith(_FINAL)},
        key=lambda name: (_rank(by_name[name]), name),
    )
    return "\n".join(line for name in shown for line in _section(by_name[name], by_name.get(name.removesuffix(_FINAL))))


def _rank(row: Row) -> int:
    return 2 if row["sorting_key"] else 1 if row["table"].endswith(_FINAL) else 0


def _section(row: Row, base: Row | None) -> Iterator[str]:
    """One view or table; ``base`` is the table of a TABLE_final, or the row itself."""
    text = row["comment"]
    meanings: dict[str, str] = {}
    if base is not None and base is not row:
        meanings = {name: comment for _, name, _, comment in base["columns"]}  # which may have been said better since
        own = {name for _, name, *_ in row["columns"]}
        more = [f"`{name}`" for _, name, *_ in base["columns"] if name not in own]
        text += f" The table `{base['table']}` is ordered by `{base['sorting_key']}`"
        text += f" and also has {' and '.join(more)}." if more else "."
    elif row["sorting_key"]:
        text += f" A table, ordered by `{row['sorting_key']}`."
    yield f"### {row['table']}\n\n{text}\n"
    yield "| column | type | meaning |\n| --- | --- | --- |"
    for _, name, kind, comment in row["columns"]:
        yield f"| `{name}` | {_plain(kind)} | {meanings.get(name, comment)} |"
    yield ""


def _plain(kind: str) -> str:
    return _STORAGE.sub(lambda match: match[1] or match[2], kind)


def final_view(table: Row) -> str:
    """The statement that creates TABLE_final: the newest version of each row, with the columns' own comments."""
    columns = [
        (f"`{name}`" if "." in name else name, _plain(kind), comment.replace("\\", "\\\\").replace("'", "\\'"))
        for _, name, kind, comment in table["columns"]
        if name not in BOOKKEEPING
    ]
    names, kinds = (max(map(len, column)) for column in list(zip(*columns, strict=True))[:2])
    declared = ",\n".join(f"    {name:<{names}} {kind:<{kinds}} COMMENT '{text}'" for name, kind, text in columns)
    chosen = textwrap.fill(
        ", ".join(name for name, *_ in columns), 130, subsequent_indent="    ", break_on_hyphens=False
    )
    comment = re.sub(r" Query with .*?\.$", "", table["comment"]).replace("'", "\\'")
    return (
        f"CREATE VIEW IF NOT EXISTS {table['table']}{_FINAL}\n(\n{declared}\n)\nSQL SECURITY INVOKER\n"
        f"AS SELECT {chosen}\nFROM {table['table']} FINAL\nCOMMENT '{comment}';\n"
    )


def refreshed(page: str) -> str:
    """The page with its section of tables as it should be."""
    return _SECTION.sub(lambda section: f"{section[1]}\n{describe()}\n{section[2]}", page)


if __name__ == "__main__":
    if sys.argv[1:]:
        found = tables()
        print("\n".join(final_view(found[name]) for name in sys.argv[1:]), end="")
    else:
        PAGE.write_text(refreshed(PAGE.read_text()))
