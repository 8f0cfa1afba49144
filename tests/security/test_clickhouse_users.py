"""Every ClickHouse user does what it should and nothing else: in the embedded server, and by the grants of compose.

The grants of compose are those that ClickHouse itself holds to: its engine (chdb) reads the very ``users.xml``, each user
in turn being the one as whom a process runs. What ``system`` tells is not among them: a server's own config.xml closes
those tables to who has no grant on them, which the engine in a process does not read.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from schemas import migrations

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
DENIED = {"497", "164", "452"}
SECRET = "what-only-the-server-may-read"

# (statement, may the writer, may the analyst); FILE is a file with a secret, OUT one that must not appear.
STATEMENTS = [
    ("SELECT count() FROM aisleflow.t", True, True),
    ("SELECT name FROM system.tables WHERE database = 'aisleflow'", True, True),
    ("SELECT name FROM system.columns LIMIT 1", True, True),
    ("SELECT name FROM system.functions LIMIT 1", True, True),
    ("SELECT name FROM system.settings LIMIT 1", True, True),
    ("SHOW TABLES FROM aisleflow", True, True),
    ("DESCRIBE TABLE aisleflow.t", True, True),
    ("EXPLAIN SELECT 1", True, True),
    ("SELECT number FROM numbers(3)", True, True),
    # Tables and rows are the writer's.
    ("INSERT INTO aisleflow.t SELECT 2", True, False),
    ("ALTER TABLE aisleflow.t ADD COLUMN IF NOT EXISTS b UInt8", True, False),
    ("CREATE TABLE aisleflow.made (a UInt8) ENGINE = ReplacingMergeTree ORDER BY a", True, False),
    ("OPTIMIZE TABLE aisleflow.t", True, False),
    ("TRUNCATE TABLE aisleflow.made", True, False),
    ("DROP TABLE aisleflow.made", True, False),
    ("ALTER TABLE aisleflow.t DELETE WHERE a = 200", True, False),
    # Files, programs and the network are nobody's.
    ("SELECT file('FILE')", False, False),
    ("SELECT arrayMap(file, ['FILE'])", False, False),
    ("SELECT * FROM file('FILE', 'LineAsString')", False, False),
    ("DESCRIBE file('FILE', 'LineAsString')", False, False),
    ("SELECT * FROM 'FILE'", False, False),
    ("CREATE TABLE aisleflow.f (a String) ENGINE = File(TSV, 'FILE')", False, False),
    ("INSERT INTO aisleflow.s FROM INFILE 'FILE' FORMAT LineAsString", False, False),
    ("INSERT INTO FUNCTION file('OUT', 'TSV', 'a UInt8') SELECT 1", False, False),
    ("SELECT 1 INTO OUTFILE 'OUT'", False, False),
    ("SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')", False, False),
    ("CREATE TABLE aisleflow.u (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)", False, False),
    ("SELECT * FROM s3('http://127.0.0.1:1/bucket/x', 'CSV', 'a String')", False, False),
    ("SELECT * FROM remote('127.0.0.1:1', system.one)", False, False),
    ("SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", False, False),
    ("SELECT * FROM executable('id', TSV, 'a String')", False, False),
    ("CREATE TABLE aisleflow.x (a String) ENGINE = Executable('id', TSV)", False, False),
    ("CREATE DATABASE files ENGINE = Filesystem('/etc')", False, False),
    ("CREATE DICTIONARY aisleflow.d (a Int8) PRIMARY KEY a SOURCE(FILE(path 'FILE' format 'TSV')) LAYOUT(FLAT())", False, False),
    ("BACKUP TABLE aisleflow.t TO Disk('default', 'x')", False, False),
    # The server and its users are nobody's either.
    ("CREATE FUNCTION f AS x -> x", False, False),
    ("CREATE USER u IDENTIFIED BY 'u'", False, False),
    ("ALTER USER analyst SETTINGS readonly = 0", False, False),
    ("GRANT ALL ON *.* TO default", False, False),
    ("CREATE NAMED COLLECTION n AS a = 1", False, False),
    ("SELECT * FROM system.users", False, False),
    ("SELECT * FROM system.grants", False, False),
    ("SYSTEM SHUTDOWN", False, False),
    ("SYSTEM STOP MERGES aisleflow.t", False, False),
    ("SYSTEM DROP MARK CACHE", False, False),
]  # fmt: skip
ONLY_EMBEDDED = [
    # Other users' statements are not shown and not ended; on a real server grants see to it, here the text is judged.
    ("KILL QUERY WHERE 1", False, False),
    ("SELECT query FROM system.processes", True, False),
    ("SHOW PROCESSLIST", True, False),
    ("EXPLAIN SELECT query FROM system.processes", True, False),
    ("SELECT query FROM merge('system', 'processe.')", True, False),
    ("SET max_threads = 3", True, False),
    ("SELECT 1 SETTINGS readonly = 0", True, False),
    ("SELECT 1 SETTINGS max_execution_time = 1000", True, False),
    ("SELECT 1 SETTINGS max_memory_usage = 0", True, False),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "secret").write_text(SECRET)
    return {"FILE": str(folder / "secret"), "OUT": str(folder / "out")}


def filled(statement: str, files: dict[str, str]) -> str:
    for name, path in files.items():
        statement = statement.replace(f"'{name}'", f"'{path}'")
    return statement


@pytest.fixture(scope="module")
def users(clickhouse: str) -> Iterator[dict[str, httpx.Client]]:
    url = urlsplit(clickhouse)
    assert url.password is not None
    base = f"http://127.0.0.1:{url.port}"
    with (
        httpx.Client(base_url=base, auth=("aisleflow", url.password), timeout=30) as writer,
        httpx.Client(base_url=base, auth=("reader", f"{url.password}-reader"), timeout=30) as reader,
        httpx.Client(base_url=base, auth=("analyst", url.password[::-1]), timeout=30) as analyst,
    ):
        for statement in (
            "CREATE DATABASE IF NOT EXISTS aisleflow",
            "CREATE TABLE IF NOT EXISTS aisleflow.t (a UInt8) ENGINE = MergeTree ORDER BY a",
            "CREATE TABLE IF NOT EXISTS aisleflow.s (a String) ENGINE = MergeTree ORDER BY a",
        ):
            assert writer.post("/", content=statement).status_code == 200
        yield {"writer": writer, "reader": reader, "analyst": analyst}


@pytest.mark.parametrize(("statement", "writer", "analyst"), STATEMENTS + ONLY_EMBEDDED)
def test_in_the_embedded_server(
    statement: str, writer: bool, analyst: bool, users: dict[str, httpx.Client], files: dict[str, str]
) -> None:
    # The API may choose the settings of its own queries; else it is held to what an analyst may.
    reader = analyst or (writer and statement.startswith("SELECT 1 SETTINGS max_"))
    for name, allowed in (("analyst", analyst), ("reader", reader), ("writer", writer)):
        answer = users[name].post("/", content=filled(statement, files))
        code = answer.headers.get("X-ClickHouse-Exception-Code")
        # A file in the place of a table is answered as a table that is not there.
        denied = code in DENIED or (code == "60" and "FROM 'FILE'" in statement)
        assert (code is None) if allowed else denied, f"{name}: {answer.text[:300]}"
        assert SECRET not in answer.text
    assert not Path(files["OUT"]).exists()


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM system.{t:Identifier}", "SELECT * FROM {t:Identifier}", "SELECT * FROM { t : identifier }"],
)
def test_a_table_named_by_a_parameter_is_refused(statement: str, users: dict[str, httpx.Client]) -> None:
    answer = users["analyst"].post("/", params={"param_t": "processes", "database": "system"}, content=statement)
    assert answer.headers["X-ClickHouse-Exception-Code"] in DENIED


def test_a_long_statement_of_an_analyst_is_not_taken_in(users: dict[str, httpx.Client]) -> None:
    """Who cannot insert has no use for the body of an insert."""
    answer = users["analyst"].post("/", content=b"SELECT 1 --" + b"x" * 17_000_000)
    assert answer.headers["X-ClickHouse-Exception-Code"] == "307"


def test_analysts_who_fill_every_seat_leave_the_writer_alone(users: dict[str, httpx.Client]) -> None:
    analyst = users["analyst"]
    slow = [threading.Thread(target=lambda: analyst.post("/", content="SELECT sleep(2)")) for _ in range(12)]
    for thread in slow:
        thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert users["writer"].post("/", content="SELECT 1").text == "1\n"
    assert time.monotonic() - began < 2
    for thread in slow:
        thread.join()


# --- the grants of compose -------------------------------------------------------------------------------------------

# Runs statements as the user whose element of users.xml has become that of the engine's own user.
RUN = """
import json, sys
from pathlib import Path
from chdb.state import connect

folder, statements = Path(sys.argv[1]), json.load(sys.stdin)
connection = connect(f"{folder}/db?config-file={folder}/config.xml")
told = []
for statement in statements:
    try:
        told.append([None, connection.query(statement, "TSV").bytes().decode(errors="replace")])
    except Exception as error:
        told.append([str(error), ""])
print("TOLD" + json.dumps(told))
"""
ANYTHING = "<profile>default</profile><quota>default</quota><access_management>1</access_management>"


def run_as(user: str | None, folder: Path, statements: list[str]) -> list[tuple[str | None, str]]:
    """(error, answer) of each statement as a user of compose; as one who may do anything without a user."""
    text = (ROOT / "infra/clickhouse/users.xml").read_text()
    # The engine in a process has no server's config.xml, which turns this on.
    profiles = re.sub(r"<changeable_in_readonly/>", "", text[text.index("<profiles>") : text.index("</profiles>")])
    element = ANYTHING if user is None else text.partition(f"<{user}>\n      <password")[2].partition(f"</{user}>")[0]
    element = element.partition("/>")[2] if user else element
    assert element
    (folder / "users.xml").write_text(
        f"<clickhouse>{profiles}<default/></profiles><quotas><default/></quotas>"
        f"<users><default><password/><networks><ip>::/0</ip></networks>"
        f"{re.sub('<networks>.*</networks>', '', element)}</default></users></clickhouse>"
    )
    users = f"<clickhouse><users_config>{folder}/users.xml</users_config></clickhouse>"
    (folder / "config.xml").write_text(users)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "TOLD" in done.stdout, done.stderr[-2000:]
    told: list[Any] = json.loads(done.stdout.rpartition("TOLD")[2])
    return [(error, answer) for error, answer in told]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grants")


def test_the_writer_of_compose_can_migrate_and_nothing_else(folder: Path, files: dict[str, str]) -> None:
    made = ["CREATE DATABASE other", "CREATE TABLE other.t (a UInt8) ENGINE = MergeTree ORDER BY a"]
    assert [error for error, _ in run_as(None, folder, made) if error] == []
    needed = ["CREATE DATABASE IF NOT EXISTS aisleflow", "USE aisleflow", migrations._RECORD]
    needed += [statement for migration in migrations.load() for statement in migration.statements]
    needed += [
        "CREATE TABLE aisleflow.t (a UInt8) ENGINE = MergeTree ORDER BY a",
        "CREATE TABLE aisleflow.s (a String) ENGINE = MergeTree ORDER BY a",
        "SELECT count() FROM system.parts",
    ]
    assert [error for error, _ in run_as("aisleflow", folder, needed) if error] == []
    asked = [(s, allowed) for s, allowed, _ in STATEMENTS if of_a_server(s)]
    asked += [("SELECT count() FROM other.t", False), ("CREATE DATABASE mine", False), ("DROP DATABASE other", False)]
    judge("aisleflow", folder, asked, files)


def test_the_analyst_of_compose_reads_and_nothing_else(folder: Path, files: dict[str, str]) -> None:
    made = ["CREATE TABLE IF NOT EXISTS aisleflow.made (a UInt8) ENGINE = ReplacingMergeTree ORDER BY a"]
    assert [error for error, _ in run_as(None, folder, made) if error] == []
    asked = [(s, allowed) for s, _, allowed in STATEMENTS if of_a_server(s)]
    asked += [("SELECT count() FROM aisleflow.visits FINAL", True), ("SELECT count() FROM other.t", False)]
    asked += [(s, False) for s, _, _ in ONLY_EMBEDDED if "SET" in s]
    judge("analyst", folder, asked, files)


def test_the_reader_of_compose_reads_with_settings_of_its_own(folder: Path, files: dict[str, str]) -> None:
    asked = [(s, allowed) for s, _, allowed in STATEMENTS if of_a_server(s)]
    asked += [("SELECT count() FROM aisleflow.visits FINAL SETTINGS max_threads = 1", True)]
    judge("reader", folder, asked, files)


def of_a_server(statement: str) -> bool:
    """Whether grants decide: INTO OUTFILE and INFILE are done by clients, the function file() reads a server's user_files
    only, and an executable is one that an administrator has put into its user_scripts.
    """
    return not re.search(r"OUTFILE|INFILE|[eE]xecutable|^SELECT file\(|\(file,", statement)


def judge(user: str, folder: Path, asked: list[tuple[str, bool]], files: dict[str, str]) -> None:
    told = run_as(user, folder, [filled(statement, files) for statement, _ in asked])
    wrong = []
    for (statement, allowed), (error, answer) in zip(asked, told, strict=True):
        denied = error is not None and any(f"Code: {code}." in error for code in DENIED)
        if (error is None) != allowed or (error is not None and not denied) or SECRET in answer:
            wrong.append((statement, error, answer[:100]))
    assert not wrong, "\n".join(map(str, wrong))
