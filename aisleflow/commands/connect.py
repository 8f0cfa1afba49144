"""``aisleflow connect CONFIG.yaml``: records of another system onto Kafka, and ours to it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aisleflow.settings import Settings
    from connectors.config import Connector
    from connectors.outbox import Tally
    from connectors.pulling import Batch, Counts, Puller, Source
    from connectors.rest import RestTarget

SHOWN = 3


def connect(
    file: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to connect, as docs/connectors.md has it.")],
    check: Annotated[
        bool, typer.Option("--check", help="Read the configuration and the first records, and publish nothing.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Take and send all that is there now, and end.")] = False,
) -> None:
    """Connect an ERP, a till system or a folder of CSV files: pull its records onto Kafka, push ours to it.

    Nothing is lost and nothing counted twice when it is stopped anywhere and started again. Exit code 0: done; 1: some records were
    refused, and wait in the dead letters; 3: the configuration, the other system or Kafka failed.
    """
    from aisleflow import log
    from aisleflow.settings import as_kafka_user, settings
    from connectors import config
    from connectors.pulling import ConnectError, Unavailable, only_one
    from connectors.webhooks import until_signalled

    try:
        found = as_kafka_user(settings(), "connect")
        connector = config.build(config.load(file), found)
        if check:
            raise typer.Exit(_check(connector))
        log.configure(found.log_level)
        with only_one(connector.state):
            stop = until_signalled()
            refused = _once(connector, found, stop) if once else _for_ever(connector, found, stop)
    except (ConnectError, Unavailable) as error:
        typer.echo(f"aisleflow connect: {error}", err=True)
        raise typer.Exit(3) from None
    if refused:
        raise typer.Exit(1)


def _check(connector: Connector) -> int:
    """Show what the first records of each source become; the exit code."""
    config, failed = connector.config, False
    typer.echo(
        f"{config.connector}: {len(connector.sources)} to pull, {len(connector.targets)} to push; nothing is published"
    )
    for source in connector.sources:
        batch = _look(source)
        if batch is None:
            typer.echo(f"{source.name}: nothing there")
            continue
        facts = [fact for record in batch.records for fact in record.facts]
        refusals = [(record.place, record.refusal) for record in batch.records if record.refusal is not None]
        ignored = sum(not record.facts and record.refusal is None for record in batch.records)
        typer.echo(
            f"{source.name}: of the first {len(batch.records)} records {len(facts)} facts, {ignored} ignored, "
            f"{len(refusals)} refused"
        )
        for fact in facts[:SHOWN]:
            typer.echo(f"  {fact.topic} {fact.value.decode()}")
        for place, refusal in refusals[:SHOWN]:
            where = f"{refusal.field}: " if refusal.field else ""
            typer.echo(f"  refused {place}: {where}{refusal.reason}")
        failed = failed or bool(refusals)
    for target in connector.targets:
        typer.echo(f"{target.config.name}: {target.config.topic} to {target.config.method} {target.config.path}")
    return 1 if failed else 0


def _look(source: Source) -> Batch | None:
    """The first records of a source, without taking them."""
    from connectors.csv_folder import CsvFolder

    if isinstance(source, CsvFolder):
        return source.look()
    return next((batch for batch in source.batches({}) if batch.records), None)


def _once(connector: Connector, settings: Settings, stop: threading.Event) -> int:
    """Pull and push what is there; how many records were refused."""
    from connectors.outbox import Outbox
    from connectors.pulling import Puller

    refused = 0
    puller = Puller(settings, connector.config.connector, connector.state)
    for source in connector.sources:
        counts = puller.pull(source)
        _tell(source.name, counts)
        refused += counts.refused
    for target in connector.targets:
        tally = Outbox(settings, target).run(stop, until_end=True)
        _tell_push(target, tally)
        refused += tally.buried
    return refused


def _for_ever(connector: Connector, settings: Settings, stop: threading.Event) -> int:
    from connectors.pulling import Puller

    pushes = [
        threading.Thread(target=_push, args=(target, settings, stop), daemon=True) for target in connector.targets
    ]
    for thread in pushes:
        thread.start()
    if connector.sources:
        puller = Puller(settings, connector.config.connector, connector.state)
        pulls = [
            threading.Thread(target=_pull, args=(puller, source, connector.config.every_s, stop), daemon=True)
            for source in connector.sources
        ]
        for thread in pulls:
            thread.start()
    stop.wait()
    for thread in pushes:
        thread.join()
    return 0


def _pull(puller: Puller, source: Source, every_s: float, stop: threading.Event) -> None:
    """Pull one source again and again. A pull that is cut off by the end of the program is pulled again by the next."""
    from aisleflow import log
    from connectors.pulling import ConnectError, Unavailable, pauses

    logger = log.get(__name__)
    waits = pauses(every_s, max(every_s, 300))
    while not stop.is_set():
        try:
            counts = puller.pull(source)
            if counts.records:
                logger.info(
                    "pulled", source=source.name, records=counts.records, facts=counts.facts, refused=counts.refused
                )
            waits, pause = pauses(every_s, max(every_s, 300)), every_s
        except (ConnectError, Unavailable) as error:
            pause = next(waits)
            logger.warning("pull_put_off", source=source.name, error=str(error), retry_in_s=round(pause, 1))
        except Exception:  # whatever it was, the other sources go on, and this one is tried again
            pause = next(waits)
            logger.exception("pull_failed", source=source.name, retry_in_s=round(pause, 1))
        stop.wait(pause)


def _push(target: RestTarget, settings: Settings, stop: threading.Event) -> None:
    from aisleflow import log
    from connectors.outbox import Outbox
    from connectors.pulling import Unavailable, pauses

    logger = log.get(__name__)
    waits = pauses(1, 60)
    while not stop.is_set():
        try:
            Outbox(settings, target).run(stop)
        except Unavailable as error:
            logger.warning("push_waits_for_kafka", target=target.name, error=str(error))
            stop.wait(next(waits))
        except Exception:
            logger.exception("push_failed", target=target.name)
            stop.wait(next(waits))


def _tell(name: str, counts: Counts) -> None:
    typer.echo(
        f"{name}: {counts.records:,} records, {counts.facts:,} facts, {counts.ignored:,} ignored, {counts.refused:,} refused"
    )
    for line in counts.refusals:
        typer.echo(f"  {line}")
    if more := counts.refused - len(counts.refusals):
        typer.echo(f"  and {more:,} more; `aisleflow dead-letters list` knows them all")


def _tell_push(target: RestTarget, tally: Tally) -> None:
    typer.echo(
        f"{target.config.name}: {tally.delivered:,} delivered, {tally.ignored:,} ignored, {tally.buried:,} in the dead letters"
    )
