"""``aisleflow train``: a forecasting network from sales in PostgreSQL, ClickHouse or a CSV file, by Spark."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from aisleflow.settings import Settings
    from forecasting.pipeline.train import Outcome


def train(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="postgresql://USER@HOST/DATABASE (password: PGPASSWORD), clickhouse, or a CSV file, .gz too.",
            envvar="AISLEFLOW_TRAIN_FROM",
            show_envvar=False,
        ),
    ] = "clickhouse",
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="MEANING=NAME of a column with an unusual name: product, at, quantity, store, price, promotion, category, in_stock."
        ),
    ] = None,
    table: Annotated[
        str, typer.Option(help="Table or view of PostgreSQL; sales, else order_items with orders, if left out.")
    ] = "",
    time_zone: Annotated[
        str, typer.Option(help="IANA zone whose days count, where shops have none of their own.")
    ] = "UTC",
    days: Annotated[int, typer.Option(min=60, help="Days of history, back from the newest sale.")] = 1095,
    country: Annotated[
        str, typer.Option(help="Country whose public holidays count, such as IN or DE-BY; none if left out.")
    ] = "",
    date_format: Annotated[str, typer.Option(help="Of a CSV's dates, such as dd/MM/yyyy; found out if left out.")] = "",
    encoding: Annotated[str, typer.Option(help="Of a CSV; found out if left out.")] = "",
    holdout: Annotated[int, typer.Option(min=7, max=90, help="Days at the end to judge by.")] = 28,
    most_series: Annotated[
        int, typer.Option(min=1, help="Series to learn from and judge on, at most; the same ones each time.")
    ] = 20_000,
    steps: Annotated[int, typer.Option(min=1, help="Batches that the network learns from.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed, sales and machine give the same network.")] = 0,
    master: Annotated[str, typer.Option(help="Spark's URL of a cluster; local[*] is this machine.")] = "local[*]",
    memory: Annotated[str, typer.Option(help="Of Spark's driver, which with local[*] is all of Spark.")] = "2g",
    driver_jar: Annotated[
        str, typer.Option(help="File of PostgreSQL's JDBC driver; fetched from Maven Central if left out.")
    ] = "",
    schedule: Annotated[
        str, typer.Option(help="Train at these times until stopped: five fields as cron has them, in --time-zone.")
    ] = "",
) -> None:
    """Train a network, judge it on days held out, keep it, and serve it if it is better than what is served.

    Exit code 0: trained, and promoted or not as it says; 3: the sales could not be read, or another run is under way.
    """
    from datetime import date
    from pathlib import Path
    from zoneinfo import ZoneInfo

    from rich.console import Console
    from rich.markup import escape

    from aisleflow.settings import settings
    from forecasting.effects import holidays_of
    from forecasting.pipeline import schedule as by_clock
    from forecasting.pipeline import spark
    from forecasting.pipeline.sources import Source, SourceError
    from forecasting.pipeline.train import Plan, run
    from forecasting.registry import Registry, RegistryError

    said = [pair.split("=", 1) for pair in column or ()]
    if any(len(pair) != 2 or not all(pair) for pair in said):
        raise typer.BadParameter("is MEANING=NAME, such as product=article_no", param_hint="--column")
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{time_zone!r} is not an IANA time zone", param_hint="--time-zone") from None
    if country and not holidays_of(country, date(2026, 1, 1), date(2026, 12, 31)):
        raise typer.BadParameter(
            f"no public holidays are known of {country!r}: say IN, or DE-BY", param_hint="--country"
        )
    if schedule:
        _by_clock(schedule, zone)
        return
    wanted = Source(source, dict(pair for pair in said), table, time_zone, days, date_format, encoding)
    plan = Plan(holdout=holdout, most_series=most_series, country=country, steps=steps, seed=seed)
    console = Console(stderr=True)
    try:
        found = _as_reader(settings())
        packages = spark.DRIVER if wanted.kind == "postgresql" and not driver_jar else ""
        if driver_jar and not Path(driver_jar).is_file():
            raise SourceError(f"--driver-jar {driver_jar}: there is no such file")
        with (
            by_clock.alone(found.data_dir),
            console.status(f"{escape(wanted.told)}: starting Spark") as status,
            spark.session(master, memory, packages, driver_jar) as session,
        ):
            outcome = run(
                *(session, wanted, Registry(found.models), found, plan),
                told=lambda step: status.update(f"{escape(wanted.told)}: {step}"),
            )
    except (SourceError, RegistryError, by_clock.BusyError) as error:
        typer.echo(f"aisleflow train: {error}", err=True)
        raise typer.Exit(3) from None
    for line in lines(outcome):
        typer.echo(line)


def _as_reader(settings: Settings) -> Settings:
    """The same settings, at the ClickHouse that `up` started as the user who only reads."""
    from pydantic import SecretStr

    from aisleflow import secrets

    known, url, port = secrets.load(settings.data_dir), settings.clickhouse_url, settings.clickhouse_port
    if known is None or url is None or url.get_secret_value() != known.clickhouse_url(port):
        return settings
    return settings.model_copy(update={"clickhouse_url": SecretStr(known.clickhouse_reader_url(port))})


def lines(outcome: Outcome) -> list[str]:
    """What a run made, in a few lines."""
    data, took = outcome.card.data, ", ".join(f"{step} {seconds:.0f} s" for step, seconds in outcome.seconds.items())
    made = [
        f"version {outcome.card.version}: {data.series:,} series, {data.days:,} days of sales from {data.first} to {data.last} ({took})",
        f"{'judged on days held out':<26}{'WQL':>8}{'MASE':>8}{'bias':>8}{'in 80 %':>9}",
    ]
    names = {"new": "the new network", "served": "the served version", "seasonal-naive": "the weekday's last sale"}
    for model, figures in outcome.scores.items():
        cells = [figures.get(name, float("nan")) for name in ("wql", "mase", "bias", "coverage_80")]
        made.append(f"{names.get(model, model):<26}{cells[0]:>8.4f}{cells[1]:>8.3f}{cells[2]:>+8.1%}{cells[3]:>9.1%}")
    return [*made, outcome.why]


def _by_clock(cron: str, zone: ZoneInfo) -> None:
    """The same command without its schedule, at each of its moments."""
    import signal
    import threading
    from datetime import datetime

    from forecasting.pipeline.schedule import keep_running, upcoming

    try:
        upcoming(cron, datetime.now(zone))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--schedule") from None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    keep_running(cron, without_schedule(sys.argv[1:]), zone, stop, lambda line: typer.echo(line, err=True))


def without_schedule(arguments: list[str]) -> list[str]:
    """A command line without ``--schedule`` and its value, in either form."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--schedule":
            skip = True
        elif not argument.startswith("--schedule="):
            kept.append(argument)
    return kept
