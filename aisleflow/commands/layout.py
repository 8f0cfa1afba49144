"""``aisleflow layout check|edit``: what cameras see of a store, checked and drawn."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from producers.cameras.layouts import Finding

app = typer.Typer(help="Draw and check what cameras see of a store: zones and entrance lines.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The store's layout, JSON.")],
    clip: Annotated[
        list[str] | None,
        typer.Option(help="CAMERA=CLIP: a clip that this camera took; its frame size must be the one drawn on."),
    ] = None,
) -> None:
    """Find what is wrong with a layout: zones that overlap, are empty or unseen, entrance lines that cannot count.

    Exit code 0: no errors, perhaps warnings; 1: errors, or the file cannot be read.
    """
    from producers.cameras import CameraError
    from producers.cameras.layouts import Level, read_layout
    from producers.cameras.layouts import check as check_layout

    try:
        layout = read_layout(file)
        frames = dict(_frame_size(pair) for pair in clip or [])
    except CameraError as error:
        typer.echo(f"aisleflow layout: {error}", err=True)
        raise typer.Exit(1) from error
    findings = check_layout(layout, frames)
    if findings:
        _show(findings)
    counts = Counter(finding.level for finding in findings)
    words = ", ".join(f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in Level if counts[level])
    typer.echo(f"{file}: {len(layout.zones)} zones, {len(layout.cameras)} cameras: {words or 'nothing wrong'}")
    if counts[Level.ERROR]:
        raise typer.Exit(1)


def _frame_size(pair: str) -> tuple[str, tuple[int, int]]:
    from producers.cameras import CameraError
    from producers.cameras.people import require_vision
    from producers.cameras.sources import Clip

    camera_id, separator, path = pair.partition("=")
    if not separator or not camera_id or not path:
        raise CameraError(f"--clip {pair}: say which camera took it, CAMERA=CLIP")
    require_vision()
    with Clip(Path(path)) as film:
        return camera_id, (film.width, film.height)


def _show(findings: list[Finding]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("", "where", "rule", "what is wrong", "what to do"):
        table.add_column(heading, overflow="fold")
    for f in findings:
        # As text: a zone may be called "[red]".
        table.add_row(*(Text(cell) for cell in (f.level.upper(), f.where, f.rule, f.message, f.remedy)))
    # A file or a pipe gets whole lines.
    Console(width=None if sys.stdout.isatty() else 240).print(table)
