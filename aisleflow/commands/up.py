"""``aisleflow up``: every part on this machine, under one supervisor."""

from pathlib import Path
from typing import Annotated, Any

import typer


def up(
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data, logs and secrets are kept; default: the user's state directory.")
    ] = None,
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Use your own Kafka.")] = None,
    clickhouse: Annotated[
        str | None, typer.Option(metavar="URL", help="Use your own ClickHouse: http(s)://USER:PASSWORD@HOST:PORT/DB.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Stream worker processes.")] = None,
    secure: Annotated[
        bool | None,
        typer.Option(
            "--secure", help="Kafka wants a password and an ACL for everything; producers come by `producers add`."
        ),
    ] = None,
) -> None:
    """Start Kafka, ClickHouse, the workers and the API; Ctrl-C stops them, the data stays."""
    import asyncio

    from aisleflow.secrets import SecretsError
    from aisleflow.settings import Settings
    from aisleflow.supervisor import Supervisor

    given: dict[str, Any] = {"data_dir": data_dir, "kafka": kafka, "clickhouse_url": clickhouse, "workers": workers}
    given["kafka_secure"] = secure
    chosen = Settings(**{name: value for name, value in given.items() if value is not None})
    try:
        supervisor = Supervisor(chosen)
    except (SecretsError, OSError) as error:
        typer.echo(f"aisleflow: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(asyncio.run(supervisor.run()))
