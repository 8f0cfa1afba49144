"""``aisleflow status``: how the system is, live in a terminal, as text, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from aisleflow.status import Status

EXIT_CODES = {"well": 0, "wrong": 1, "unknown": 2}
WIDE = 120
_STATES = {"ready": "green", "up": "green", "starting": "yellow", "restarting": "yellow"}
_SEVERITIES = {"CRITICAL": "bold red", "WARN": "yellow", "INFO": "dim"}


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, once.")] = False,
    watch: Annotated[
        bool | None, typer.Option("--watch/--once", help="Keep it current until Ctrl-C; as usual in a terminal.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between looks.")] = 2.0,
    data_dir: Annotated[Path | None, typer.Option(help="Data directory of the system to look at.")] = None,
) -> None:
    """Show parts, lag, rates, dead letters, freshness, anomalies and disk.

    Exit code, when it is shown once: 0 all is well, 1 something is wrong (its first lines say what), 2 there is nothing to
    look at.
    """
    from rich.console import Console

    from aisleflow import running
    from aisleflow.secrets import SecretsError
    from aisleflow.status import Look

    try:
        look = Look(running.settings_of(data_dir))
    except SecretsError as error:
        typer.echo(f"status: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        found = look.look()
        typer.echo(found.model_dump_json(indent=2))
    else:
        console = Console()
        if watch or (watch is None and console.is_terminal):
            _watch(look, console, every)
            return
        found = look.look()
        if not console.is_terminal:
            console = Console(width=100, color_system=None)  # one column: a file has no width
        console.print(view(found, console.width, None))
    sys.stdout.flush()
    # At once: a thread may still wait for a part that hangs.
    import os

    os._exit(EXIT_CODES[found.verdict])


def _watch(look: Any, console: Console, every: float) -> None:
    import time
    from contextlib import suppress

    from rich.live import Live

    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            found = look.look()
            live.update(view(found, console.width, console.height), refresh=True)
            time.sleep(max(0.1, every - (time.monotonic() - began)))


def view(found: Status, width: int, height: int | None) -> RenderableType:
    """The whole picture, in two columns where they fit, and no higher than the terminal (None: as high as it is)."""
    from rich.console import Group
    from rich.table import Table

    head = _head(found, width)
    if width < WIDE:
        # In a small terminal each list gets what is left once the others have their least: their heads, gaps and lines.
        free = 999 if height is None else height - len(head) - len(found.parts) - 12
        waiting = max(1, min(len(found.lag or []), free // 2))
        workers = max(1, min(len(found.workers or []), free - waiting))
        shops = 5 if height is None else free - waiting - workers - 2
        blocks = [
            _parts(found),
            _lag(found, waiting),
            _workers(found, workers),
            _lines(found),
            *([_shops(found, shops)] if shops > 1 else []),
        ]
        return Group(*head, *(piece for block in blocks for piece in (block, "")))
    rows = 12 if height is None else max(3, (height - len(head) - len(found.parts) - 8) // 2)
    grid = Table.grid(expand=True, padding=(0, 3, 0, 0))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(_parts(found), _lag(found))
    grid.add_row()
    grid.add_row(_workers(found, rows), _shops(found, rows))
    grid.add_row()
    grid.add_row(_lines(found), _anomalies(found, rows))
    return Group(*head, grid)


def _head(found: Status, width: int) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    words = {
        "well": ("all is well", "bold green"),
        "wrong": (f"{len(found.problems)} wrong", "bold white on red"),
        "unknown": ("nothing to look at", "bold yellow"),
    }
    text, style = words[found.verdict]
    line = Table.grid(expand=True)
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    where = f"  {found.disk.path}" if found.disk.path else ""
    line.add_row(
        Text.assemble(("Aisleflow ", "bold"), (f" {text} ", style), (where, "dim")),
        Text(f"{found.at:%Y-%m-%d %H:%M:%S} UTC"),
    )
    lines: list[RenderableType] = [line]
    lines += [Text(f"! {problem}", style="red", overflow="ellipsis", no_wrap=True) for problem in found.problems]
    lines += [Text(f"- {note}", style="yellow", overflow="ellipsis", no_wrap=True) for note in found.notes]
    return [*lines, ""]


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1, flexible: int = 0) -> Table:
    """A table whose first columns are words and whose other ones are figures; one column takes what room is left."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", expand=True)
    for number, name in enumerate(columns):
        table.add_column(
            name,
            justify="left" if number < left else "right",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if number == flexible else None,
        )
    for row in rows:
        table.add_row(*row)
    return table


def _parts(found: Status) -> Table:
    from aisleflow.status import duration

    rows = [
        (
            part.name,
            f"[{_STATES.get(part.state, 'red')}]{part.state}[/]",
            "" if part.pid is None else str(part.pid),
            "" if part.uptime_s is None else duration(part.uptime_s),
            "" if part.restarts is None else str(part.restarts),
        )
        for part in found.parts
    ]
    return _table(("PART", "STATE", "PID", "UP", "RESTARTS"), rows, left=2)


def _lag(found: Status, most: int = 99) -> Table:
    """What waits, worst first where not all topics fit."""
    from aisleflow.status import duration

    if found.lag is None:
        return _table(("WAITING", "unknown while Kafka is away"), [], left=2)
    shown = found.lag if len(found.lag) <= most else sorted(found.lag, key=lambda lag: -lag.records)[:most]
    rows = [
        (
            lag.topic if lag.derives == "visits" else f"{lag.topic} ({lag.derives})",
            f"{lag.records:,}",
            "" if not lag.records else "?" if lag.behind_ms is None else duration(lag.behind_ms / 1000),
        )
        for lag in shown
    ]
    return _table(("WAITING ON", "RECORDS", "OLDEST"), rows)


def _workers(found: Status, most: int) -> Table:
    from aisleflow.status import size

    if found.workers is None:
        return _table(("WORKERS", "unknown while ClickHouse is away"), [], left=2)
    rows = [
        (
            worker.name,
            f"{worker.records_per_s:,.0f}",
            f"{worker.rows_per_s:,.0f}",
            f"{worker.cycle_p50_ms:,}",
            f"{worker.cycle_max_ms:,}",
            f"{worker.lag_records:,}",
            size(worker.rss_bytes),
        )
        for worker in found.workers[:most]
    ]
    if not rows:
        rows = [("none has told in the last minute", "", "", "", "", "", "")]
    elif len(found.workers) > most:
        rows[-1] = (f"and {len(found.workers) - most + 1} more", "", "", "", "", "", "")
    return _table(("WORKER", "IN/s", "ROWS/s", "CYCLE ms", "MAX", "BEHIND", "MEMORY"), rows)


def _lines(found: Status) -> Table:
    """What needs a line each."""
    from rich.table import Table
    from rich.text import Text

    from aisleflow.status import duration, size

    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")

    def line(name: str, text: str, style: str = "") -> None:
        table.add_row(name, Text(text, style=style, no_wrap=True, overflow="ellipsis"))

    rates = found.rates
    line(
        "STREAM",
        f"{_figure(rates.arriving_per_s)} records/s arrive, {_figure(rates.records_per_s)} are read, "
        f"{_figure(rates.rows_per_s)} rows/s written",
    )
    letters = found.dead_letters
    if letters is None:
        line("DEAD LETTERS", "unknown while ClickHouse is away")
    elif letters.newest is None:
        line("DEAD LETTERS", "none waits")
    else:
        age = duration((found.at - letters.newest.at).total_seconds())
        line("DEAD LETTERS", f"{letters.waiting:,} wait, {letters.last_hour:,} of the last hour", "yellow")
        line("", f"{age} ago: {letters.newest.store_id} {letters.newest.error}: {letters.newest.message}", "dim")
    if found.shops is not None:
        worst = found.shops[0] if found.shops else None
        line(
            "FRESHNESS",
            "no shop has sent anything"
            if worst is None
            else f"{found.shops_known:,} shops, {worst.store_id} silent longest: {duration(worst.age_s)}",
        )
    if found.anomalies is not None:
        counts = {name: sum(item.severity == name for item in found.anomalies) for name in _SEVERITIES}
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
        line("ANOMALIES", f"{found.anomalies_open:,} open: {told}" if found.anomalies else "none open")
    disk = found.disk
    held = [] if disk.free_bytes is None else [f"{size(disk.free_bytes)} free"]
    held += [
        f"{name} {size(taken)}" + (f" +{size(growth)}/d" if growth else "")
        for name, taken, growth in (
            ("Kafka", disk.kafka_bytes, disk.kafka_bytes_per_day),
            ("ClickHouse", disk.clickhouse_bytes, disk.clickhouse_bytes_per_day),
        )
        if taken is not None
    ]
    if held:
        line("DISK", ", ".join(held))
    return table


def _shops(found: Status, most: int) -> Table:
    from aisleflow.status import duration

    rows = [
        (shop.store_id, f"{shop.last_event:%Y-%m-%d %H:%M:%S}", duration(max(0.0, shop.age_s)))
        for shop in (found.shops or [])[:most]
    ]
    return _table(("LEAST FRESH SHOPS", "NEWEST FACT (UTC)", "AGE"), rows)


def _anomalies(found: Status, most: int) -> Table:
    rows = [
        (
            f"[{_SEVERITIES.get(item.severity, '')}]{item.severity}[/]",
            item.store_id,
            " ".join(filter(None, (item.type, item.subject))),
            f"{item.detected_at:%m-%d %H:%M}",
        )
        for item in (found.anomalies or [])[:most]
    ]
    return _table(("OPEN ANOMALIES", "SHOP", "WHAT", "SINCE"), rows, left=4, flexible=2)


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"
