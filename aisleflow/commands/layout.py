"""``aisleflow layout check|edit``: what cameras see of a store, checked and drawn."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fastapi import FastAPI

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


@app.command()
def edit(
    clip: Annotated[str, typer.Argument(help="A clip that the camera took, or the address of a live camera.")],
    layout: Annotated[Path, typer.Option(help="The store's layout, JSON; made where there is none.")],
    camera_id: Annotated[
        str | None, typer.Option("--camera", help="The layout's camera that took CLIP; its only one if left out.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page on 127.0.0.1; 0 is any free one.")] = 0,
    model: Annotated[
        Path | None, typer.Option(help="YOLO model exported to OpenVINO; AISLEFLOW_CAMERA_MODEL if left out.")
    ] = None,
) -> None:
    """Draw zones and entrance lines over a camera's picture, in a browser, with the people in it found as it plays.

    Without a model everything but that works. The page is served on this machine only, to whoever opens the address printed.
    """
    import secrets
    import socket

    import uvicorn

    from aisleflow.settings import settings
    from producers.cameras import CameraError

    try:
        with socket.create_server(("127.0.0.1", port)) as probe:
            port = probe.getsockname()[1]
        token = secrets.token_urlsafe(16)
        page = _editor(clip, layout, camera_id, model or settings().camera_model, token, port)
    except CameraError as error:
        typer.echo(f"aisleflow layout: {error}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"aisleflow layout: port {port}: {error.strerror}; choose another with --port", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"http://127.0.0.1:{port}/?token={token}\nOpen it in a browser; Ctrl-C ends.")
    uvicorn.run(page, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2)


def _editor(clip: str, file: Path, camera_id: str | None, model: Path | None, token: str, port: int) -> FastAPI:
    from urllib.parse import urlsplit

    from aisleflow.settings import settings
    from producers.cameras import CameraError
    from producers.cameras.editor.film import Film, Window
    from producers.cameras.editor.lookout import Lookout
    from producers.cameras.editor.page import create_app
    from producers.cameras.editor.store import LayoutFile
    from producers.cameras.people import load_detector, require_vision

    require_vision()
    known = [camera["camera_id"] for camera in LayoutFile(file).read().get("cameras", [])]
    if camera_id is None and len(known) > 1:
        raise CameraError(f"say which camera took {clip} (--camera); the layout has: {', '.join(known)}")
    camera_id = camera_id or (known[0] if known else "CAM-1")
    film = Film(Path(clip)) if not urlsplit(clip).netloc else Window(clip)
    detector = load_detector(model, cache_dir=settings().data_dir / "ultralytics") if model else None
    lookout = (lambda: Lookout(detector, camera_id, film.size)) if detector else None
    return create_app(film, file, camera_id, token, port, lookout=lookout)


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
