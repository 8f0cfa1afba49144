"""``aisleflow forecast``: the nightly forecasts of all shops and articles."""

from __future__ import annotations

from typing import Annotated

import typer


def forecast(
    store: Annotated[str | None, typer.Option(help="This shop only.")] = None,
    horizon: Annotated[int, typer.Option(min=1, max=90, help="Days from today on.")] = 28,
    again: Annotated[bool, typer.Option("--again", help="Also shops whose forecasts of today are made.")] = False,
    model: Annotated[str, typer.Option(help="A model by name; by default the best for each article.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep running: each shop is forecast once its business day is over.")
    ] = False,
) -> None:
    """Forecast what every shop sells, publish it, and say how the forecasts of a week ago did.

    Sales come from ClickHouse; forecasts go on the topics forecasts and forecast-accuracy, and the stock workers bring them to
    ClickHouse. Exit code 1: ClickHouse or Kafka is away; run it again.
    """
    import signal
    import sys
    import threading

    from clickhouse_connect.driver.exceptions import ClickHouseError
    from confluent_kafka import KafkaException

    from aisleflow import log
    from aisleflow.settings import settings
    from forecasting import nightly

    chosen = settings()
    log.configure(chosen.log_level)
    stop = threading.Event()
    if follow:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        command = [sys.executable, "-m", "aisleflow", "forecast", "--horizon", str(horizon), "--model", model]
        nightly.follow(chosen, [*command, *(("--store", store) if store else ())], stop)
        return
    try:
        runs = nightly.forecast(
            chosen, horizon, again=again, only=store, model=model, report=lambda run: typer.echo(run.told, err=True)
        )
    except (ClickHouseError, KafkaException, OSError, ValueError) as error:
        typer.echo(f"forecast: ClickHouse or Kafka is away: {str(error).splitlines()[0][:300]}", err=True)
        raise typer.Exit(1) from None
    except LookupError as error:
        raise typer.BadParameter(f"{model!r} {error.args[0]}", param_hint="--model") from None
    forecasts = sum(run.forecasts for run in runs)
    typer.echo(
        f"{forecasts:,} forecasts of {len(runs)} shops published" if runs else "no shop is due: --again forecasts all"
    )
