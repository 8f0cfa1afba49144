"""Writes scenes as films to look at: ``python -m producers.simulator.footage --video DIR [--seed N] [--kind KIND]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producers.simulator.footage.pictures import require_opencv, shots
from producers.simulator.footage.scenes import KINDS, scene


def main(
    video: Annotated[Path, typer.Option(help="Folder for the films and their layout; made if it is not there.")],
    seed: Annotated[int, typer.Option(help="Everything follows from it, the kind of scene too.")] = 0,
    kind: Annotated[str | None, typer.Option(help=f"One of {', '.join(KINDS)}.")] = None,
) -> None:
    """Write one scene: a film a camera, the store's layout, and what happens in it."""
    from schemas.events import dump

    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(KINDS)}", param_hint="--kind")
    try:
        require_opencv()
    except RuntimeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    import cv2

    shown = scene(seed, kind)
    name = f"{shown.kind}-{seed}"
    video.mkdir(parents=True, exist_ok=True)
    films = {
        lens.camera_id: cv2.VideoWriter(
            str(video / f"{name}-{lens.camera_id}.mp4"),
            cv2.VideoWriter.fourcc(*"mp4v"),
            shown.fps,
            (lens.width, lens.height),
        )
        for lens in shown.lenses
    }
    for shot in shots(shown):
        films[shot.camera_id].write(shot.image)
    for film in films.values():
        film.release()
    (video / f"{name}-layout.json").write_bytes(dump(shown.layout) + b"\n")
    for event in shown.events:
        size = f", one of {event.group_size}" if event.group_size > 1 else ""
        depth = f", then {event.queue_depth} at the till" if event.queue_depth is not None else ""
        typer.echo(f"{event.at_s:6.1f} s  person {event.person}  {event.kind}{size}{depth}")


def app() -> typer.Typer:
    """The program."""
    program = typer.Typer(add_completion=False)
    program.command()(main)
    return program


if __name__ == "__main__":
    app()()
