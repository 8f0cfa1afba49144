"""``aisleflow webhooks add|list|test|remove|run``: alerts to addresses of yours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

app = typer.Typer(
    help="Alerts, or any topic, by signed HTTP POST to addresses of yours (docs/connectors.md). Exit code 1: no such webhook, or the "
    "test was not taken; 3: the registrations, or Kafka, cannot be used.",
    no_args_is_help=True,
)
Id = Annotated[str, typer.Argument(help="The webhook, as `list` shows it.")]


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Where to POST: https://HOST/PATH.")],
    topic: Annotated[list[str] | None, typer.Option(help="What it gets: alerts by default; may be repeated.")] = None,
    store: Annotated[list[str] | None, typer.Option(help="Only records of this shop; may be repeated.")] = None,
    attempts: Annotated[
        int, typer.Option(min=1, max=100, help="Attempts at a record before it waits in the dead letters.")
    ] = 10,
) -> None:
    """Register an address. The secret that its messages are signed with is shown this once."""
    from aisleflow.running import settings_of
    from connectors.webhooks import add

    with _told():
        webhook = add(settings_of(None), url, topic or ["alerts"], store or [], attempts)
    typer.echo(f"{webhook.id}\nsecret {webhook.secret.get_secret_value()}")
    typer.echo(
        f"It gets {', '.join(webhook.topics)} from now on, within seconds if `aisleflow webhooks run` runs. `aisleflow up` starts that "
        "by itself when it is started next."
    )


@app.command("list")
def list_() -> None:
    """Show what is registered; neither secrets nor paths, which may hold tokens."""
    from datetime import UTC, datetime

    from aisleflow.running import settings_of
    from connectors.webhooks import file_of, load

    with _told():
        webhooks = load(file_of(settings_of(None)))
    for webhook in webhooks:
        since = (
            datetime.fromtimestamp(webhook.created_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        )
        stores = f" of {', '.join(webhook.stores)}" if webhook.stores else ""
        typer.echo(f"{webhook.id}  {webhook.host}/…  {', '.join(webhook.topics)}{stores}  since {since}")
    if not webhooks:
        typer.echo("no webhook is registered")


@app.command()
def test(webhook_id: Id) -> None:
    """Send a message of type `test` now, once, and say what the receiver answered."""
    import time
    import uuid
    from datetime import UTC, datetime

    import orjson

    from aisleflow.running import settings_of
    from connectors.http import NotNow, Refused
    from connectors.webhooks import WebhookTarget, file_of, load

    settings = settings_of(None)
    with _told():
        webhook = next((one for one in load(file_of(settings)) if one.id == webhook_id), None)
    if webhook is None:
        typer.echo(f"webhooks: there is no webhook {webhook_id}", err=True)
        raise typer.Exit(1)
    body = orjson.dumps({"type": "test", "timestamp": datetime.now(UTC).isoformat(), "data": {"webhook": webhook.id}})
    began = time.monotonic()
    try:
        status = WebhookTarget(webhook, settings.webhooks_private).send(f"msg_{uuid.uuid4()}", body)
    except (NotNow, Refused) as error:
        typer.echo(f"webhooks: the test was not taken: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"taken: {status} after {(time.monotonic() - began) * 1000:.0f} ms")


@app.command()
def remove(webhook_id: Id) -> None:
    """Register an address no more. What it has not got yet it will not get."""
    from aisleflow.running import settings_of
    from connectors.webhooks import changing, file_of

    with _told(), changing(file_of(settings_of(None))) as webhooks:
        kept = [one for one in webhooks if one.id != webhook_id]
        known = len(kept) < len(webhooks)
        webhooks[:] = kept
    if not known:
        typer.echo(f"webhooks: there is no webhook {webhook_id}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{webhook_id} removed")


@app.command()
def run() -> None:
    """Deliver to all registered webhooks. `aisleflow up` runs it when there are any."""
    from aisleflow import log
    from aisleflow.settings import as_kafka_user, settings
    from connectors.webhooks import Dispatcher, until_signalled

    found = as_kafka_user(settings(), "webhooks")
    log.configure(found.log_level)
    with _told():
        Dispatcher(found).run(until_signalled())


@contextmanager
def _told() -> Iterator[None]:
    from connectors.pulling import ConnectError

    try:
        yield
    except ConnectError as error:
        typer.echo(f"aisleflow webhooks: {error}", err=True)
        raise typer.Exit(3) from None
