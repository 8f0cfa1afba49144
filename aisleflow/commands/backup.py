"""``aisleflow backup`` and ``aisleflow restore``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aisleflow.settings import Settings

DataDir = Annotated[Path | None, typer.Option(help="Data directory of the system.")]
#: Kept by `restore --force` from the directory that it replaces: they are in no backup.
SECRETS = ("secrets.json", "visitor-salt")


def backup(
    target: Annotated[Path, typer.Argument(help="A new folder, or a new file whose name ends in .tar.")],
    data_dir: DataDir = None,
) -> None:
    """Write what ClickHouse and Kafka hold, while everything runs or while it is stopped.

    Works on your own servers too (AISLEFLOW_KAFKA, AISLEFLOW_CLICKHOUSE_URL). Secrets (secrets.json, visitor-salt) are not in it.
    """
    from aisleflow import backup as backups
    from aisleflow import running
    from aisleflow.settings import as_kafka_user

    def work() -> None:
        settings = as_kafka_user(running.settings_of(data_dir), "admin")
        began = time.monotonic()

        def take(found: Settings) -> None:
            backups.back_up(found, target, tell=typer.echo)

        if settings.clickhouse_url is None and not settings.kafka and not settings.data_dir.is_dir():
            raise backups.BackupError(f"there is no system in {settings.data_dir}: give --data-dir")
        if running.supervisor(settings.data_dir) is None and not (settings.kafka and settings.clickhouse_url):
            _with_servers(settings, take)
        else:
            take(settings)
        size = sum(f.stat().st_size for f in target.rglob("*")) if target.is_dir() else target.stat().st_size
        typer.echo(f"{target}: {size:,} bytes in {time.monotonic() - began:.1f} s")

    _telling("backup", work)


def restore(
    source: Annotated[Path, typer.Argument(help="What `aisleflow backup` wrote.")],
    data_dir: DataDir = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a data directory that holds something; it is kept beside, renamed.")
    ] = False,
) -> None:
    """Bring back a backup into an empty data directory, or into empty servers of your own; then start as usual.

    Every file is checked first. Nothing is in its place before all of it is restored.
    """
    from aisleflow import backup as backups
    from aisleflow.settings import settings as configured

    def work() -> None:
        began = time.monotonic()
        archive = backups.Archive(source)
        settings = configured().model_copy()
        if data_dir is not None:
            settings.data_dir = data_dir
        settings.data_dir = settings.data_dir.expanduser().resolve()
        own_clickhouse = bool(type(settings)().clickhouse_url)
        if settings.kafka and own_clickhouse:
            backups.restore(settings, archive, tell=typer.echo)
            where = "your servers"
        else:
            _into_data_dir(settings, own_clickhouse, archive, force)
            where = str(settings.data_dir)
        typer.echo(f"restored to {where} in {time.monotonic() - began:.1f} s; taken at {archive.manifest['taken_at']}")

    _telling("restore", work)


def _into_data_dir(settings: Settings, own_clickhouse: bool, archive: object, force: bool) -> None:
    from aisleflow import backup as backups
    from aisleflow import running
    from aisleflow.commands.demo import free_ports

    place = settings.data_dir
    if running.supervisor(place) is not None:
        raise backups.BackupError(f"a system runs in {place}: stop it first, or give another --data-dir")
    if place.is_dir() and any(place.iterdir()) and not force:
        raise backups.BackupError(
            f"{place} is not empty: give another --data-dir, or --force to replace it (it is kept beside, renamed)"
        )
    draft = place.with_name(f"{place.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    try:
        for name in SECRETS:
            if (place / name).exists():
                shutil.copy2(place / name, draft / name)
        chosen = settings.model_copy(update={"data_dir": draft, **free_ports(settings, 1)})
        if not own_clickhouse:
            chosen.clickhouse_url = None
        _with_servers(chosen, lambda found: backups.restore(found, archive, tell=typer.echo))  # type: ignore[arg-type]
        for leftover in ("run.json", "up.lock", "logs"):
            path = draft / leftover
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if place.exists():
            if any(place.iterdir()):
                kept = place.with_name(f"{place.name}.before-{time.strftime('%Y%m%dT%H%M%S')}")
                place.rename(kept)
                typer.echo(f"what was there is in {kept}")
            else:
                place.rmdir()
        draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _with_servers(settings: Settings, work: Callable[[Settings], None]) -> None:
    """Start Kafka and ClickHouse on a data directory, do the work, stop them."""
    import asyncio

    from rich.console import Console

    from aisleflow import backup as backups
    from aisleflow.supervisor import Supervisor

    supervisor = Supervisor(settings, console=Console(stderr=True), servers_only=True)
    failed: list[BaseException] = []

    async def body() -> int:
        try:
            await asyncio.to_thread(work, supervisor.kafka_as("admin"))
        except Exception as error:
            failed.append(error)
        return 0

    code = asyncio.run(supervisor.run(body))
    if failed:
        raise failed[0]
    if code:
        raise backups.BackupError("Kafka and ClickHouse could not be started; the lines above say why")


def _telling(command: str, work: Callable[[], None]) -> None:
    """Do the work; what goes wrong is told in a line."""
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from confluent_kafka import KafkaException

    from aisleflow.backup import BackupError
    from aisleflow.log import without_values
    from aisleflow.secrets import SecretsError
    from schemas.migrations import MigrationError

    try:
        work()
    except (BackupError, SecretsError, MigrationError, TimeoutError, ValueError, OSError) as error:
        typer.echo(f"{command}: {error}", err=True)
    except ClickHouseError as error:
        typer.echo(f"{command}: ClickHouse: {without_values(str(error)).splitlines()[0]}", err=True)
    except KafkaException as error:
        typer.echo(f"{command}: Kafka: {error.args[0]}", err=True)
    else:
        return
    raise typer.Exit(1)
