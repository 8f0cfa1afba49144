"""``aisleflow simulate``: write what invented shops would send, with the true answers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer


def simulate(
    out: Annotated[
        Path, typer.Option(help="Folder for events.jsonl, transactions.jsonl, layouts.jsonl and answers.json.")
    ],
    shops: Annotated[int, typer.Option(min=1, max=10_000, help="How many shops.")] = 10,
    days: Annotated[int, typer.Option(min=1, max=400, help="How many business days.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 1,
    start: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First business day; so that the last is yesterday.")
    ] = None,
    faults: Annotated[
        str, typer.Option(help="`all`, `none`, or shares such as `duplicates=0.02,late=0.1,malformed=0.01`.")
    ] = "none",
    answers: Annotated[bool, typer.Option(help="Compute the true answers as well.")] = True,
) -> None:
    """Simulate shops and write their records, in sending order and as the bytes they would send."""
    from datetime import UTC, timedelta

    from producers.simulator import files
    from producers.simulator.faults import Faults

    try:
        chosen = Faults.parse(faults)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--faults") from None
    first = start.date() if start else datetime.now(UTC).date() - timedelta(days=days)
    wrote = files.write(out, shops, [first + timedelta(days=n) for n in range(days)], seed, chosen, answers=answers)
    records = wrote.events + wrote.transactions + wrote.movements
    typer.echo(
        f"{out}: {wrote.events:,} events, {wrote.transactions:,} transactions and {wrote.movements:,} movements of stock"
        f" of {shops} shops over {days} days from {first}, {wrote.seconds:.1f} s ({records / wrote.seconds:,.0f} records/s)"
    )
