"""``aisleflow camera``: watch a store's cameras, publish who visited which zone and for how long."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from producers.cameras import Entrance

if TYPE_CHECKING:
    from aisleflow.settings import Settings

# Looks a second at a live camera: people are followed well from here on (docs/cameras.md), and more cost more.
LIVE_RATE = 5.0


class _WatchUnlessNamed(TyperGroup):
    """``aisleflow camera CLIP`` is ``aisleflow camera watch CLIP``."""

    default = "watch"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_WatchUnlessNamed, help="Watch a shop's cameras, and make the models that find people.")
Model = Annotated[
    Path | None,
    typer.Option(
        help="YOLO detector: an OpenVINO folder, an .onnx file, or yolov8n.pt; AISLEFLOW_CAMERA_MODEL if left out."
    ),
]
TrustModel = Annotated[
    bool, typer.Option("--trust-model", help="Load a model file of your own that can hold a program, which will run.")
]


@app.command()
def watch(
    layout: Annotated[Path, typer.Option(help="The store's layout, JSON: its zones as the cameras see them.")],
    clip: Annotated[
        str | None,
        typer.Argument(
            help="A clip, a folder of clips or pictures, an RTSP or HTTP address, or a USB device's number."
        ),
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="CAMERA=SOURCE, one for each camera of the layout that is to be watched.")
    ] = None,
    camera_id: Annotated[
        str | None, typer.Option("--camera", help="The layout's camera that took CLIP; its only one if left out.")
    ] = None,
    model: Model = None,
    trust_model: TrustModel = False,
    reid: Annotated[
        Path | None,
        typer.Option(help="Re-identification model (.xml or .onnx), in place of the colours of people's clothes."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            "--start-time",
            help="Time of a recording's first frame, RFC 3339; the file's modification time if left out.",
        ),
    ] = None,
    entrance: Annotated[
        Entrance | None,
        typer.Option(help="What counts as coming in; the layout's entrance line if it has one, else nothing."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, max=100, help="Look at every N-th frame of a recording only.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(min=0, max=120, help=f"Looks a second at most; {LIVE_RATE:g} for live cameras if left out."),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0, help="How fast recordings play: 1 is as they were taken, 0 as fast as it goes.")
    ] = 0.0,
    picture_rate: Annotated[float, typer.Option(min=0.1, help="Pictures a second in a folder of pictures.")] = 10.0,
    publish: Annotated[
        bool, typer.Option("--publish/--dry-run", help="To Kafka, or as JSON lines to the screen.")
    ] = True,
    publish_layout: Annotated[bool, typer.Option(help="Publish the layout as well, before the events.")] = True,
    show: Annotated[
        Path | None, typer.Option(help="Write a video of what was seen, heads hidden: OUT.mp4 or OUT.webm.")
    ] = None,
    heatmap: Annotated[
        Path | None, typer.Option(help="Write where customers spent their time, over the plan or picture: OUT.png.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say at the end who was taken for whom, and who was not, with the scores.")
    ] = False,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Answer Prometheus on this port of this machine.")
    ] = None,
) -> None:
    """Watch a shop's cameras and publish its visits: who came in, which zones they stood in, how long.

    Running the same recordings again with the same start publishes the same ids, so nothing is counted twice. No frame and
    no face is stored; --show keeps frames, with heads hidden. Ctrl-C ends it after closing what is open. `aisleflow camera
    export` makes a model ready.
    """
    from aisleflow.settings import settings
    from producers.cameras import CameraError

    try:
        with _interruptible() as stop:
            run(
                _addresses(clip, source or []),
                layout,
                settings=settings(),
                camera_id=camera_id,
                model=model,
                trust_model=trust_model,
                reid=reid,
                start=start,
                entrance=entrance,
                every=every,
                rate=rate,
                speed=speed,
                picture_rate=picture_rate,
                publish=publish,
                publish_layout=publish_layout,
                explain=explain,
                metrics_port=metrics_port,
                show=show,
                heatmap=heatmap,
                stop=stop,
            )
    except CameraError as error:
        typer.echo(f"aisleflow camera: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def export(
    model: Annotated[
        Path, typer.Argument(help="An official model by name, such as yolov8n.pt, or a .pt file of your own.")
    ],
    folder: Annotated[Path, typer.Option("--to", help="Where to put the folder NAME_openvino_model.")] = Path(),
    size: Annotated[
        int, typer.Option(min=64, max=4096, help="Longer side of what the model looks at, pixels; a multiple of 32.")
    ] = 640,
    half: Annotated[bool, typer.Option("--half/--full", help="Weights in 16 bits, or in 32.")] = True,
    trust_model: TrustModel = False,
) -> None:
    """Make an OpenVINO model, which finds people quickly on a CPU, of a YOLO detector.

    An official model is fetched by ultralytics. Integers of 8 bits are faster still, but need pictures of your shop to
    be measured on: `yolo export format=openvino quantize=8 data=...`.
    """
    from aisleflow.settings import settings
    from producers.cameras import CameraError
    from producers.cameras.people import export_model, require_vision

    try:
        require_vision()
        cache = settings().data_dir / "ultralytics"
        made = export_model(model, folder, size=size, half=half, cache_dir=cache, trust_model=trust_model)
    except CameraError as error:
        typer.echo(f"aisleflow camera: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{made}: use it with --model, or set AISLEFLOW_CAMERA_MODEL={made}")


def run(
    sources: Path | str | Mapping[str, str],
    layout: Path,
    *,
    settings: Settings,
    camera_id: str | None = None,
    model: Path | None = None,
    trust_model: bool = False,
    reid: Path | None = None,
    start: str | None = None,
    entrance: Entrance | None = None,
    every: int = 1,
    rate: float | None = None,
    speed: float = 0.0,
    picture_rate: float = 10.0,
    publish: bool = True,
    publish_layout: bool = True,
    show: Path | None = None,
    heatmap: Path | None = None,
    explain: bool = False,
    metrics_port: int | None = None,
    stop: threading.Event | None = None,
) -> Counter[str]:
    """What the command does, for programs: the number of events by type.

    Args:
        sources: The source of the layout's only camera, or of ``camera_id``; or sources by camera.
        stop: Set it to end a live source, or a recording early.

    Raises:
        CameraError: anything that the caller can put right, from a missing model to a damaged clip; what had been seen
            until then is published.
    """
    from prometheus_client import start_http_server
    from rich.console import Console
    from rich.progress import Progress

    from producers.cameras import CameraError
    from producers.cameras.annotate import Show
    from producers.cameras.appearance import model as describer
    from producers.cameras.heatmap import HeatMap
    from producers.cameras.layouts import read_layout
    from producers.cameras.observations import Observer
    from producers.cameras.people import load_detector, require_vision
    from producers.cameras.publish import Publisher
    from producers.cameras.scene import camera_of, scene_of
    from producers.cameras.shop import Shop
    from producers.cameras.sources import Live, Recording, open_source
    from producers.cameras.watch import SLOWEST, Camera
    from producers.cameras.watch import watch as look_on
    from schemas import topics
    from schemas.events import dump
    from schemas.layouts import StoreCalendar

    store = read_layout(layout)
    if isinstance(sources, Mapping):
        addresses = {camera_of(store, camera): address for camera, address in sources.items()}
    else:
        addresses = {camera_of(store, camera_id): str(sources)}
    begin = _start(start)
    require_vision()
    if (model := model or settings.camera_model) is None:
        raise CameraError(
            "no model: give --model, or set AISLEFLOW_CAMERA_MODEL to a YOLO detector (`aisleflow camera export yolov8n.pt`)"
        )
    seen: Counter[str] = Counter()
    calendar = StoreCalendar(store.store_id, store)
    with ExitStack() as stack:
        opened: dict[str, Recording | Live] = {}
        for camera, address in addresses.items():
            live_rate = LIVE_RATE if rate is None else rate
            opened[camera] = one = open_source(address, start=begin, picture_rate=picture_rate, rate=live_rate)
            if isinstance(one, Recording):
                stack.callback(one.close)
        live = any(isinstance(one, Live) for one in opened.values())
        rate = (LIVE_RATE if live else 0.0) if rate is None else rate
        scenes, wanted = {}, {}
        for camera, one in opened.items():
            if isinstance(one, Recording):
                width, height = one.width, one.height
                looks = one.fps / every if not live else one.fps
                looks = min(looks, rate or looks)
            else:
                described = next(known for known in store.cameras if known.camera_id == camera)
                if described.frame_width is None or described.frame_height is None:
                    raise CameraError(
                        f"say the frame_width and frame_height of camera {camera} in the layout: it is live"
                    )
                width, height, looks = described.frame_width, described.frame_height, rate or SLOWEST
            if looks < SLOWEST:
                given = f"--every {every}" if every > 1 else f"--rate {rate:g}" if rate else one.name
                raise CameraError(f"{given} leaves {looks:.1f} frames/s: people are followed from {SLOWEST:g} on")
            scenes[camera] = scene_of(store, camera, width, height, entrance)
            wanted[camera] = looks if isinstance(one, Recording) else rate
        onlookers: list[Show | HeatMap] = []
        if show is not None:
            fps = {camera: looks or LIVE_RATE for camera, looks in wanted.items()}
            onlookers.append(stack.enter_context(Show(show, scenes, fps, calendar.zone)))
        if heatmap is not None:
            onlookers.append(stack.enter_context(HeatMap(heatmap, store, scenes)))
        publisher = Publisher(settings, lasting=live) if publish else None
        if publisher is not None:
            stack.callback(publisher.close)
            if publish_layout:
                publisher.send(topics.STORE_LAYOUTS, store)
        detector = load_detector(model, cache_dir=settings.data_dir / "ultralytics", trust_model=trust_model)
        console = Console(stderr=True)
        bar = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
        declared = [one.declared if isinstance(one, Recording) else 0 for one in opened.values()]
        task = bar.add_task(store.store_id, total=sum(declared) // every if all(declared) and not rate else None)
        looked, first, began = 0, None, 0.0
        shop = Shop(store, scenes, salt=_salt(settings))
        uniform = store.staff.uniform if store.staff else []
        describe = describer(reid) if reid is not None else None
        cameras = {
            camera: Camera(one, scenes[camera], Observer(uniform, describe), calendar, wanted[camera])
            for camera, one in opened.items()
        }
        if metrics_port is not None:
            server, _ = start_http_server(metrics_port, addr="127.0.0.1")
            stack.callback(server.shutdown)
        for look in look_on(cameras, shop, detector, every=every, rate=rate, speed=speed, stop=stop):
            for report in look.health:
                if publisher is not None:
                    publisher.send(topics.CAMERA_HEALTH, report)
                if report.kind == "CHANGE":
                    words = f"{report.camera_id} is {report.state}{': ' * bool(report.reason)}{report.reason}"
                    console.print(words, markup=False, highlight=False)
            for event in look.events:
                seen[event.event_type] += 1
                if publisher is not None:
                    publisher.send(topics.VISIT_EVENTS, event)
                else:
                    # At once: somebody may be reading a live camera's.
                    print(dump(event).decode(), flush=True)
            for onlooker in onlookers:
                onlooker.see(look, shop.view(look.camera_id))
            if look.frame is not None:
                looked += 1
                first = first or look.frame.at_ms
                bar.update(task, completed=looked)
                # Reading the model takes seconds and is no part of the rate.
                began = began or time.monotonic()
    took = time.monotonic() - began if began else 0.0
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.items())) or "no events"
    names = ", ".join(f"{camera} ({one.name})" for camera, one in opened.items())
    since = f" from {datetime.fromtimestamp(first / 1000, UTC).isoformat()}" if first is not None else ""
    typer.echo(
        f"{names}: {looked} frames{since} in {took:.1f} s ({(looked - 1) / took if took else 0:.1f}/s);"
        f" {'published' if publish else 'found'} {counts} of {store.store_id}",
        err=True,
    )
    for decision in shop.decisions if explain else ():
        typer.echo(decision.told(), err=True)
    return seen


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal ends at once, as if there were no handler."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in before:
        signal.signal(number, end)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _addresses(clip: str | None, named: Sequence[str]) -> str | dict[str, str]:
    from producers.cameras import CameraError

    if clip is not None and not named:
        return clip
    if clip is not None or not named:
        raise CameraError("give one CLIP, or --source CAMERA=SOURCE for each camera")
    found: dict[str, str] = {}
    for text in named:
        camera_id, equals, address = text.partition("=")
        if not (camera_id and equals and address):
            raise CameraError("--source needs CAMERA=SOURCE, such as CAM-1=door.mp4")
        if camera_id in found:
            raise CameraError(f"--source names camera {camera_id} twice")
        found[camera_id] = address
    return found


def _salt(settings: Settings) -> bytes:
    from aisleflow import secrets
    from producers.cameras import CameraError

    if settings.camera_salt is not None:
        return settings.camera_salt.get_secret_value().encode()
    try:
        return secrets.visitor_salt(settings.data_dir)
    except secrets.SecretsError as error:
        raise CameraError(str(error)) from error


def _start(text: str | None) -> datetime | None:
    from pydantic import TypeAdapter, ValidationError

    from producers.cameras import CameraError
    from schemas.events import Timestamp, as_problem

    if text is None:
        return None
    try:
        return TypeAdapter[datetime](Timestamp).validate_python(text).astimezone(UTC)
    except ValidationError as error:
        raise CameraError(f"--start {text!r}: {as_problem(error)[1]}") from error
