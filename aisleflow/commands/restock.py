"""``aisleflow restock``: what to order, what to bring to the shelf, and what will run out."""

from typing import Annotated, Any

import typer


def restock(
    store: Annotated[
        str | None, typer.Argument(help="Show this shop's list here and publish nothing; without one, run for all.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Publish what is due in all shops, then end.")] = False,
) -> None:
    """Work out for every shop and article what to order and what may run out in 48 hours, and keep that current."""
    from datetime import UTC, datetime

    from aisleflow import log
    from aisleflow.clients import clickhouse_client, kafka_producer
    from aisleflow.settings import settings
    from replenishment import job
    from replenishment.terms import TermsError, read_terms

    chosen = settings()
    log.configure(chosen.log_level)
    try:
        book = read_terms(chosen.restock_terms)
        client = clickhouse_client(chosen)
    except (TermsError, ValueError) as error:
        typer.echo(f"aisleflow: {error}", err=True)
        raise typer.Exit(1) from None
    now = datetime.now(UTC)
    if store is not None:
        look = job.Restock(client, book, lambda _: None)
        shops = look.shops(now, store)
        if not shops:
            typer.echo(f"aisleflow: no stock of {store} is known", err=True)
            raise typer.Exit(1)
        _show(shops[0], look.lines(shops[0]))
        return
    producer = kafka_producer(chosen)
    look = job.Restock(client, book, job.publisher(chosen, producer))
    if not once:
        job.follow(look, producer, chosen.restock_every_s)
    told = sum(look.look(shop) for shop in look.shops(now))
    producer.flush()
    typer.echo(f"{told} articles")


def _show(shop: Any, lines: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    busy = [line for line in lines if line.fill_quantity or line.order_quantity or line.risk[-1] >= 0.5]
    table = Table(
        *("SKU", "here", "coming", "to the shelf", "order", "runs out in 48 h", "why"),
        title=f"{shop.calendar.store_id}, {shop.now.astimezone(shop.calendar.zone):%A %d %B %Y, %H:%M}",
        box=None,
        padding=(0, 2, 0, 0),
        title_justify="left",
    )
    for line in sorted(busy, key=lambda line: (not line.fill_quantity, -line.lost_48h, -line.risk[-1], line.sku)):
        here = max(0, line.shelf) + max(0, line.backroom)
        order = f"{line.order_quantity:g}" + (
            f" ({line.packs} x {line.pack:g})" if line.pack != 1 and line.packs else ""
        )
        table.add_row(
            *(line.sku, f"{here:g}", f"{line.in_transit + line.on_order:g}"),
            *(f"{line.fill_quantity:g}" if line.fill_quantity else "", order if line.packs else ""),
            *(f"{line.risk[-1]:.0%}", " ".join(part for part in (line.fill_reason, line.order_reason) if part)),
        )
    Console().print(table, f"{len(lines) - len(busy)} more articles need nothing.")
