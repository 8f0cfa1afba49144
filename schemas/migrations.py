"""Apply ``schemas/clickhouse/NNNN_words.sql`` to ClickHouse: in order, once, forward only.

ClickHouse has no transactions over DDL, so every statement must be one that can run again (``IF NOT EXISTS``; a test
holds the files to it). A file is recorded in ``schema_migrations`` after its last statement: a run cut short, or two
runs at once, repeat statements without harm.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DIRECTORY = Path(__file__).parent / "clickhouse"
_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_PIECE = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`|(--[^\n]*|/\*.*?\*/)|(;)", re.DOTALL)
_RECORD = """CREATE TABLE IF NOT EXISTS schema_migrations
(
    number     UInt32               COMMENT 'Number of the migration file',
    name       String               COMMENT 'Words of its file name',
    checksum   String               COMMENT 'SHA-256 of the file when it was applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When its last statement had run'
)
ENGINE = ReplacingMergeTree
ORDER BY number
COMMENT 'Which schema migrations this database has'"""


class MigrationError(RuntimeError):
    """The files and the database do not fit together; the message says which file and what to do."""


@dataclass(frozen=True)
class Migration:
    """One numbered file of statements."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements, without comments and semicolons."""
        return split(self.sql)


def split(sql: str) -> list[str]:
    """Cut a script at its semicolons, leaving those within strings, quoted names and comments alone."""
    pieces: list[str] = []
    current: list[str] = []
    position = 0
    for match in _PIECE.finditer(sql):
        comment, semicolon = match.groups()
        current.append(sql[position : match.start()] + ("" if comment or semicolon else match[0]))
        position = match.end()
        if semicolon:
            pieces.append("".join(current).strip())
            current = []
    pieces.append(("".join(current) + sql[position:]).strip())
    return [piece for piece in pieces if piece]


def load(directory: Path = DIRECTORY) -> list[Migration]:
    """The migration files in order.

    Raises:
        MigrationError: a file name is not ``NNNN_words.sql``, or two files have one number.
    """
    found: dict[int, Migration] = {}
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} must be named NNNN_words.sql")
        number = int(match[1])
        if number in found:
            raise MigrationError(f"{path.name} has the number of {found[number].name}: give it the next free one")
        found[number] = Migration(number, match[2], path.read_text(encoding="utf-8"))
    return list(found.values())


def create_database(client: "Client", name: str) -> None:
    """Create the database if there is none, and make the client use it."""
    # Looked up first: on a user's own server we may have a database but not the right to create one.
    known = client.query("SELECT 1 FROM system.databases WHERE name = {name:String}", parameters={"name": name})
    if not known.result_rows:
        client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", parameters={"name": name})
    client.database = name


def pending(client: "Client", migrations: Sequence[Migration]) -> list[Migration]:
    """The migrations that the database does not have yet.

    Raises:
        MigrationError: an applied file was changed or is missing, or a new one is numbered before an applied one.
    """
    applied: dict[int, str] = {}
    if client.command("EXISTS TABLE schema_migrations") == 1:
        rows = client.query("SELECT number, checksum FROM schema_migrations FINAL ORDER BY number").result_rows
        applied = {int(number): str(checksum) for number, checksum in rows}
    by_number = {migration.number: migration for migration in migrations}
    if missing := applied.keys() - by_number.keys():
        raise MigrationError(
            f"The database has migration {max(missing):04}, which this version of Aisleflow does not know: "
            "it was written by a newer version; use that one."
        )
    for number, checksum in applied.items():
        if by_number[number].checksum != checksum:
            raise MigrationError(
                f"{number:04}_{by_number[number].name}.sql was changed after it was applied: "
                "restore it and put the change into a new file."
            )
    todo = [migration for migration in migrations if migration.number not in applied]
    if todo and applied and todo[0].number < max(applied):
        raise MigrationError(f"{todo[0].number:04}_{todo[0].name}.sql comes before {max(applied):04}: renumber it.")
    return todo


def migrate(
    client: "Client",
    migrations: Sequence[Migration] | None = None,
    *,
    report: Callable[[Migration], None] = lambda migration: None,
) -> list[Migration]:
    """Bring the client's database up to date and return what was applied; ``report`` hears each file as it is done.

    Raises:
        MigrationError: see :func:`pending`.
        clickhouse_connect.driver.exceptions.DatabaseError: a statement failed; run again after mending it.
    """
    todo = pending(client, load() if migrations is None else migrations)
    client.command(_RECORD)
    for migration in todo:
        for statement in migration.statements:
            client.command(statement)
        client.insert(
            "schema_migrations",
            [[migration.number, migration.name, migration.checksum]],
            column_names=["number", "name", "checksum"],
        )
        report(migration)
    return todo
