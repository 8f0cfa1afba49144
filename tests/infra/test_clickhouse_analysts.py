"""Analysts who may see some shops: whatever they ask, on the embedded server they see nothing of the others."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import httpx
import pytest
from chdb.state import connect
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from aisleflow.cli import app
from infra.clickhouse import analysts
from schemas import migrations
from tests.conftest import free_port, running_clickhouse

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL of a server with rows of the shops MINE and OTHER, and the password of asha, who may see MINE."""
    folder = tmp_path_factory.mktemp("shops")
    password = secrets.token_hex(16)
    with (
        running_clickhouse(folder / "clickhouse", free_port(), password) as url,
        clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False) as writer,
    ):
        migrations.create_database(writer, "aisleflow")
        migrations.migrate(writer)
        for store in ("MINE", "OTHER"):
            writer.command(
                "INSERT INTO visits (store_id, business_day, visitor_id, is_visitor, entries, version) "
                f"SELECT '{store}', today(), concat('{store}-SECRET-', toString(number)), 1, 1, 1 FROM numbers(50)"
            )
            writer.command(
                "INSERT INTO events (event_id, store_id, camera_id, visitor_id, event_type, timestamp, received_at) SELECT "
                f"generateUUIDv4(), '{store}', 'C', concat('{store}-SECRET-', toString(number)), 'ENTRY', now(), now() FROM numbers(50)"
            )
            writer.command(f"INSERT INTO store_layouts (store_id, name) VALUES ('{store}', '{store}-SECRET')")
        writer.command("INSERT INTO event_ids (event_id) SELECT generateUUIDv4() FROM numbers(9)")
    done = CliRunner().invoke(app, ["analysts", "add", "asha", "--store", "MINE", "--data-dir", str(folder)])
    assert done.exit_code == 0, done.output
    with running_clickhouse(folder / "clickhouse", free_port(), password) as url:
        yield url, done.output.split()[-1]


def client_of(url: str, user: str, password: str) -> Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=urlsplit(url).port or 0, username=user, password=password, database="aisleflow"
    )


@pytest.fixture(scope="module")
def asha(served: tuple[str, str]) -> Iterator[Client]:
    with client_of(served[0], "asha", served[1]) as client:
        yield client


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT DISTINCT store_id FROM visits",
        "SELECT DISTINCT store_id FROM visits FINAL",
        "SELECT DISTINCT store_id FROM visits_final",
        "SELECT store_id FROM store_days",
        "SELECT DISTINCT store_id FROM visitors",
        "SELECT store_id FROM store_layouts_final",
        "SELECT DISTINCT store_id FROM store_feed_from_events",
        "SELECT DISTINCT store_id FROM store_feed FINAL",
        "SELECT DISTINCT e.store_id FROM visits AS v RIGHT JOIN events AS e ON v.visitor_id = e.visitor_id",
        "SELECT DISTINCT store_id FROM (SELECT * FROM visits SETTINGS log_comment = '')",
        "WITH x AS (SELECT store_id FROM events SETTINGS log_comment = 'x') SELECT DISTINCT store_id FROM x",
        "SELECT DISTINCT store_id FROM view(SELECT store_id FROM visits)",
        "SELECT arrayJoin(groupUniqArray(store_id)) FROM visits",
        "SELECT any(store_id) FROM visits WHERE store_id IN (SELECT store_id FROM events)",
        "SELECT DISTINCT store_id FROM visits AS OTHER",
        "(SELECT store_id FROM visits LIMIT 1) UNION ALL (SELECT store_id FROM events LIMIT 1)",
        "SELECT min(store_id) FROM visits UNION ALL SELECT max(store_id) FROM visits",
        "SELECT DISTINCT store_id FROM visits PREWHERE visitor_id != ''",
    ],
)
def test_only_their_own_shops(asha: Client, sql: str) -> None:
    assert {row[0] for row in asha.query(sql).result_rows} == {"MINE"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM visits",
        "SELECT count() FROM visits FINAL",
        "SELECT uniqExact(visitor_id) FROM events",
        "SELECT sum(unique_visitors) FROM store_days",
    ],
)
def test_counts_are_of_their_own_shops(asha: Client, sql: str) -> None:
    assert int(str(asha.command(sql))) == 50


@pytest.mark.parametrize("final", ["", "FINAL"])
@pytest.mark.parametrize("clause", ["WHERE", "PREWHERE"])
@pytest.mark.parametrize(
    "probe",
    ["throwIf(store_id = 'OTHER')", "throwIf(visitor_id LIKE 'OTHER%')", "intDiv(1, toUInt8(store_id != 'OTHER')) = 0"],
)
def test_no_expression_sees_a_row_of_another_shop(asha: Client, final: str, clause: str, probe: str) -> None:
    """An error of an expression would tell of rows that are left out after it."""
    assert asha.query(f"SELECT 1 FROM visits {final} {clause} {probe}").result_rows == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM event_ids",
        "SELECT * FROM schema_migrations",
        "SELECT * FROM worker_health_final",
        "SELECT * FROM system.parts",
        "SELECT * FROM system.parts_columns",
        "SELECT * FROM system.settings_changes",
    ],
)
def test_what_has_no_shop_is_empty(asha: Client, sql: str) -> None:
    assert asha.query(sql).result_rows == []


@pytest.mark.parametrize(
    ("sql", "settings"),
    [
        ("SELECT 1 FROM visits SETTINGS log_comment = ''", {}),
        ("SELECT store_id FROM merge('aisleflow', 'visits')", {}),
        ("SELECT store_id FROM remote('127.0.0.1', aisleflow.visits)", {}),
        ("SELECT store_id FROM cluster('default', aisleflow.visits)", {}),
        ("SELECT * FROM mergeTreeIndex('aisleflow', 'visits')", {}),
        ("SELECT * FROM loop(aisleflow.visits)", {}),
        ("SELECT * FROM file('chdb/store/*/*/*/visitor_id.bin', 'LineAsString')", {}),
        ("SELECT query FROM system.processes", {}),
        ("SET log_comment = ''", {}),
        ("INSERT INTO visits (store_id) VALUES ('OTHER')", {}),
        ("SELECT 1", {"log_comment": ""}),
        ("SELECT 1", {"apply_row_policy_after_final": "1"}),
        ("SELECT 1", {"readonly": "0"}),
    ],
)
def test_no_way_around(served: tuple[str, str], sql: str, settings: dict[str, str]) -> None:
    where = f"http://127.0.0.1:{urlsplit(served[0]).port}/"
    answer = httpx.post(where, params={"database": "aisleflow", **settings}, content=sql, auth=("asha", served[1]))
    assert answer.headers.get("X-ClickHouse-Exception-Code") in {"164", "497"}, answer.text
    assert "OTHER-SECRET" not in answer.text


def test_a_plan_tells_nothing_of_others(asha: Client) -> None:
    plan = asha.query("EXPLAIN ESTIMATE SELECT * FROM visits WHERE store_id = 'OTHER'").result_rows
    assert [row[2:] for row in plan] == [(0, 0, 0)]  # parts, rows, marks


def test_who_may_see_all_still_does(served: tuple[str, str]) -> None:
    password = urlsplit(served[0]).password or ""
    for user, known in (("aisleflow", password), ("reader", f"{password}-reader"), ("analyst", password[::-1])):
        with client_of(served[0], user, known) as client:
            assert client.command("SELECT count() FROM visits FINAL") == 100, user


def test_passwords(served: tuple[str, str]) -> None:
    where = f"http://127.0.0.1:{urlsplit(served[0]).port}/"
    for user, password in (("asha", "wrong"), ("asha", ""), ("ravi", served[1])):
        assert httpx.post(where, content="SELECT 1", auth=(user, password)).status_code == 401


def test_a_newer_table_closes_the_door(served: tuple[str, str], asha: Client) -> None:
    """Policies are read when the engine opens: until then nothing is shown rather than too much."""
    with clickhouse_connect.get_client(dsn=f"{served[0]}/aisleflow", autogenerate_session_id=False) as writer:
        writer.command("CREATE TABLE newer (store_id String) ENGINE = MergeTree ORDER BY store_id")
        try:
            with pytest.raises(Exception, match=r"aisleflow\.newer are not held apart"):
                asha.query("SELECT 1")
        finally:
            writer.command("DROP TABLE newer")
    assert asha.command("SELECT 1") == 1


def test_names_and_the_file(tmp_path: Path) -> None:
    run = CliRunner().invoke
    folder = ["--data-dir", str(tmp_path)]
    for name, store in (("analyst", "S"), ("a b", "S"), ("asha", "it's"), ("asha", "two\nlines")):
        assert run(app, ["analysts", "add", name, "--store", store, *folder]).exit_code == 1
    assert run(app, ["analysts", "add", "asha", "--store", "S1", "--store", "S2", *folder]).exit_code == 0
    assert run(app, ["analysts", "list", *folder]).output == "asha: S1, S2\n"
    path = tmp_path / "clickhouse" / analysts.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert run(app, ["analysts", "remove", "asha", *folder]).exit_code == 0
    assert run(app, ["analysts", "remove", "asha", *folder]).exit_code == 1
    assert analysts.load(path) == {}
    shutil.rmtree(tmp_path)


def test_the_statements_for_a_real_server_are_sql_that_clickhouse_reads(tmp_path: Path) -> None:
    """The engine here keeps no users of its own, so it can only read them."""
    analyst, password = analysts.create("asha", ["S1", "S2"])
    assert analyst.has_password(password)
    tables = [
        analysts.Table("aisleflow", "visits", "ReplacingMergeTree", True),
        analysts.Table("aisleflow", "event_ids", "ReplacingMergeTree", False),
        analysts.Table("aisleflow", "visits_final", "View", True),
        analysts.Table("other", "t", "MergeTree", True),
    ]
    statements = list(analysts.statements(analyst, "aisleflow", tables))
    assert len(statements) == 4
    engine = connect(str(tmp_path))
    for statement in statements:
        engine.query("SELECT formatQuery({sql:String})", params={"sql": statement})
    engine.close()
    assert "`visits` FOR SELECT USING store_id IN ('S1', 'S2') TO asha" in statements[2]
    assert "`event_ids` FOR SELECT USING 0 TO asha" in statements[3]
