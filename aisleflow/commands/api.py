"""``aisleflow api``: serve the API and the wall."""

from __future__ import annotations

import gc


def api() -> None:
    """Serve the API and the wall display on AISLEFLOW_HOST:AISLEFLOW_API_PORT."""
    import typer
    import uvicorn

    from aisleflow import log, tracing
    from aisleflow.settings import settings
    from api.security import InsecureError, check_binding

    chosen = settings()
    try:
        check_binding(chosen)
    except InsecureError as error:
        typer.echo(f"api: {error}", err=True)
        raise typer.Exit(2) from None
    log.configure(chosen.log_level)
    tracing.configure(chosen, "aisleflow-api")
    from api.app import create_app
    from infra.http import BoundedConnection

    uvicorn.run(
        create_app(chosen, when_loaded=_keep_what_is_loaded),
        http=BoundedConnection,
        host=chosen.host,
        port=chosen.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


def _keep_what_is_loaded() -> None:
    """Take what is in memory now out of the collector's passes: they walked over all of it, though it stays, and every
    answer waited for them, 0.15 s every six seconds of a busy hour.
    """
    gc.collect()
    gc.freeze()
