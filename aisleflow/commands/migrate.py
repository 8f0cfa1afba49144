"""``aisleflow migrate``: bring ClickHouse's tables up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from aisleflow.settings import Settings


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL that would run, and run nothing.")] = False,
) -> None:
    """Create or update ClickHouse's tables, and how long they keep their rows (AISLEFLOW_RETENTION_*); safe to run again."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from aisleflow.settings import settings
    from schemas.migrations import MigrationError

    try:
        if dry_run:
            typer.echo(pending_sql(settings()) or "-- up to date")
            return
        applied = apply(settings())
    except (ClickHouseError, MigrationError, ValueError) as error:
        typer.echo(f"migrate: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo("\n".join(f"applied {name}" for name in applied) or "up to date")


def apply(settings: Settings) -> list[str]:
    """Create the database of ``AISLEFLOW_CLICKHOUSE_URL`` and its tables; the names of the files applied now.

    Raises:
        ValueError, MigrationError, ClickHouseError: no URL, files and database do not fit, the server refused.
    """
    from schemas import migrations

    client, database = _client(settings)
    with client:
        migrations.create_database(client, database, replicated=settings.clickhouse_replicated)
        applied = [f"{m.number:04}_{m.name}" for m in migrations.migrate(client)]
        retain(client, settings)
        return applied


def retain(client: Client, settings: Settings) -> list[str]:
    """Have the tables keep their rows as long as the settings say; the statements that it took."""
    from schemas import retention

    query = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    days: dict[retention.Class, int] = {
        "events": settings.retention_events_days,
        "results": settings.retention_results_days,
        "health": settings.retention_health_days,
        "dead_letters": settings.retention_dead_letters_days,
    }
    created = {str(name): str(sql) for name, sql in client.query(query).result_rows}
    statements = list(retention.statements(created, days))
    for statement in statements:
        client.command(statement)
    return statements


def pending_sql(settings: Settings) -> str:
    """The statements that :func:`apply` would run."""
    from schemas import migrations

    client, database = _client(settings)
    with client:
        exists = client.query("SELECT name FROM system.databases WHERE name = {n:String}", parameters={"n": database})
        client.database = database
        known = migrations.load()
        todo = migrations.pending(client, known) if exists.result_rows else known
        return "\n".join(
            f"-- {m.number:04}_{m.name}\n" + "\n\n".join(f"{statement};" for statement in m.statements) for m in todo
        )


def _client(settings: Settings) -> tuple[Client, str]:
    """A client in a database that is always there, and the name of the one that is meant."""
    from urllib.parse import urlsplit

    from aisleflow.clients import clickhouse_client

    url = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
    return clickhouse_client(settings, database="default"), urlsplit(url).path.strip("/") or "default"
