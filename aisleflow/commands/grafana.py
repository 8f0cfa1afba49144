"""``aisleflow grafana build|push|links``: dashboards and alerts, as files or into a Grafana that runs."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer

app = typer.Typer(help="Dashboards and alert rules for Grafana.", no_args_is_help=True)
Url = Annotated[str, typer.Option(help="Grafana's address, such as http://localhost:3000.")]


@app.command()
def build(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if a file is not current.")
    ] = False,
) -> None:
    """Write grafana/dashboards and grafana/provisioning from the Python in grafana/."""
    from grafana.build import HERE, outdated, write

    changed = outdated() if check else write()
    for path in changed:
        typer.echo(f"{'not current' if check else 'written'}: {path.relative_to(HERE.parent)}")
    if not changed:
        typer.echo("everything is current")
    if check and changed:
        typer.echo("aisleflow grafana: files are not current; run `aisleflow grafana build`", err=True)
        raise typer.Exit(1)


@app.command()
def push(
    url: Url,
    token: Annotated[
        str | None, typer.Option(envvar="AISLEFLOW_GRAFANA_TOKEN", help="Token of a service account that is an Admin.")
    ] = None,
    user: Annotated[
        str, typer.Option(envvar="AISLEFLOW_GRAFANA_USER", help="Without a token: user with the role Admin.")
    ] = "admin",
    clickhouse: Annotated[
        str | None,
        typer.Option(
            help="http(s)://HOST:PORT/DATABASE as Grafana reaches it; AISLEFLOW_CLICKHOUSE_URL's if left out."
        ),
    ] = None,
    set_password: Annotated[
        bool,
        typer.Option(
            "--set-password", help="Give the data source its password again: Grafana does not tell what it has."
        ),
    ] = False,
) -> None:
    """Put folder, data source, dashboards, alert rules, contact points and playlist into a Grafana that runs.

    What is there as it should be is left alone: a second push changes nothing. Without a token, the password comes from
    AISLEFLOW_GRAFANA_PASSWORD. The data source reads as the user analyst, with AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD or the one that
    `aisleflow up` made. Exit code 1: Grafana refused, or did not answer.
    """
    from aisleflow import secrets
    from aisleflow.settings import settings
    from grafana.push import Push, PushError

    known = settings()
    made = secrets.load(known.data_dir)
    address = clickhouse or (known.clickhouse_url.get_secret_value() if known.clickhouse_url else None)
    if address is None:
        typer.echo(
            "aisleflow grafana: say where Grafana reaches ClickHouse: --clickhouse http://HOST:8123/aisleflow", err=True
        )
        raise typer.Exit(1)
    place = urlsplit(address)
    password = known.clickhouse_analyst_password.get_secret_value() if known.clickhouse_analyst_password else ""
    password = password or (made.clickhouse_analyst if made else "")
    credential = token or (user, known.grafana_password.get_secret_value() if known.grafana_password else "")
    try:
        work = Push(url, credential)
        for line in work.everything(
            host=place.hostname or "localhost",
            port=place.port or (8443 if place.scheme == "https" else 8123),
            database=place.path.strip("/") or "aisleflow",
            secure=place.scheme == "https",
            password=password,
            set_password=set_password,
            email=known.alert_email,
            webhook=known.alert_webhook.get_secret_value() if known.alert_webhook else None,
        ):
            typer.echo(line)
    except PushError as error:
        typer.echo(f"aisleflow grafana: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo("nothing changed" if not work.changes else f"{work.changes} changed")


@app.command()
def links(
    url: Url = "http://localhost:3000",
    token: Annotated[
        str | None,
        typer.Option(envvar="AISLEFLOW_GRAFANA_TOKEN", help="To find the playlist, whose address Grafana makes up."),
    ] = None,
) -> None:
    """Print the addresses to open on a wall: the wall in kiosk mode, and with a token the playlist."""
    from grafana.push import Push, PushError, kiosk

    typer.echo(f"wall      {kiosk(url)}")
    if token is None:
        typer.echo(f"playlist  {url.rstrip('/')}/playlists (give --token to print its own address)")
        return
    try:
        address = Push(url, token).playlist_address()
    except PushError as error:
        typer.echo(f"aisleflow grafana: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"playlist  {address or 'there is none: run `aisleflow grafana push`'}")
