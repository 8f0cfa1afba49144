"""``aisleflow publish events|transactions|stock|products|layout FILE``: facts from a file to Kafka."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from producers.publish import Outcome

app = typer.Typer(
    help="Publish files of facts to Kafka. Exit code 0: all is there; 1: some records were refused; 3: Kafka or the file failed.",
    no_args_is_help=True,
)
RefusedTo = Annotated[
    Path | None, typer.Option("--refused", help="Where refused records go; FILE.refused.jsonl if left out.")
]
AllowRefused = Annotated[bool, typer.Option("--allow-refused", help="Exit with 0 although records were refused.")]


@app.command()
def events(
    file: Annotated[Path, typer.Argument(help="Visit events, one JSON object a line, in either camera dialect.")],
    refused: RefusedTo = None,
    allow_refused: AllowRefused = False,
) -> None:
    """Publish what cameras saw. Run it again after an interruption: it goes on where Kafka had confirmed."""
    from producers.publish import publish_events

    _run(publish_events, file, allow_refused, refused_file=refused)


@app.command()
def transactions(
    file: Annotated[
        Path,
        typer.Argument(
            help="A till's export, CSV: a receipt a row, or a line of a receipt a row; others: `aisleflow clean` first."
        ),
    ],
    time_zone: Annotated[str, typer.Option(help="What local times in the file mean, such as Asia/Kolkata.")] = "UTC",
    store: Annotated[str, typer.Option(help="The shop, for a cleaned file that does not name one.")] = "",
    refused: RefusedTo = None,
    allow_refused: AllowRefused = False,
) -> None:
    """Publish receipts from a till's export."""
    from zoneinfo import ZoneInfo

    from producers.publish import publish_transactions

    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{time_zone!r} is not an IANA time zone", param_hint="--time-zone") from None
    _run(publish_transactions, file, allow_refused, time_zone=zone, store=store, refused_file=refused)


@app.command()
def stock(
    file: Annotated[Path, typer.Argument(help="A stock list as `aisleflow clean` writes it, CSV.")],
    store: Annotated[str, typer.Option(help="The shop, for a list that does not name one.")] = "",
    as_of: Annotated[
        str,
        typer.Option(help="When the list was true, such as 2026-03-03T06:00:00Z, where it has no column counted_at."),
    ] = "",
    location: Annotated[str, typer.Option(help="What was counted: shelf or backroom.")] = "shelf",
    refused: RefusedTo = None,
    allow_refused: AllowRefused = False,
) -> None:
    """Publish a cleaned stock list as counts: what it says of an article is what the ledger holds from then on."""
    from datetime import datetime

    from producers.publish import publish_stock

    if location.upper() not in ("SHELF", "BACKROOM"):
        raise typer.BadParameter(f"{location!r} is neither shelf nor backroom", param_hint="--location")
    moment = None
    if as_of:
        try:
            moment = datetime.fromisoformat(as_of)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise typer.BadParameter(f"{as_of!r} is not a time with an offset", param_hint="--as-of")
    _run(publish_stock, file, allow_refused, store=store, as_of=moment, location=location.upper(), refused_file=refused)


@app.command()
def products(
    file: Annotated[
        Path,
        typer.Argument(
            help="Articles, CSV: sku or gtin, and name, category, unit, pack where known; others are skipped."
        ),
    ],
    refused: RefusedTo = None,
    allow_refused: AllowRefused = False,
) -> None:
    """Publish the catalogue: what articles are called, their groups, and how many are in a pack. What it says of an article
    replaces what was said before, in all shops.
    """
    from producers.publish import publish_products

    _run(publish_products, file, allow_refused, refused_file=refused)


@app.command()
def layout(
    file: Annotated[Path, typer.Argument(help="A store's layout as a JSON document, or several, one a line.")],
    refused: RefusedTo = None,
    allow_refused: AllowRefused = False,
) -> None:
    """Publish a store's zones, cameras, opening hours, time zone and currency."""
    from producers.publish import publish_layouts

    _run(publish_layouts, file, allow_refused, refused_file=refused)


def _run(publish: Callable[..., Outcome], file: Path, allow_refused: bool, **options: Any) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from aisleflow.settings import settings
    from producers.publish import PublishError

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rate]} records/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    try:
        with bar:
            task = bar.add_task(file.name, total=file.stat().st_size if file.exists() else None, rate="")

            def progress(position: int, outcome: Outcome) -> None:
                records = outcome.sent + outcome.resumed + outcome.duplicates + outcome.refused
                elapsed = bar.tasks[task].elapsed or 1e-9
                bar.update(task, completed=position, rate=f"{records / elapsed:,.0f}")

            outcome = publish(file, settings=settings(), progress=progress, **options)
    except PublishError as error:
        typer.echo(f"aisleflow publish: {error}", err=True)
        raise typer.Exit(3) from None
    _tell(file, outcome)
    if outcome.refused and not allow_refused:
        raise typer.Exit(1)


def _tell(file: Path, outcome: Outcome) -> None:
    before = f" and {outcome.resumed:,} confirmed before" if outcome.resumed else ""
    typer.echo(
        f"{file.name}: {outcome.sent:,} sent{before}, {outcome.duplicates:,} duplicate, {outcome.refused:,} refused"
        f" in {outcome.seconds:.1f} s"
    )
    for line, refusal in outcome.refusals:
        where = f"{refusal.field}: " if refusal.field else ""
        typer.echo(f"  line {line}: {where}{refusal.reason}")
    if outcome.refused:
        more = outcome.refused - len(outcome.refusals)
        typer.echo(f"  {f'and {more:,} more; ' if more else ''}all of them, with reasons, in {outcome.refused_file}")
