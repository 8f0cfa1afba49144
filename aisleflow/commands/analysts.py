"""``aisleflow analysts add|list|remove``: people who may read the rows of some shops only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.clickhouse import analysts

app = typer.Typer(
    help="Analysts who may read the rows of some shops only; who may read all uses the user `analyst`. Exit code 1: a name cannot be used.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(help="The user's name at ClickHouse: letters, digits and _.")]
DataDir = Annotated[Path | None, typer.Option(help="Data directory of `aisleflow up`. [default: AISLEFLOW_DATA_DIR]")]


def _file(data_dir: Path | None) -> Path:
    from aisleflow.settings import settings

    return (data_dir or settings().data_dir).expanduser() / "clickhouse" / analysts.FILE


@app.command()
def add(
    name: Name,
    store: Annotated[list[str], typer.Option(help="A shop that they may see; may be repeated.")],
    data_dir: DataDir = None,
    sql: Annotated[
        bool,
        typer.Option(
            "--sql", help="Print the statements for a ClickHouse of your own (AISLEFLOW_CLICKHOUSE_URL) instead."
        ),
    ] = False,
) -> None:
    """Add an analyst, or give one other shops and a new password, which is printed once.

    The first of them takes effect when Aisleflow is started again, and so do tables that are newer than its start.
    """
    try:
        analyst, password = analysts.create(name, store)
    except analysts.AnalystsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if sql:
        from aisleflow.clients import clickhouse_client
        from aisleflow.settings import settings

        with clickhouse_client(settings()) as client:
            tables = analysts.by_name(client.query(analysts.TABLES).named_results())
            for statement in analysts.statements(analyst, client.database or "default", tables):
                typer.echo(f"{statement};")
    else:
        path = _file(data_dir)
        analysts.save(path, (analysts.load(path) | {name: analyst}).values())
    typer.echo(f"{'-- ' if sql else ''}password of {name}: {password}")


@app.command("list")
def list_analysts(data_dir: DataDir = None) -> None:
    """Who there is, and for which shops."""
    for analyst in analysts.load(_file(data_dir)).values():
        typer.echo(f"{analyst.name}: {', '.join(analyst.stores)}")


@app.command()
def remove(name: Name, data_dir: DataDir = None) -> None:
    """Take an analyst away, at once."""
    path = _file(data_dir)
    known = analysts.load(path)
    if name not in known:
        typer.echo(f"there is no analyst {name}", err=True)
        raise typer.Exit(1)
    analysts.save(path, [analyst for analyst in known.values() if analyst.name != name])
