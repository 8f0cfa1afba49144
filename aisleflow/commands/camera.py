"""``aisleflow camera``: watch a clip, publish who visited which zone and for how long."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cameras import Entrance

if TYPE_CHECKING:
    from aisleflow.settings import Settings
    from schemas.events import StoreLayout


def camera(
    clip: Annotated[Path, typer.Argument(help="A video file that OpenCV can read.")],
    layout: Annotated[Path, typer.Option(help="The store's layout, JSON: its zones as the camera sees them.")],
    camera_id: Annotated[
        str | None, typer.Option("--camera", help="Camera of the layout; its only one if left out.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="YOLO model exported to OpenVINO; AISLEFLOW_CAMERA_MODEL if left out.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Time of the first frame, RFC 3339; the file's modification time if left out.")
    ] = None,
    entrance: Annotated[
        Entrance | None,
        typer.Option(help="What counts as coming in; the layout's entrance line if it has one, else nothing."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, max=100, help="Look at every N-th frame only.")] = 1,
    publish: Annotated[
        bool, typer.Option("--publish/--dry-run", help="To Kafka, or as JSON lines to the screen.")
    ] = True,
    publish_layout: Annotated[bool, typer.Option(help="Publish the layout as well, before the events.")] = True,
) -> None:
    """Watch a clip of a shop's camera and publish its visits: who came in, which zones they stood in, how long.

    Running the same clip again with the same start publishes the same ids, so nothing is counted twice. No frame and no
    face is stored.
    """
    from aisleflow.settings import settings
    from producers.cameras import CameraError

    try:
        run(
            clip,
            layout,
            settings=settings(),
            camera_id=camera_id,
            model=model,
            start=start,
            entrance=entrance,
            every=every,
            publish=publish,
            publish_layout=publish_layout,
        )
    except CameraError as error:
        typer.echo(f"aisleflow camera: {error}", err=True)
        raise typer.Exit(1) from error


def run(
    clip: Path,
    layout: Path,
    *,
    settings: Settings,
    camera_id: str | None = None,
    model: Path | None = None,
    start: str | None = None,
    entrance: Entrance | None = None,
    every: int = 1,
    publish: bool = True,
    publish_layout: bool = True,
) -> Counter[str]:
    """What the command does, for programs: the number of events by type.

    Raises:
        CameraError: anything that the caller can put right, from a missing model to a damaged clip; what had been seen
            until then is published.
    """
    from rich.console import Console
    from rich.progress import Progress

    from producers.cameras import CameraError
    from producers.cameras.clip import Clip
    from producers.cameras.people import require_vision
    from producers.cameras.publish import Publisher
    from producers.cameras.scene import camera_of, scene_of
    from producers.cameras.watch import watch
    from schemas import topics
    from schemas.events import dump

    store = _layout(layout)
    camera_id = camera_of(store, camera_id)
    require_vision()
    if (model := model or settings.camera_model) is None:
        raise CameraError("no model: give --model, or set AISLEFLOW_CAMERA_MODEL to a YOLO model exported to OpenVINO")
    seen: Counter[str] = Counter()
    with ExitStack() as stack:
        film = stack.enter_context(Clip(clip))
        begin = _start(start, clip)
        scene = scene_of(store, camera_id, film.width, film.height, entrance)
        publisher = Publisher(settings) if publish else None
        if publisher is not None:
            stack.callback(publisher.close)
            if publish_layout:
                publisher.send(topics.STORE_LAYOUTS, store)
        console = Console(stderr=True)
        bar = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
        task = bar.add_task(clip.name, total=film.declared or None)
        began = 0.0
        cache = settings.data_dir / "ultralytics"
        for index, events in watch(film, scene, model, begin, cache_dir=cache, every=every):
            for event in events:
                seen[event.event_type] += 1
                if publisher is not None:
                    publisher.send(topics.VISIT_EVENTS, event)
                else:
                    sys.stdout.write(dump(event).decode() + "\n")
            bar.update(task, completed=index + 1)
            # Reading the model takes seconds and is no part of the rate.
            began = began or time.monotonic()
    took, looked = time.monotonic() - began, index // every + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.items())) or "no events"
    verb = "published" if publish else "found"
    typer.echo(
        f"{clip.name}: {looked} frames from {begin.isoformat()} in {took:.1f} s ({(looked - 1) / max(took, 1e-3):.1f}/s);"
        f" {verb} {counts} of {scene.store_id}/{scene.camera_id}",
        err=True,
    )
    return seen


def _layout(path: Path) -> StoreLayout:
    from pydantic import ValidationError

    from producers.cameras import CameraError
    from schemas.events import StoreLayout, as_problem

    try:
        return StoreLayout.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CameraError(f"the layout {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        field, reason = as_problem(error)
        raise CameraError(f"the layout {path} is not valid: {field or 'document'}: {reason}") from error


def _start(text: str | None, clip: Path) -> datetime:
    from pydantic import TypeAdapter, ValidationError

    from producers.cameras import CameraError
    from schemas.events import Timestamp, as_problem

    if text is None:
        modified = datetime.fromtimestamp(clip.stat().st_mtime, UTC)
        return modified.replace(microsecond=modified.microsecond // 1000 * 1000)
    try:
        return TypeAdapter[datetime](Timestamp).validate_python(text).astimezone(UTC)
    except ValidationError as error:
        raise CameraError(f"--start {text!r}: {as_problem(error)[1]}") from error
