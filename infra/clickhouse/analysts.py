"""Analysts who may see some shops only.

On the embedded server they stand in ``analysts.json`` in its data directory, and row policies hold them apart: the engine filters every
read, before any expression of the query sees a row. All users of the server are one user of the engine, so the policies tell who asks
by the setting ``log_comment``, in which the server puts the shops, and which a user who only reads cannot set. A real server has users and
row policies of its own: :func:`statements`.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

FILE = "analysts.json"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_STORE = re.compile(r"[^\s'\\\x00-\x1f]{1,100}")
_RESERVED = {"aisleflow", "reader", "analyst", "default"}
# What describes tables, functions and the server itself; the rest of `system` may tell of rows or of others.
_OPEN_SYSTEM_TABLES = {
    "aggregate_function_combinators", "build_options", "collations", "columns", "data_type_families", "databases", "formats",
    "functions", "keywords", "licenses", "numbers", "numbers_mt", "one", "schema_inference_cache", "settings", "table_engines",
    "table_functions", "tables", "time_zones", "zeros", "zeros_mt",
}  # fmt: skip
_UNRESTRICTED = r"position(getSetting('log_comment'), '\n') = 0"
_OF_SHOPS = rf"{_UNRESTRICTED} OR has(arrayPopFront(splitByChar('\n', getSetting('log_comment'))), store_id)"


class AnalystsError(ValueError):
    """A name cannot be used; the message says why."""


@dataclass(frozen=True)
class Analyst:
    """One user, and the shops whose rows they may see."""

    name: str
    password_sha256: str
    stores: tuple[str, ...]

    def has_password(self, password: str) -> bool:
        """Whether this is the password, in the same time whatever it is."""
        return hmac.compare_digest(hashlib.sha256(password.encode()).hexdigest(), self.password_sha256)


@dataclass(frozen=True)
class Table:
    """A table of the server, as far as policies care."""

    database: str
    name: str
    engine: str
    has_store: bool


def load(path: Path) -> dict[str, Analyst]:
    """The analysts of a file by name; none without the file."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text())
    return {name: Analyst(name, told["password_sha256"], tuple(told["stores"])) for name, told in found.items()}


def create(name: str, stores: Sequence[str]) -> tuple[Analyst, str]:
    """A new analyst, and the password, which is kept nowhere.

    Raises:
        AnalystsError: the name or a shop cannot be used.
    """
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise AnalystsError(
            f"{name!r} cannot be a name: letters, digits and _, and none of {', '.join(sorted(_RESERVED))}"
        )
    if wrong := [store for store in stores if not _STORE.fullmatch(store)]:
        raise AnalystsError(f"{wrong[0]!r} cannot be a shop's id")
    if not stores:
        raise AnalystsError("give at least one shop; who may see all uses the user analyst")
    password = secrets.token_urlsafe(24)
    return Analyst(name, hashlib.sha256(password.encode()).hexdigest(), tuple(dict.fromkeys(stores))), password


def save(path: Path, analysts: Iterable[Analyst]) -> None:
    """Write the file anew, for its owner only."""
    told = {
        analyst.name: {"password_sha256": analyst.password_sha256, "stores": analyst.stores} for analyst in analysts
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(json.dumps(told, indent=2) + "\n")
    part.replace(path)


def marked(mark: str, stores: Sequence[str] | None) -> str:
    """The ``log_comment`` of a query: its mark, and for a restricted analyst the shops."""
    return mark if stores is None else "\n".join((mark, *stores))


def is_guarded(table: Table) -> bool:
    """Whether :func:`policies` can hold this table's rows apart."""
    return bool(_NAME.fullmatch(table.database) and _NAME.fullmatch(table.name))


def policies(tables: Iterable[Table]) -> str:
    """The policies as the ``databases`` of a user in ClickHouse's users.xml."""
    by_database: dict[str, list[str]] = {}
    for table in filter(is_guarded, tables):
        if table.database == "system" and table.name in _OPEN_SYSTEM_TABLES:
            continue
        of_shops = table.has_store and (table.engine.endswith("MergeTree") or table.engine == "MaterializedView")
        rule = escape(_OF_SHOPS if of_shops else _UNRESTRICTED)
        by_database.setdefault(table.database, []).append(f"<{table.name}><filter>{rule}</filter></{table.name}>")
    return "".join(f"<{database}>{''.join(rules)}</{database}>" for database, rules in by_database.items())


def statements(analyst: Analyst, database: str, tables: Iterable[Table]) -> Iterator[str]:
    """The same on a real server, for somebody who may create users there. Views need no policy: they read as who asks."""
    shops = ", ".join(f"'{store}'" for store in analyst.stores)
    yield f"CREATE USER IF NOT EXISTS {analyst.name} IDENTIFIED WITH sha256_hash BY '{analyst.password_sha256}' SETTINGS PROFILE 'analyst'"
    yield f"GRANT SHOW, SELECT ON `{database}`.* TO {analyst.name}"
    for table in tables:
        if table.database == database and table.engine != "View":
            rule = f"store_id IN ({shops})" if table.has_store else "0"
            yield f"CREATE ROW POLICY IF NOT EXISTS {analyst.name} ON `{database}`.`{table.name}` FOR SELECT USING {rule} TO {analyst.name}"


def by_name(rows: Iterable[Mapping[str, object]]) -> list[Table]:
    """Tables from rows of :data:`TABLES`."""
    return [Table(str(r["database"]), str(r["name"]), str(r["engine"]), bool(r["has_store"])) for r in rows]


#: Every table of a server but plain views.
TABLES = """
SELECT database, name, engine, (database, name) IN (SELECT database, table FROM system.columns WHERE name = 'store_id') AS has_store
FROM system.tables
WHERE engine != 'View' AND database NOT IN ('INFORMATION_SCHEMA', 'information_schema') ORDER BY database, name
"""
