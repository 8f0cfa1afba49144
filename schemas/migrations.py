"""Apply ``schemas/clickhouse/NNNN_words.sql`` to ClickHouse: in order, once, forward only.

ClickHouse has no transactions over DDL, so every statement must be one that can run again (``IF NOT EXISTS``; a test
holds the files to it). A file is recorded in ``schema_migrations`` after its last statement: a run cut short, or two
runs at once, repeat statements without harm.

In a database whose engine is ``Replicated`` the server carries statements to all replicas by itself, but leaves the tables' engines as
they are written: there each ``MergeTree`` is made a replicated one (:func:`replicated`).
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
_ENGINE = re.compile(r"\bENGINE = (\w*MergeTree)\b")
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


def replicated(statement: str) -> str:
    """The statement with the table engine that keeps the same rows on all replicas.

    Its path in Keeper is the server's ``default_replica_path``. It forgets repeated inserts by ``replicated_deduplication_window``, which
    is set by default, where the other needs ``non_replicated_deduplication_window``.
    """
    return _ENGINE.sub(r"ENGINE = Replicated\1", statement)


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


def create_database(client: "Client", name: str, *, replicated: bool = False) -> None:
    """Create the database if there is none, and make the client use it.

    ``replicated`` makes it on all servers of the macro ``cluster``, to be kept alike by Keeper (engine ``Replicated``); they have the
    macros ``shard`` and ``replica`` too.

    Raises:
        MigrationError: a database that is to be replicated exists and is not, or has a name that cannot stand in a path of Keeper.
    """
    # Looked up first: on a user's own server we may have a database but not the right to create one.
    engine = _database_engine(client, name)
    if replicated and engine not in (None, "Replicated"):
        raise MigrationError(
            f"The database {name} is on this server alone (its engine is {engine}): give AISLEFLOW_CLICKHOUSE_URL another "
            "database, or set AISLEFLOW_CLICKHOUSE_REPLICATED=false."
        )
    if engine is None:
        client.command(database_statement(name, replicated=replicated), parameters={"name": name})
    client.database = name


def database_statement(name: str, *, replicated: bool) -> str:
    """The statement that creates the database {name:Identifier}.

    Raises:
        MigrationError: see :func:`create_database`.
    """
    if not replicated:
        return "CREATE DATABASE IF NOT EXISTS {name:Identifier}"
    if re.fullmatch(r"\w+", name, re.ASCII) is None:
        raise MigrationError(f"A replicated database is named by letters, digits and _ only, not {name!r}.")
    engine = f"Replicated('/clickhouse/databases/{name}', '{{shard}}', '{{replica}}')"
    return f"CREATE DATABASE IF NOT EXISTS {{name:Identifier}} ON CLUSTER '{{cluster}}' ENGINE = {engine}"


def _database_engine(client: "Client", name: str | None) -> str | None:
    query = "SELECT engine FROM system.databases WHERE name = {name:String}"
    rows = client.query(query, parameters={"name": name}).result_rows
    return rows[0][0] if rows else None


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
    fit = replicated if _database_engine(client, client.database) == "Replicated" else str
    client.command(fit(_RECORD))
    for migration in todo:
        for statement in migration.statements:
            client.command(fit(statement))
        client.insert(
            "schema_migrations",
            [[migration.number, migration.name, migration.checksum]],
            column_names=["number", "name", "checksum"],
        )
        report(migration)
    return todo
