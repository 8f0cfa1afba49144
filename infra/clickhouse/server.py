"""The embedded ClickHouse server: one chdb engine behind ClickHouse's HTTP protocol, on loopback.

``python -m infra.clickhouse.server --data-dir D --port P`` with three passwords in the environment
(``AISLEFLOW_CLICKHOUSE_WRITER_PASSWORD`` for the user ``aisleflow``, ``AISLEFLOW_CLICKHOUSE_READER_PASSWORD`` for the API's
``reader`` and ``AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD`` for people's ``analyst``, who can only read). clickhouse-connect,
curl and Grafana's plugin talk to it as to a real server.

What differs from a real server: tables belong into a database of their own (``default`` is the engine's view of files,
which nobody may read, and a table made there is out of reach after a restart), ``session_id`` is accepted and ignored
(nothing is carried from one request to the next), and external data is refused.
"""

import argparse
import asyncio
import base64
import binascii
import fcntl
import hmac
import json
import logging
import math
import os
import re
import secrets
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import anyio
import anyio.to_thread
import uvicorn

# Not from `chdb` itself: the packages chdb and chdb-core both install its __init__.py, and in one of the two ChdbError is
# not what the engine raises.
from chdb._exceptions import ChdbError
from chdb.state import connect
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from infra.clickhouse import analysts
from infra.clickhouse.compression import (
    MAX_BODY_BYTES,
    Compressor,
    Unpacked,
    compressor,
    decompress,
    in_blocks,
    out_of_blocks,
)
from infra.clickhouse.statement import Statement, StatementError, check_reader, check_writer, parse
from infra.http import BoundedConnection

WRITER = "aisleflow"
READER = "reader"
ANALYST = "analyst"
#: The variable that holds each user's password.
PASSWORDS = {
    WRITER: "AISLEFLOW_CLICKHOUSE_WRITER_PASSWORD",
    READER: "AISLEFLOW_CLICKHOUSE_READER_PASSWORD",
    ANALYST: "AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD",
}

MAX_STATEMENT_BYTES = 16 * 1024 * 1024
#: Bound of a result whose format cannot be streamed; the others may be of any size.
MAX_BUFFERED_RESULT_BYTES = 512 * 1024 * 1024
#: The largest body of each user's request, as it comes and unpacked: who cannot insert sends statements only.
LARGEST_BODY = {WRITER: MAX_BODY_BYTES, READER: MAX_STATEMENT_BYTES, ANALYST: MAX_STATEMENT_BYTES}
#: A result under it is sent in one piece, without a thread for each chunk.
SMALL_RESULT_BYTES = 64 * 1024
#: Under it, compressing costs more than it saves.
WORTH_COMPRESSING_BYTES = 4 * 1024
#: A statement under it is read without a thread, and remembered: programs ask the same with other parameters.
SMALL_STATEMENT_BYTES = 8 * 1024
#: Requests of one user that run at once; more wait, and an analyst's cannot keep the workers' waiting.
CONCURRENT_REQUESTS = {WRITER: 16, READER: 16, ANALYST: 3}
#: Threads of one analyst's query: beside several of them the workers and the API find a core.
ANALYST_THREADS = max(1, (os.cpu_count() or 2) // 4)

#: Formats whose chunks, put one after another, are the whole: no header, footer or separator.
_STREAMED_FORMATS = {"Native", "RowBinary", "JSONEachRow", "JSONCompactEachRow", "TabSeparated", "TSV", "CSV"}
_NOT_SETTINGS = {
    "add_http_cors_header", "buffer_size", "client_protocol_version", "compress", "database", "decompress",
    "default_format", "enable_http_compression", "http_headers_progress_interval_ms", "password", "query", "query_id",
    "quota_key", "role", "send_progress_in_http_headers", "session_check", "session_id", "session_timeout", "user",
    "wait_end_of_query",
}  # fmt: skip
_FORMAT_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_SETTING_NAME = re.compile(r"[a-z][a-z0-9_]{0,100}")
# None that names a file (format_schema, format_template_row, output_format_schema, ...) or takes more of the machine.
_READING_SETTING = re.compile(
    r"output_format_(json|csv|tsv|native|pretty|decimal|float|arrow|parquet)_\w+|format_csv_\w+|date_time_\w+|"
    r"max_block_size|session_timezone|final|join_use_nulls|extremes|"
    r"cancel_http_readonly_queries_on_client_close"
)
# The API may choose what does neither: it knows how its queries share the machine, and clickhouse-connect sends what it likes.
_NAMES_A_PLACE = re.compile("schema|template|path|file|url|script|readonly")
#: What who reads may lower and never raise; users.xml has the same.
READING_LIMITS = {
    "max_execution_time": 30,
    "max_result_rows": 1_000_000,
    "max_memory_usage": 4 * 1024**3,
    "max_rows_to_read": 2_000_000_000,
    "max_bytes_to_read": 200 * 1024**3,
}
_WRITER_DEFAULTS = {
    "max_query_size": MAX_STATEMENT_BYTES,
    "max_execution_time": 600,
    "input_format_parallel_parsing": 0,  # in one thread an insert of small rows costs what it costs there
}

# As a real server answers (exceptionCodeToHTTPStatus); everything else is 500.
_STATUS_BY_CODE = {
    **dict.fromkeys((6, 26, 27, 33, 36, 38, 41, 43, 53, 62, 69, 70, 72, 117, 130, 131, 441, 456, 457), 400),
    **dict.fromkeys((16, 46, 47, 50, 56, 60, 73, 81, 115), 404),
    **dict.fromkeys((164, 497), 403),
    **dict.fromkeys((396, 307, 158), 413),
    48: 501,
    159: 408,
    516: 403,
}
# What clients send to end a query of their own. (A KILL of any other form is refused.)
_KILL_OWN = re.compile(r"KILL\s+QUERY\s+WHERE\s+query_id\s*=\s*'([^'\\]{1,200})'\s*(?:SYNC|ASYNC)?\s*", re.IGNORECASE)
_KILLED = """
SELECT 'waiting' AS kill_status, {query_id:String} AS query_id, {user:String} AS user FROM numbers({found:UInt8})
"""
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'?")
#: Errors whose words are the data that could not be read, or the statement.
_CITING = re.compile(
    r"(Code: \d+)\. DB::Exception.*\(((?:CANNOT|INCORRECT)_\w+|SYNTAX_ERROR|DECIMAL_OVERFLOW)\)", re.DOTALL
)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_TABLE = re.compile(r"\b(?:INTO|FROM)\s+([\w.`]+)", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)\. DB::Exception")
log = logging.getLogger("clickhouse")


def without_values(message: str) -> str:
    """An error message for the log, on one line: without the literals and rows that ClickHouse cites in it."""
    if citing := _CITING.search(message):
        return f"{citing[1]} ({citing[2]})"
    return " ".join(_QUOTED.sub("'...'", message)[:300].split())


def quote(value: str) -> str:
    """A ClickHouse string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@dataclass(frozen=True)
class Query:
    """One authenticated request: who asks, what, and under which settings."""

    user: str
    statement: Statement
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    default_format: str = "TabSeparated"
    #: Reading only, as ClickHouse holds for every GET request.
    safe_method: bool = False
    #: The shops whose rows it may see; None: all.
    stores: tuple[str, ...] | None = None
    #: By which the running query is found when its client goes away.
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def comment(self) -> str:
        """The engine's ``log_comment`` of it."""
        return analysts.marked(self.mark, self.stores)


@dataclass(frozen=True)
class Answer:
    """A result: its format, its chunks of bytes (the first is already there) and what was read and written.

    ``close`` ends what still runs; it may block. Without it all chunks are there.
    """

    format: str
    chunks: Iterable[bytes]
    summary: Mapping[str, int]
    close: Callable[[], None] | None = None


_MERGES = Path(__file__).parent / "merges.xml"
# What the engine lets anybody do, whatever a statement says: tables and their rows. No files, no network, no other servers,
# no functions, no users, no SYSTEM.
_ENGINE_USERS = """<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/><profile>default</profile><quota>default</quota><networks><ip>::/0</ip></networks>
      <databases>{policies}</databases>
      <grants>
        <query>GRANT SHOW, SELECT, INSERT, ALTER, TRUNCATE, OPTIMIZE, KILL QUERY ON *.*</query>
        <query>GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP DATABASE, DROP TABLE, DROP VIEW ON *.*</query>
      </grants>
    </default>
  </users>
</clickhouse>
"""


@dataclass
class _Session:
    """A connection that is set up for one user and database; it runs one query at a time."""

    connection: Any
    user: str
    database: str
    settings: dict[str, str]
    #: What its queries are found by, ``log_comment``.
    comment: str

    def suits(self, query: Query, settings: Mapping[str, str]) -> bool:
        """Whether only values of settings must be changed for the query. ``readonly`` itself would keep us from that."""
        return (
            (self.user, self.database) == (query.user, query.database)
            and self.settings.keys() == settings.keys()
            and self.settings["readonly"] == settings["readonly"]
        )


#: Connections that wait for the next query.
MOST_WAITING = 32
#: Statements that leave their connection as it was.
_LEAVES_NOTHING = frozenset({"SELECT", "WITH", "INSERT"})


class Engine:
    """One chdb engine on one data directory.

    A query has a connection to itself while it runs. Those of the workers and the API are kept for their next one: to set a
    connection up costs half as much as to run most of their queries. A person's is not.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = (data_dir / "server.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"clickhouse: another server already uses {data_dir}") from None
        (data_dir / "engine-users.xml").write_text(_ENGINE_USERS.format(policies=""))
        config = data_dir / "engine-config.xml"
        users = f"  <users_config>{escape(str(data_dir / 'engine-users.xml'))}</users_config>\n"
        config.write_text(_MERGES.read_text().replace("</clickhouse>", users + "</clickhouse>"))
        self._path = f"{data_dir / 'chdb'}?config-file={config}"
        self._anchor = connect(self._path)  # the engine lives as long as one connection is open
        #: Connections without a query, the last used last, and those with one by its mark. Whoever ends a query holds the lock, so
        #: that it is not the next one on the same connection that ends.
        self._waiting: list[_Session] = []
        self._running: dict[str, _Session] = {}
        self._lock_sessions = threading.Lock()
        #: The tables whose rows are held apart by shop; None while nobody needs that.
        self._guarded: frozenset[analysts.Table] | None = None
        if analysts.load(data_dir / analysts.FILE):
            found = self._tables()
            self._anchor.close()  # policies are read when the engine opens
            (data_dir / "engine-users.xml").write_text(_ENGINE_USERS.format(policies=analysts.policies(found)))
            self._anchor = connect(self._path)
            self._guarded = frozenset(filter(analysts.is_guarded, found))
        self.version, self.timezone = self._text("SELECT version(), timezone()").split("\t")
        self._table_functions = frozenset(self._text("SELECT lower(name) FROM system.table_functions").split("\n"))

    def _text(self, sql: str) -> str:
        return str(self._anchor.query(sql, "TabSeparated").bytes().decode().strip())

    def _tables(self) -> list[analysts.Table]:
        rows = self._anchor.query(analysts.TABLES, "JSONEachRow").bytes().splitlines()
        return analysts.by_name(map(json.loads, rows))

    def _check_guards(self) -> None:
        """Refuse while there is a table whose rows are not held apart: policies are read when the engine opens."""
        unguarded = set(self._tables()) - (self._guarded or frozenset())
        if unguarded:
            table = min(f"{table.database}.{table.name}" for table in unguarded)
            raise StatementError(
                497,
                "ACCESS_DENIED",
                f"The rows of {table} are not held apart by shop yet: that begins when Aisleflow is started again.",
            )

    def run(self, query: Query) -> Answer:
        """Run a query up to its first chunk.

        Raises:
            StatementError: it is not allowed.
            ChdbError, RuntimeError: the engine refused it.
        """
        statement = query.statement
        if query.user == WRITER:
            check_writer(statement)
        else:
            check_reader(query.user, statement, self._table_functions)
        if query.stores is not None:
            self._check_guards()
        chosen = statement.format or query.default_format
        streamed = statement.kind in {"SELECT", "WITH"} and chosen in _STREAMED_FORMATS
        session = self._begin(query, bounded=not streamed)
        try:
            answer = _answer(session.connection, query, chosen, streamed=streamed)
        except BaseException:
            self._end(query, session, keep=False)
            raise
        if answer.close is None:
            # Parameters of an insert are set for its connection; and with readonly = 1, which all people have, no setting is.
            leaves_nothing = statement.kind in _LEAVES_NOTHING and not (statement.data is not None and query.parameters)
            self._end(query, session, keep=leaves_nothing and session.settings["readonly"] != "1")
            return answer
        cancel = answer.close

        def close() -> None:
            cancel()
            self._end(query, session, keep=False)

        return replace(answer, close=close)

    def _begin(self, query: Query, *, bounded: bool) -> _Session:
        settings = _settings(query, bounded=bounded)
        with self._lock_sessions:
            found = next((one for one in reversed(self._waiting) if one.suits(query, settings)), None)
            if found is not None:
                self._waiting.remove(found)
        session = found or _Session(connect(self._path), query.user, query.database, {}, query.comment)
        try:
            if found is None and query.database:
                session.connection.query(f"USE {_identifier(query.database)}")
            changed = {name: value for name, value in settings.items() if session.settings.get(name) != value}
            if found is None:
                changed = {"log_comment": session.comment, **changed}
            if changed:
                session.connection.query(
                    f"SET {', '.join(f'{name}={quote(value)}' for name, value in changed.items())}"
                )
        except BaseException:
            session.connection.close()
            raise
        session.settings = settings
        with self._lock_sessions:
            self._running[query.mark] = session
        return session

    def _end(self, query: Query, session: _Session, *, keep: bool) -> None:
        spare: _Session | None = session
        with self._lock_sessions:
            self._running.pop(query.mark, None)
            if keep:
                self._waiting.append(session)
                spare = self._waiting.pop(0) if len(self._waiting) > MOST_WAITING else None
        if spare is not None:
            spare.connection.close()

    def cancel(self, query: Query) -> None:
        """End a query that runs in another thread, which then raises; nothing happens if it has ended."""
        sql = "KILL QUERY WHERE Settings['log_comment'] = {mark:String} ASYNC"
        with self._lock_sessions:
            if (session := self._running.get(query.mark)) is not None:
                connect(self._path).query(sql, params={"mark": session.comment})

    def close(self) -> None:
        """Stop what still runs and close the data."""
        with suppress(ChdbError):
            self._anchor.query("KILL QUERY WHERE query NOT LIKE 'KILL QUERY%' ASYNC")
        for session in self._waiting:
            session.connection.close()
        self._anchor.close()


def _settings(query: Query, *, bounded: bool) -> dict[str, str]:
    """All that a query's connection is to be set to, but ``log_comment``."""
    settings: dict[str, object] = dict(_WRITER_DEFAULTS if query.user == WRITER else READING_LIMITS)
    if bounded:
        settings["max_result_bytes"] = MAX_BUFFERED_RESULT_BYTES
    for name, value in query.settings.items():
        settings[name] = _allowed(query.user, name, value)
    settings["result_overflow_mode"] = "throw"
    settings.pop("log_comment", None)
    if query.user == ANALYST:
        settings["max_threads"] = ANALYST_THREADS
    if query.stores is not None:
        settings["apply_row_policy_after_final"] = 0
    # 1: no writing and no further settings; 2: settings may still be given, which clickhouse-connect asks before it does.
    if query.user == WRITER:
        settings["readonly"] = 2 if query.safe_method else settings.get("readonly", 0)
    else:
        settings["readonly"] = 1 if query.user == ANALYST else 2
    # The last, since it keeps others from being set.
    settings["readonly"] = settings.pop("readonly")
    return {name: str(value) for name, value in settings.items()}


def _allowed(user: str, name: str, value: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise StatementError(115, "UNKNOWN_SETTING", f"Unknown setting {name[:100]!r}")
    if user == WRITER or _READING_SETTING.fullmatch(name) or _is_readers(user, name):
        return value
    limit = READING_LIMITS.get(name)
    if limit is None:
        raise StatementError(164, "READONLY", f"Cannot modify '{name}' setting in readonly mode.")
    with suppress(ValueError):
        if 0 < float(value) <= limit:
            return value
    return str(limit)


def _is_readers(user: str, name: str) -> bool:
    return user == READER and name not in READING_LIMITS and not _NAMES_A_PLACE.search(name)


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """The path of a file with these bytes: in memory on Linux, where no full disk keeps it from being written."""
    if hasattr(os, "memfd_create"):
        file: Any = os.fdopen(os.memfd_create("insert"), "wb")
        path = f"/proc/self/fd/{file.fileno()}"
    else:
        file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed below
        path = file.name
    with file:
        file.write(data)
        file.flush()
        yield path


def _answer(connection: Any, query: Query, chosen: str, *, streamed: bool) -> Answer:
    """Run a query on a connection that is set up for it, up to its first chunk."""
    statement = query.statement
    if statement.data is not None:
        return Answer(chosen, (), _insert(connection, query))
    if streamed and (answer := _stream(connection, query, chosen)) is not None:
        return answer
    result = connection.query(statement.sql, chosen, params=dict(query.parameters))
    written = {"written_rows": result.rows_written(), "written_bytes": result.bytes_written()}
    return Answer(chosen, (result.bytes(),), _read_for([result]) | written)


def _insert(connection: Any, query: Query) -> dict[str, int]:
    statement = query.statement
    if not (statement.data or b"").strip():
        return {"written_rows": 0, "written_bytes": 0}
    for name, value in query.parameters.items():
        if not name.isidentifier():
            raise StatementError(457, "BAD_QUERY_PARAMETER", f"{name[:100]!r} is not a parameter's name")
        connection.query(f"SET param_{name}={quote(value)}")
    # Not by chdb's send_insert: it says nothing of an error while the rows are written, such as a full disk. From a file,
    # in one thread, an insert costs what it costs there; settings within the statement leave no place for a file's name.
    data = statement.data or b""
    if "SETTINGS" in statement.sql.upper():
        result = connection.query(f"{statement.sql} FORMAT {statement.format}\n".encode() + data)
    else:
        with _as_file(data) as path:
            result = connection.query(f"{statement.sql} FROM INFILE {quote(path)} FORMAT {statement.format}")
    return {
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "elapsed_ns": int(result.elapsed() * 1e9),
    }


def _stream(connection: Any, query: Query, chosen: str) -> Answer | None:
    try:
        stream = connection.send_query(query.statement.sql, chosen, params=dict(query.parameters))
    except ChdbError as error:
        if "Streaming query is not supported" in str(error):
            return None
        raise
    begun = list(_fetched(stream, SMALL_RESULT_BYTES))

    def close() -> None:
        with suppress(ChdbError):
            stream.cancel()

    pieces = [chunk.bytes() for chunk in begun]
    if sum(map(len, pieces)) >= SMALL_RESULT_BYTES:
        return Answer(chosen, chain(pieces, (chunk.bytes() for chunk in _fetched(stream))), {}, close)
    close()
    return Answer(chosen, pieces, _read_for(begun))


def _fetched(stream: Any, enough: float = math.inf) -> Iterator[Any]:
    """The next chunks of a result, until it ends or they are enough bytes."""
    size = 0
    while size < enough and (chunk := stream.fetch()) is not None:
        size += chunk.size()
        yield chunk


def _read_for(chunks: Sequence[Any]) -> dict[str, int]:
    """What was read for a result, given all of its chunks, and how large it is."""
    return {
        "read_rows": sum(chunk.storage_rows_read() for chunk in chunks),
        "read_bytes": sum(chunk.storage_bytes_read() for chunk in chunks),
        "result_rows": sum(chunk.rows_read() for chunk in chunks),
        "elapsed_ns": int(max((chunk.elapsed() for chunk in chunks), default=0) * 1e9),
    }


# --- HTTP ------------------------------------------------------------------------------------------------------------


class Server:
    """The HTTP protocol around an :class:`Engine`."""

    def __init__(self, data_dir: Path, passwords: Mapping[str, str]) -> None:
        self._data_dir = data_dir
        self._passwords = passwords
        self._engine: Engine
        #: By user and query_id, those without a result yet.
        self._running: dict[tuple[str, str], Query] = {}

    def app(self) -> Starlette:
        """The ASGI application; the engine opens when it starts and closes when it stops."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            self._engine = Engine(self._data_dir)
            self._limits = {user: anyio.CapacityLimiter(most) for user, most in CONCURRENT_REQUESTS.items()}
            yield
            self._engine.close()

        return Starlette(
            routes=[
                Route("/ping", lambda _: PlainTextResponse("Ok.\n"), methods=["GET"]),
                Route("/", self.query, methods=["GET", "POST"]),
            ],
            lifespan=lifespan,
        )

    async def query(self, request: Request) -> Response:
        """Run one query, as ClickHouse's HTTP interface does."""
        query_id = (
            request.query_params.get("query_id") or request.headers.get("x-clickhouse-query-id") or str(uuid.uuid4())
        )
        headers = {
            "X-ClickHouse-Query-Id": re.sub(r"[^ -~]", "?", query_id),
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Server-Display-Name": "aisleflow",
        }
        if request.method == "GET" and "query" not in request.query_params:
            return PlainTextResponse("Ok.\n", headers=headers)
        try:
            name, stores = self._authenticate(request)
            user = name if stores is None else ANALYST
            async with self._limits[user]:
                query = replace(await self._read(request, user), stores=stores)
                if killed := _KILL_OWN.fullmatch(query.statement.sql):
                    query = await self._kill(query, name, killed[1])
                watcher = asyncio.create_task(self._cancel_when_gone(request, query))
                began = time.perf_counter()
                self._running[name, query_id] = query
                try:
                    answer = await anyio.to_thread.run_sync(self._engine.run, query)
                finally:
                    watcher.cancel()
                    self._running.pop((name, query_id), None)
                _tell_trace(request, query, answer, time.perf_counter() - began)
        except (StatementError, ChdbError, RuntimeError) as error:
            return self._refusal(str(error), headers)
        except ClientDisconnect:  # it sent half a request and left: nobody reads this
            return Response(status_code=499)
        return self._respond(request, answer, headers)

    async def _cancel_when_gone(self, request: Request, query: Query) -> None:
        """Reading for nobody is stopped; writing goes on, since its client will ask again for the same."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        if query.statement.kind in {"SELECT", "WITH"}:
            await anyio.to_thread.run_sync(self._engine.cancel, query)

    async def _kill(self, query: Query, name: str, query_id: str) -> Query:
        """End a query of the same user; the answer is a query too, so that it comes in the format that was asked for."""
        victim = self._running.get((name, query_id))
        if victim is not None:
            await anyio.to_thread.run_sync(self._engine.cancel, victim)
        parameters = {"query_id": query_id, "user": name, "found": str(int(victim is not None))}
        return replace(query, statement=parse(_KILLED.encode()), parameters=parameters)

    def _authenticate(self, request: Request) -> tuple[str, tuple[str, ...] | None]:
        """Who asks, and the shops that they may see (None: all)."""
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        if "x-clickhouse-user" in request.headers:
            user, password = request.headers["x-clickhouse-user"], request.headers.get("x-clickhouse-key", "")
        elif scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(basic, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                user = password = ""
        else:
            user, password = request.query_params.get("user", ""), request.query_params.get("password", "")
        if user not in self._passwords and (known := analysts.load(self._data_dir / analysts.FILE).get(user)):
            if known.has_password(password):
                return user, known.stores
            user = ""
        expected = self._passwords.get(user, "")
        # The comparison runs for an unknown user too, so that its time does not tell which users exist.
        right = hmac.compare_digest(password.encode(), (expected or secrets.token_hex()).encode())
        if not (expected and right):
            reason = (
                f"{user[:64] or 'default'}: Authentication failed: password is incorrect, or there is no such user."
            )
            raise StatementError(516, "AUTHENTICATION_FAILED", reason)
        return user, None

    async def _read(self, request: Request, user: str) -> Query:
        limit = LARGEST_BODY[user]
        body = Unpacked(limit)
        async for chunk in request.stream():
            body.write(chunk)
        given = dict(request.query_params)
        default_format = given.get("default_format") or request.headers.get("x-clickhouse-format") or "TabSeparated"
        if not _FORMAT_NAME.fullmatch(default_format):  # statements without a result do not look at it; a header does
            raise StatementError(73, "UNKNOWN_FORMAT", f"Unknown format {default_format[:64]!r}")
        content_type = request.headers.get("content-type", "")
        raw = body.getvalue()
        if content_type.startswith("multipart/form-data"):  # `curl -d SQL` says urlencoded, and means a plain body
            given |= await _form(request, raw)
            raw = b""
        encoding = request.headers.get("content-encoding", "")
        text = given.get("query", "")
        if not raw and len(text) < SMALL_STATEMENT_BYTES:
            statement = _small_statement(text.encode())
        elif not text and not encoding and not _is_on(given, "decompress") and len(raw) < SMALL_STATEMENT_BYTES:
            statement = _small_statement(raw)
        else:
            blocks = _is_on(given, "decompress")
            statement = await anyio.to_thread.run_sync(_statement, text, raw, encoding, blocks, limit)
        return Query(
            user=user,
            statement=statement,
            parameters={name[6:]: value for name, value in given.items() if name.startswith("param_")},
            settings={k: v for k, v in given.items() if k not in _NOT_SETTINGS and not k.startswith("param_")},
            database=given.get("database") or request.headers.get("x-clickhouse-database", ""),
            default_format=default_format,
            safe_method=request.method == "GET",
        )

    def _refusal(self, message: str, headers: dict[str, str]) -> Response:
        found = _CODE.search(message)
        # The engine's message, without what chdb's Python layers put before it; 1001 is STD_EXCEPTION.
        code, text = (
            (int(found[1]), message[found.start() :]) if found else (1001, f"Code: 1001. DB::Exception: {message}")
        )
        if code == 497 and "READ ON FILE" in text and "file(" not in text:
            # The engine's own database `default` takes a name that is no table for a file.
            code = 60
            text = "Code: 60. DB::Exception: There is no such table (or it is a file, which nobody may read). (UNKNOWN_TABLE)"
        if " (version " not in text:
            text += f" (version {self._engine.version})"
        status = _STATUS_BY_CODE.get(code, 500)
        log.info("refused: HTTP %d, %s", status, without_values(text))
        headers |= {"X-ClickHouse-Exception-Code": str(code)}
        if code == 516:
            status, headers["WWW-Authenticate"] = 401, 'Basic realm="ClickHouse server HTTP API"'
        return PlainTextResponse(text + "\n", status, headers)

    def _respond(self, request: Request, answer: Answer, headers: dict[str, str]) -> Response:
        tag = secrets.token_hex(8)
        headers |= {"X-ClickHouse-Format": answer.format, "X-ClickHouse-Exception-Tag": tag}
        if answer.summary:
            headers["X-ClickHouse-Summary"] = json.dumps({name: str(value) for name, value in answer.summary.items()})
        media = "application/json" if answer.format.startswith("JSON") else "text/plain; charset=utf-8"
        packed: Compressor | None = None
        if _is_on(request.query_params, "compress"):
            packed = ("", in_blocks, bytes)
        if answer.close is None and sum(map(len, answer.chunks)) < WORTH_COMPRESSING_BYTES:
            whole = b"".join(answer.chunks)
            return Response(in_blocks(whole) if packed else whole, headers=headers, media_type=media)
        if packed is None and _is_on(request.query_params, "enable_http_compression"):
            packed = compressor(request.headers.get("accept-encoding", ""))
        if packed and packed[0]:
            headers["Content-Encoding"] = packed[0]

        def body() -> Iterator[bytes]:
            pack, flush = packed[1:] if packed else (bytes, bytes)
            try:
                for chunk in answer.chunks:
                    if piece := pack(chunk):
                        yield piece
            except ChdbError as error:
                # The status is already sent: say it in the body, in the form that clients look for.
                text = f"{error}\n".encode()
                log.info("failed while streaming: %s", without_values(str(error)))
                mark = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n"
                yield pack(mark % (tag.encode(), text, len(text), tag.encode()))
            if end := flush():
                yield end

        return _Streamed(answer, body(), headers, media)


class _Streamed(StreamingResponse):
    """A result on its way. However that ends, the query is closed in a thread and before anything of it is forgotten.

    Left to the garbage collector, chdb may close it in the thread of the event loop and wait there for ever.
    """

    def __init__(self, answer: Answer, body: Iterator[bytes], headers: dict[str, str], media: str) -> None:
        super().__init__(iterate_in_threadpool(body), headers=headers, media_type=media)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._answer.close is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._answer.close)


def _tell_trace(request: Request, query: Query, answer: Answer, took_s: float) -> None:
    """A line of JSON for a statement that carries a trace's id or names what it is for, as workers' inserts do."""
    trace = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    if trace is None:
        return
    line = {
        "event": "statement",
        "timestamp": datetime.now(UTC).isoformat(),
        "trace_id": trace[1],
        "comment": query.settings.get("log_comment", "")[:200],
        "user": query.user,
        # Its kind and its table: the rest may hold values.
        "statement": " ".join([query.statement.kind, *_TABLE.findall(query.statement.sql[:2000])[:1]]),
        "rows": answer.summary.get("written_rows") or answer.summary.get("result_rows") or 0,
        "took_ms": round(took_s * 1000),
    }
    print(json.dumps(line), file=sys.stderr, flush=True)


async def _form(request: Request, raw: bytes) -> dict[str, str]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield raw

    parser = MultiPartParser(request.headers, stream(), max_fields=1000, max_part_size=MAX_BODY_BYTES)
    try:
        form = await parser.parse()
    except (MultiPartException, HTTPException) as error:
        raise StatementError(36, "BAD_ARGUMENTS", f"The form cannot be read: {error}") from None
    fields: dict[str, str] = {}
    for name, value in form.items():
        if isinstance(value, UploadFile):
            raise StatementError(48, "NOT_IMPLEMENTED", "External data is not supported.")
        fields[name] = value
    return fields


_small_statement = lru_cache(maxsize=256)(parse)


def _is_on(parameters: Mapping[str, str], name: str) -> bool:
    return parameters.get(name, "0") in {"1", "true"}


def _statement(query: str, body: bytes, encoding: str, blocks: bool, limit: int) -> Statement:
    """The statement of a request: in the URL, in the body, or its head in the URL and its data in the body."""
    text = decompress(body, encoding, limit)
    if blocks:
        text = out_of_blocks(text, limit)
    if query:
        text = query.encode() + b"\n" + text
    statement = parse(text)
    if len(statement.sql) > MAX_STATEMENT_BYTES:
        raise StatementError(62, "SYNTAX_ERROR", f"Max query size exceeded: {MAX_STATEMENT_BYTES} bytes")
    return statement


class Connection(BoundedConnection):
    """A connection whose URL may hold a statement and its parameters, as long as a real server's (1 MiB)."""

    max_head_bytes = 1024 * 1024 + 64 * 1024


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    passwords = {user: os.environ.pop(variable, "") for user, variable in PASSWORDS.items()}
    if not all(passwords.values()):
        raise SystemExit(f"clickhouse: set {', '.join(PASSWORDS.values())}; there is no default password.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    server = Server(arguments.data_dir.expanduser().resolve(), passwords)
    uvicorn.run(
        server.app(),
        host="127.0.0.1",
        port=arguments.port,
        http=Connection,
        access_log=False,  # a URL may hold a password
        log_level="warning",
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
