"""Migrations: files that can run again, applied once, forward only."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from schemas import migrations
from schemas.migrations import Migration, MigrationError

ONE = Migration(1, "one", "CREATE TABLE IF NOT EXISTS one (a UInt8) ENGINE = MergeTree ORDER BY a;")
TWO = Migration(
    2, "two", "ALTER TABLE one ADD COLUMN IF NOT EXISTS b String COMMENT 'x; y';\nINSERT INTO one VALUES (1, ';');"
)


def test_split_leaves_semicolons_within_strings_and_comments() -> None:
    script = "-- a; b\nSELECT ';', `x;`, \"y;\", 'it''s \\'; ' /* ; */ ;\n\n;SELECT 2 -- end;"
    assert migrations.split(script) == ["SELECT ';', `x;`, \"y;\", 'it''s \\'; '", "SELECT 2"]


def test_the_files_have_unique_numbers_and_statements_that_can_run_again() -> None:
    files = migrations.load()
    assert files
    assert [file.number for file in files] == list(range(1, len(files) + 1))
    again = re.compile(
        r"CREATE (TABLE|MATERIALIZED VIEW|VIEW|DICTIONARY) IF NOT EXISTS|CREATE OR REPLACE (VIEW|DICTIONARY)"
        r"|DROP \w+( \w+)? IF EXISTS|ALTER TABLE .* (ADD|DROP|RENAME) \w+ IF (NOT )?EXISTS|ALTER TABLE .* MODIFY",
        re.DOTALL,
    )
    for file in files:
        assert file.statements
        for statement in file.statements:
            assert again.match(statement), f"{file.number:04}: cannot run again: {statement[:80]}"


def test_on_replicas_every_table_of_the_files_is_a_replicated_one_and_nothing_else_changes() -> None:
    tables = 0
    for file in migrations.load():
        for statement in file.statements:
            changed = migrations.replicated(statement)
            if statement.startswith("CREATE TABLE"):
                tables += 1
                assert len(re.findall(r"^ENGINE = Replicated\w*MergeTree\b", changed, re.MULTILINE)) == 1, statement[
                    :80
                ]
                assert changed.replace("ENGINE = Replicated", "ENGINE = ") == statement
            else:
                assert changed == statement
    assert tables >= 10


def test_a_replicated_database_is_made_on_all_servers_under_a_path_of_its_name() -> None:
    assert migrations.database_statement("shops_2", replicated=True) == (
        "CREATE DATABASE IF NOT EXISTS {name:Identifier} ON CLUSTER '{cluster}' "
        "ENGINE = Replicated('/clickhouse/databases/shops_2', '{shard}', '{replica}')"
    )
    with pytest.raises(MigrationError, match="letters, digits and _ only"):
        migrations.database_statement("shops', 'x", replicated=True)


@pytest.mark.system
def test_the_statements_for_replicas_are_clickhouse_s_language(client: Client) -> None:
    statements = [
        migrations.replicated(statement)
        for file in migrations.load()
        for statement in file.statements
        if "ENGINE" in statement
    ]
    statements.append(migrations.database_statement("shops", replicated=True).replace("{name:Identifier}", "shops"))
    for statement in statements:
        client.query("SELECT formatQuery({statement:String})", parameters={"statement": statement})


@pytest.mark.system
def test_a_database_of_one_server_is_not_taken_for_a_replicated_one(client: Client) -> None:
    with pytest.raises(MigrationError, match="on this server alone"):
        migrations.create_database(client, str(client.database), replicated=True)


def test_a_number_given_twice_and_a_wrong_name_are_errors(tmp_path: Path) -> None:
    (tmp_path / "0001_one.sql").write_text("SELECT 1")
    (tmp_path / "0001_uno.sql").write_text("SELECT 1")
    with pytest.raises(MigrationError, match=r"0001_uno\.sql has the number of one"):
        migrations.load(tmp_path)
    (tmp_path / "0001_uno.sql").rename(tmp_path / "1-uno.sql")
    with pytest.raises(MigrationError, match="must be named"):
        migrations.load(tmp_path)


@pytest.fixture
def client(clickhouse: str, request: pytest.FixtureRequest) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=clickhouse, autogenerate_session_id=False) as found:
        migrations.create_database(found, request.node.name)
        yield found


@pytest.mark.system
def test_each_is_applied_once_and_in_order(client: Client) -> None:
    heard: list[str] = []
    assert migrations.migrate(client, [ONE], report=lambda m: heard.append(m.name)) == [ONE]
    assert migrations.migrate(client, [ONE, TWO], report=lambda m: heard.append(m.name)) == [TWO]
    assert migrations.migrate(client, [ONE, TWO]) == []
    assert heard == ["one", "two"]
    assert client.query("SELECT a, b FROM one").result_rows == [(1, ";")]
    names = client.query("SELECT number, name, checksum FROM schema_migrations FINAL ORDER BY number").result_rows
    assert names == [(1, "one", ONE.checksum), (2, "two", TWO.checksum)]


@pytest.mark.system
def test_what_does_not_fit_is_refused_before_anything_runs(client: Client) -> None:
    migrations.migrate(client, [ONE, TWO])
    changed = Migration(1, "one", ONE.sql + "\n")
    with pytest.raises(MigrationError, match=r"0001_one\.sql was changed"):
        migrations.migrate(client, [changed, TWO])
    with pytest.raises(MigrationError, match="newer version"):
        migrations.migrate(client, [ONE])
    late = Migration(0, "late", "CREATE TABLE late (a UInt8) ENGINE = Memory")
    with pytest.raises(MigrationError, match="renumber"):
        migrations.migrate(client, [late, ONE, TWO])
    assert client.command("EXISTS TABLE late") == 0


@pytest.mark.system
def test_a_run_cut_short_goes_on_where_it_was(client: Client) -> None:
    broken = Migration(1, "one", ONE.sql + "SELECT throwIf(1);")
    with pytest.raises(Exception, match="395"):
        migrations.migrate(client, [broken])
    assert client.command("SELECT count() FROM schema_migrations") == 0
    assert migrations.migrate(client, [ONE]) == [ONE]


@pytest.mark.system
def test_two_at_once_do_no_harm(clickhouse: str, client: Client) -> None:
    def run(_: int) -> None:
        with clickhouse_connect.get_client(dsn=f"{clickhouse}/{client.database}", autogenerate_session_id=False) as own:
            migrations.migrate(own)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    recorded = client.query("SELECT number FROM schema_migrations FINAL ORDER BY number").result_rows
    assert [row[0] for row in recorded] == [file.number for file in migrations.load()]
    assert migrations.migrate(client) == []


@pytest.mark.system
def test_every_table_and_column_says_what_it_is(client: Client) -> None:
    migrations.migrate(client)
    of = {"database": client.database or ""}
    tables = "SELECT name FROM system.tables WHERE database = {database:String} AND comment = '' AND engine != 'MaterializedView'"
    assert client.query(tables, parameters=of).result_rows == []
    columns = (
        "SELECT table, name FROM system.columns WHERE database = {database:String} AND comment = '' AND table IN "
        "(SELECT name FROM system.tables WHERE database = {database:String} AND engine != 'MaterializedView')"
    )
    assert client.query(columns, parameters=of).result_rows == []
    undeduplicated = (
        "SELECT name FROM system.tables WHERE database = {database:String} AND engine LIKE '%MergeTree' "
        "AND create_table_query NOT LIKE '%non_replicated_deduplication_window%' AND name != 'schema_migrations'"
    )
    assert client.query(undeduplicated, parameters=of).result_rows == []


@pytest.mark.system
def test_the_command_prints_and_applies(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from aisleflow.cli import app
    from aisleflow.settings import settings

    monkeypatch.setenv("AISLEFLOW_CLICKHOUSE_URL", f"{clickhouse}/migrate_command")
    settings.cache_clear()
    try:
        run = CliRunner().invoke
        dry = run(app, ["migrate", "--dry-run"])
        assert "CREATE TABLE IF NOT EXISTS events" in dry.output
        assert run(app, ["migrate"]).output.startswith("applied 0001_")
        assert run(app, ["migrate"]).output == "up to date\n"
        assert run(app, ["migrate", "--dry-run"]).output == "-- up to date\n"
        monkeypatch.setenv("AISLEFLOW_CLICKHOUSE_URL", "http://127.0.0.1:1/x")
        settings.cache_clear()
        assert run(app, ["migrate"]).exit_code == 1
    finally:
        settings.cache_clear()


@pytest.mark.system
def test_ids_stored_before_they_had_a_table_of_one_column_stay_known(client: Client) -> None:
    files = migrations.load()
    migrations.migrate(client, files[:2])
    row = "SELECT '0a0a0a0a-0000-4000-8000-00000000000a', 'S', 'V', now(), '2026-11-01 12:00:00'"
    client.command(f"INSERT INTO event_ids {row}")
    migrations.migrate(client, files)
    client.command("INSERT INTO event_ids (event_id) SELECT '0b0b0b0b-0000-4000-8000-00000000000b'")
    client.command("OPTIMIZE TABLE event_ids FINAL")
    assert client.query("SELECT * FROM event_ids WHERE toDate(received_at) = '2026-11-01'").row_count == 1
    assert client.command("SELECT uniqExact(event_id) FROM event_ids") == 2
