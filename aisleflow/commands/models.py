"""``aisleflow models``: what was trained, what is served, and how to go back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from forecasting.registry import Registry

app = typer.Typer(no_args_is_help=True, help="Trained models of demand: which there are, and which one is served.")

Model = Annotated[str, typer.Option(help="Name of the model.")]


@app.command("list")
def list_models(
    model: Annotated[str, typer.Option(help="Name of a model; all if left out.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The whole cards, for programs.")] = False,
) -> None:
    """All versions, the newest first, each with its figures on the days it was judged by."""
    import json

    with _registry() as registry:
        cards = [card for name in ([model] if model else registry.models()) for card in registry.versions(name)]
        served = {card.model: registry.promoted(card.model) for card in cards}
    if as_json:
        typer.echo(
            json.dumps(
                [{**card.model_dump(mode="json"), "served": card == served[card.model]} for card in cards], indent=2
            )
        )
        return
    if not cards:
        typer.echo(f"no trained models in {registry.url}: aisleflow train", err=True)
        return
    typer.echo(
        f"{'':2}{'model':<8}{'version':<34}{'series':>8}  {'sales until':<12}{'WQL':>8}{'MASE':>8}{'in 80 %':>9}"
    )
    for card in cards:
        mark = "*" if card == served[card.model] else " "
        figures = [card.metrics.get(name, float("nan")) for name in ("wql", "mase", "coverage_80")]
        typer.echo(
            f"{mark:2}{card.model:<8}{card.version:<34}{card.data.series:>8,}  {card.data.last!s:<12}"
            f"{figures[0]:>8.4f}{figures[1]:>8.3f}{figures[2]:>9.1%}"
        )
    typer.echo("* is served")


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="As `aisleflow models list` says it.")], model: Model = "lstm"
) -> None:
    """Serve a version, whatever its figures. Servers pick it up within seconds, without a restart."""
    with _registry() as registry:
        registry.promote(model, version)
    typer.echo(f"{model} {version} is served")


@app.command()
def rollback(model: Model = "lstm") -> None:
    """Serve what was served before."""
    with _registry() as registry:
        card = registry.rollback(model)
    typer.echo(f"{model} {card.version} is served again")


@contextmanager
def _registry() -> Iterator[Registry]:
    from aisleflow.settings import settings
    from forecasting.registry import Registry, RegistryError

    try:
        yield Registry(settings().models)
    except (RegistryError, ValueError) as error:
        typer.echo(f"aisleflow models: {error}", err=True)
        raise typer.Exit(3) from None
