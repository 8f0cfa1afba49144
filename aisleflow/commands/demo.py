"""``aisleflow demo``: everything up, with invented shops in it; ``--check`` compares every answer at the end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from aisleflow.demo import Plan
    from aisleflow.settings import Settings

# Options of every command that lets invented shops come alive.
Shops = Annotated[int, typer.Option(min=1, max=1000, help="How many shops.")]
Pace = Annotated[float, typer.Option(min=0.1, max=1000, help="Multiplies the people who arrive from now on.")]
Seed = Annotated[int, typer.Option(help="What the shops and their people follow from.")]
WithFaults = Annotated[
    bool, typer.Option("--faults/--no-faults", help="Duplicates, late, shuffled and malformed records, dead cameras.")
]


def demo(
    shops: Shops = 20,
    pace: Pace = 4.0,
    seed: Seed = 1,
    faults: WithFaults = True,
    check: Annotated[
        bool, typer.Option("--check", help="Compare every answer at the end; exit code 0 only if equal.")
    ] = False,
    lasting: Annotated[
        str, typer.Option("--for", help="With --check: how long it runs live, such as 60s or 5m.")
    ] = "60s",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data is kept; DATA_DIR/demo, or a temporary folder for --check.")
    ] = None,
    history_days: Annotated[
        int, typer.Option(min=7, max=730, help="Days of stock and sales before today; half a year trains a network.")
    ] = 28,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Stream worker processes.")] = None,
    secure: Annotated[bool, typer.Option("--secure", help="As `aisleflow up --secure`.")] = False,
) -> None:
    """Start everything, simulate shops from a week ago until now, and go on live. Ctrl-C stops it.

    With --check it runs beside anything else (temporary data, free ports), for the time given after its shops went
    live.
    """
    from aisleflow.demo import Plan

    seconds = _seconds(lasting) if check else None
    raise typer.Exit(
        run(
            Plan(shops=shops, seed=seed, pace=pace, faults=faults, check_s=seconds, history_days=history_days),
            *(data_dir, workers, secure),
        )
    )


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a time such as 60s, 5m or 1h", param_hint="--for")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]


def run(plan: Plan, data_dir: Path | None = None, workers: int | None = None, secure: bool = False) -> int:
    """What the command does; returns its exit code."""
    import asyncio
    import shutil
    import tempfile

    from rich.console import Console

    from aisleflow import demo as playing
    from aisleflow.secrets import SecretsError
    from aisleflow.settings import Settings
    from aisleflow.supervisor import Supervisor

    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = 140  # a log file has no width: keep tables on one line
    settings = Settings()
    temporary = plan.check_s is not None and data_dir is None
    folder = data_dir or (
        Path(tempfile.mkdtemp(prefix="aisleflow-check-")) if temporary else settings.data_dir / "demo"
    )
    chosen: dict[str, Any] = {"data_dir": folder, "workers": workers or settings.workers}
    if plan.check_s is not None:
        chosen |= free_ports(settings, chosen["workers"])
    if secure:
        chosen["kafka_secure"] = True
    settings = settings.model_copy(update=chosen)
    try:
        supervisor = Supervisor(settings, console=console)
    except (SecretsError, OSError) as error:
        console.print(f"aisleflow: {error}", highlight=False)
        return 1
    if plan.check_s is None:
        plan = playing.resume_or_begin(plan, supervisor.data_dir)
    url = f"http://{'127.0.0.1' if settings.host in ('0.0.0.0', '::') else settings.host}:{settings.api_port}"  # noqa: S104
    record = supervisor.data_dir / "sent.tsv" if plan.check_s is not None else None

    async def body() -> int:
        try:
            return await playing.play(plan, supervisor.kafka_as("simulator"), url, console, record)
        except playing.KafkaException as error:
            console.print(f"[bold red]Kafka failed:[/] {error.args[0]}", highlight=False)
            return 1

    code = asyncio.run(supervisor.run(body))
    if temporary and code == 0:
        shutil.rmtree(folder, ignore_errors=True)
    elif temporary:
        console.print(f"Kept for you to look at: {folder} (logs in {folder / 'logs'}, what was sent in {record})")
    return code


def free_ports(settings: Settings, workers: int) -> dict[str, Any]:
    """Ports that nobody uses, for every part; the workers' are consecutive."""
    import socket

    from aisleflow import ports

    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        base = first.getsockname()[1]
    names = ("api_port", "kafka_port", "kafka_controller_port", "clickhouse_port", "metrics_port")
    count = len(names) + workers  # one more for the ledger of stock
    # Below the range that the system hands out to clients, so that nobody takes one before we do.
    start = 20_000 + base % 8_000
    while not all(ports.is_free(start + offset) for offset in range(count)):
        start = 20_000 + (start + count) % 8_000
    return {name: start + offset for offset, name in enumerate(names)}
