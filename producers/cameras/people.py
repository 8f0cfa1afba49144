"""People in frames: a YOLO detector finds them, ByteTrack keeps them apart. Needs the vision extra.

A model exported to OpenVINO or ONNX runs on OpenVINO alone, several pictures at once, in the shape of the camera's frames
instead of a padded square, and one exported to TFLite on LiteRT: neither PyTorch nor ultralytics is loaded. ultralytics
runs the others, and makes the exports.
"""

from __future__ import annotations

import ast
import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from producers.cameras import CameraError

# ByteTrack uses faint boxes too, to hold a track through a partial occlusion, but never to start one.
FAINTEST = 0.1
# A box this sure starts a track and is matched first. Small quantised models are less sure of themselves than the large
# ones that ByteTrack's own 0.7 and 0.6 come from: in a crowded aisle those lose people behind each other.
SURE = 0.5
# The tracker's motion filter is tuned for steps of a frame at this rate. At its own 30, steps of looks at 5 to 10 a second let
# every shake of a box pass for speed: a walking person became eleven tracks (benchmarks/identity.py shows it).
TRACKED_RATE = 10.0
# A step may leave a narrow box beside its prediction. The generalised overlap (Rezatofighi et al., 2019) goes on below 0 with
# the distance between them: at this, as far apart as about half of the space that holds both.
LEAST_OVERLAP = -0.3
# Two boxes that overlap more than this (intersection over union) are one person: ultralytics' own default.
SAME_BOX = 0.7
# More than a photo of shelves holds.
MOST = 3000
# ultralytics publishes these; any other .pt may hold any program.
OFFICIAL = re.compile(r"yolo(v5[nsmlx]6?u|v8[nsmlx]|v9[tsmce]|v10[nsmblx]|11[nsmlx]|12[nsmlx]|26[nsmlx])\.pt")


def require_vision() -> None:
    """Say what is missing before anything starts.

    Raises:
        CameraError: the vision extra is not installed.
    """
    from importlib.util import find_spec

    missing = [
        name
        for name in ("ai_edge_litert", "cv2", "openvino", "supervision", "trackers", "ultralytics")
        if find_spec(name) is None
    ]
    if missing:
        raise CameraError(f"cameras need the vision extra ({', '.join(missing)} missing): run `make vision`")


class Detector(Protocol):
    """Finds people in pictures, or whatever ``load_detector`` was asked for."""

    at_once: int
    """How many pictures it looks at at the same time to advantage; ``detect`` may be called from that many threads."""

    def detect(self, image: Any) -> Any:
        """What is seen in a BGR picture as ``supervision.Detections``, from a confidence of ``FAINTEST`` on."""


def load_detector(
    model: Path, *, cache_dir: Path, trust_model: bool = False, wanted: str | None = "person"
) -> Detector:
    """The detector in a file or folder.

    Args:
        model: A YOLO detector: an OpenVINO folder, ``.onnx`` or ``.tflite`` file that ultralytics exported, or the name of an
            official model, such as ``yolov8n.pt``, which ultralytics fetches once.
        cache_dir: Where ultralytics keeps its settings and what it fetches.
        trust_model: Also load a file that can hold a program, and would run it: a ``.pt`` of your own, or another of the
            formats that ultralytics loads.
        wanted: The class to find; None finds all that the model knows.

    Raises:
        CameraError: there is no such model, it is for another task, or it does not know the class.
    """
    if model.suffix == ".tflite" or (model.is_dir() and [*model.glob("*.tflite")]):
        return LiteRtYolo(model, wanted)
    if model.is_dir() or model.suffix == ".onnx":
        return OpenVinoYolo(model, wanted)
    return TorchYolo(_weights(model, cache_dir, trust_model), cache_dir=cache_dir, wanted=wanted)


def export_model(model: Path, folder: Path, *, size: int, half: bool, cache_dir: Path, trust_model: bool) -> Path:
    """Make the OpenVINO folder of a ``.pt`` model, for ``load_detector``.

    Args:
        model, cache_dir, trust_model: As for ``load_detector``.
        folder: Where to put it.
        size: Longer side of what the model looks at, pixels; a multiple of 32.
        half: Keep the weights in 16 bits: half the size, and no slower.

    Returns:
        The folder ``NAME_openvino_model`` in ``folder``.

    Raises:
        CameraError: the model cannot be had, is no detector of people, or the export fails.
    """
    import shutil

    yolo = TorchYolo(_weights(model, cache_dir, trust_model), cache_dir=cache_dir).yolo
    target = folder / f"{model.stem}_openvino_model"
    if target.exists():
        raise CameraError(f"{target} is there already: move it away, or use it")
    try:
        # Dynamic, so that it can be run in the shape of any camera's frames.
        made = Path(yolo.export(format="openvino", imgsz=size, dynamic=True, quantize=16 if half else None))
        if made != target:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(made, target)
        OpenVinoYolo(target)
    except CameraError:
        raise
    except Exception as error:  # ultralytics raises whatever its parts do
        raise CameraError(f"the model {model} cannot be exported: {_last_line(error)}") from error
    return target


class OpenVinoYolo:
    """A YOLO detector that ultralytics exported to OpenVINO or ONNX.

    Args:
        model: The folder, or the ``.onnx`` file.
        wanted: The class to find; None finds all.

    Raises:
        CameraError: it is not such a model.
    """

    def __init__(self, model: Path, wanted: str | None = "person") -> None:
        import openvino as ov

        self._core: Any = ov.Core()
        self._lock = threading.Lock()
        self._compiled: dict[tuple[int, int], Any] = {}
        self._local = threading.local()
        path = model
        if model.is_dir():
            graphs = sorted(model.glob("*.xml"))
            if len(graphs) != 1 or not (model / "metadata.yaml").is_file():
                raise CameraError(
                    f"{model} is not a YOLO model exported to OpenVINO (one .xml, its .bin and metadata.yaml)"
                )
            path = graphs[0]
        elif not model.is_file():
            raise CameraError(f"there is no model {model}")
        self._path = path
        try:
            graph = self._core.read_model(path)
            about = _about(path, graph)
        except Exception as error:  # OpenVINO raises whatever its parsers do
            raise CameraError(f"the model {model} cannot be read: {_last_line(error)}") from error
        self._take(model, about, wanted, graph.output(0).get_partial_shape())
        self.at_once = min(
            4, int(self._compile(self._side, self._side).get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        )

    def _take(self, model: Path, about: Mapping[str, Any], wanted: str | None, out: Any) -> None:
        """What a detector of these metadata gives for an output of this shape (OpenVINO's)."""
        self._wanted = wanted_classes(model, about.get("task"), about.get("names"), wanted)
        classes = len(about["names"])
        # Either every cell's box and scores, or (models that need no suppression) some hundred finished boxes.
        self._finished = len(out) == 3 and out[2].is_static and out[2].get_length() == 6
        if len(out) != 3 or not (self._finished or (out[1].is_static and out[1].get_length() == 4 + classes)):
            raise CameraError(f"the model {model} gives {out}, not the boxes and {classes} classes of a YOLO detector")
        side = about.get("imgsz", [640, 640])
        self._side = max(side) if isinstance(side, list | tuple) else int(side)
        self._stride = int(about.get("stride", 32))

    def detect(self, image: Any) -> Any:
        """As ``Detector.detect``."""
        import cv2
        import numpy as np
        import supervision as sv

        height, width = image.shape[:2]
        rows, columns, run = self._network(height, width)
        scale = min(columns / width, rows / height)
        inner = (round(width * scale), round(height * scale))
        left, top = (columns - inner[0]) // 2, (rows - inner[1]) // 2
        # Grey around the picture, as in training.
        canvas = np.full((1, rows, columns, 3), 114, np.uint8)
        cv2.resize(image, inner, canvas[0, top : top + inner[1], left : left + inner[0]])
        found = run(canvas)
        if self._finished:
            kept = found[np.isin(found[:, 5], self._wanted) & (found[:, 4] >= FAINTEST)]
            corners, scores, classes = kept[:, :4], kept[:, 4], kept[:, 5].astype(int)
        else:
            # A box belongs to its best class alone: somewhat like a person is a mannequin's dog, too.
            sure = found[4 + self._wanted[0]] if len(self._wanted) == 1 else found[4:].max(axis=0)
            cells = np.flatnonzero(sure >= FAINTEST)
            classes = found[4:, cells].argmax(axis=0)
            own = np.isin(classes, self._wanted)
            cells, classes = cells[own], classes[own]
            centre, size, scores = found[:2, cells].T, found[2:4, cells].T, sure[cells]
            corners = np.hstack([centre - size / 2, centre + size / 2])
            if len(cells):
                tops: Any = np.hstack([centre - size / 2, size])
                kept = np.array(cv2.dnn.NMSBoxes(tops, scores, FAINTEST, SAME_BOX), int)
                corners, scores, classes = corners[kept], scores[kept], classes[kept]
        limits = np.array([width, height, width, height])
        xyxy = np.clip((corners - [left, top, left, top]) / scale, 0, limits).astype(np.float32).reshape(-1, 4)
        return sv.Detections(xyxy=xyxy, confidence=np.array(scores, np.float32), class_id=np.array(classes, int))

    def _network(self, height: int, width: int) -> tuple[int, int, Callable[[Any], Any]]:
        """Rows and columns of the input for pictures of a size, and this thread's network: from such an input to its output."""
        held: dict[tuple[int, int], Any] = vars(self._local).setdefault("requests", {})
        shape = frame_shape(height, width, self._side, self._stride)
        if (request := held.get(shape)) is None:
            with self._lock:
                compiled = self._compile(*shape)
            request = held[shape] = compiled.create_infer_request()
        _, rows, columns, _ = request.model_inputs[0].shape
        return rows, columns, lambda canvas: request.infer({0: canvas}, share_inputs=True, share_outputs=True)[0][0]

    def _compile(self, rows: int, columns: int) -> Any:
        """The network for an input of this shape, or of its own where it cannot be given another."""
        if (rows, columns) not in self._compiled:
            import openvino as ov

            graph = self._core.read_model(self._path)
            try:
                reshape(graph, rows, columns)
            except (RuntimeError, ValueError):
                graph = self._core.read_model(self._path)
            steps = ov.preprocess.PrePostProcessor(graph)
            steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(
                ov.preprocess.ColorFormat.BGR
            )
            steps.input().model().set_layout(ov.Layout("NCHW"))
            steps.input().preprocess().convert_element_type(ov.Type.f32).convert_color(
                ov.preprocess.ColorFormat.RGB
            ).scale(255.0)
            self._compiled[rows, columns] = self._core.compile_model(
                steps.build(), "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"}
            )
        return self._compiled[rows, columns]


class LiteRtYolo(OpenVinoYolo):
    """A YOLO detector that ultralytics exported to TFLite, on LiteRT.

    OpenVINO reads such files too, but gave another result for the same picture in one process of some (2026.4, 8-bit weights).

    Args:
        model: The file, with ``metadata.yaml`` beside it unless it holds its own; or the folder of both.
        wanted: The class to find; None finds all.

    Raises:
        CameraError: it is not such a model.
    """

    at_once = 1

    def __init__(self, model: Path, wanted: str | None = "person") -> None:
        import numpy as np
        import openvino as ov
        from ai_edge_litert.interpreter import Interpreter

        path = model
        if model.is_dir():
            path, *more = sorted(model.glob("*.tflite"))
            if more:
                raise CameraError(f"{model} holds several .tflite files: name one")
        if not path.is_file():
            raise CameraError(f"there is no model {model}")
        try:
            about = _about(path, None)
            self._interpreter: Any = Interpreter(str(path), num_threads=os.cpu_count())
            self._interpreter.allocate_tensors()
        except Exception as error:  # LiteRT raises whatever its parsers do
            raise CameraError(f"the model {model} cannot be read: {_last_line(error)}") from error
        self._lock = threading.Lock()
        self._given, self._given_back = (
            self._interpreter.get_input_details()[0],
            self._interpreter.get_output_details()[0],
        )
        if self._given["dtype"] != np.float32 or self._given_back["dtype"] != np.float32:
            raise CameraError(
                f"the model {model} takes or gives {self._given['dtype'].__name__}: export it with floats"
            )
        self._take(model, about, wanted, ov.PartialShape([int(length) for length in self._given_back["shape"]]))
        self._colours_last = int(self._given["shape"][-1]) == 3

    def _network(self, height: int, width: int) -> tuple[int, int, Callable[[Any], Any]]:
        shape = [int(length) for length in self._given["shape"]]
        rows, columns = shape[1:3] if self._colours_last else shape[2:4]
        return rows, columns, self._run

    def _run(self, canvas: Any) -> Any:
        """The network's output for BGR pictures, boxes in pixels of its input."""
        import numpy as np

        _, rows, columns, _ = canvas.shape
        picture = canvas[..., ::-1].astype(np.float32) / 255
        if not self._colours_last:
            picture = picture.transpose(0, 3, 1, 2)
        with self._lock:
            self._interpreter.set_tensor(self._given["index"], np.ascontiguousarray(picture))
            self._interpreter.invoke()
            found = self._interpreter.get_tensor(self._given_back["index"])[0]
        # Boxes are shares of the input, but for finished ones of exports with the colours first.
        if self._finished and self._colours_last:
            found[:, :4] *= [columns, rows, columns, rows]
        elif not self._finished:
            found[:4] *= np.array([columns, rows, columns, rows])[:, None]
        return found


def frame_shape(height: int, width: int, side: int, stride: int) -> tuple[int, int]:
    """Rows and columns of the smallest input that holds a picture whose longer side is ``side``, in whole strides."""
    scale = side / max(height, width)
    return tuple(-(-round(length * scale) // stride) * stride for length in (height, width))  # type: ignore[return-value]


def reshape(graph: Any, rows: int, columns: int) -> None:
    """Make a network take pictures of another shape.

    An export of fixed size carries the centres and strides of its grid cells, and their number, as constants. A smaller grid
    is the upper left part of each level, so those constants are cut; weights do not change, and neither do results.

    Raises:
        ValueError, RuntimeError: this network cannot be given that shape; it may be half changed.
    """
    import numpy as np
    import openvino as ov
    from openvino import opset13 as ops

    shape = graph.input(0).get_partial_shape()
    if shape.is_dynamic:
        graph.reshape({0: [1, 3, rows, columns]})
        return
    _, _, old_rows, old_columns = shape.to_shape()
    if (old_rows, old_columns) == (rows, columns):
        return
    if rows > old_rows or columns > old_columns:
        raise ValueError(f"an input of {old_rows}x{old_columns} has no cells for {rows}x{columns}")
    kept, first = [], 0
    for stride in (8, 16, 32):
        height, width = old_rows // stride, old_columns // stride
        cells = first + np.arange(height * width).reshape(height, width)
        kept.append(cells[: rows // stride, : columns // stride].ravel())
        first += height * width
    chosen = np.concatenate(kept)
    for node in graph.get_ops():
        if node.get_type_name() != "Constant":
            continue
        data = node.get_data()
        if data.ndim and data.shape[-1] == first:
            data = data[..., chosen]
        elif data.ndim == 1 and data.dtype.kind == "i" and first in data:
            data = np.where(data == first, len(chosen), data).astype(data.dtype)
        else:
            continue
        constant = ops.constant(data)
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(constant.output(0))
    graph.get_parameters()[0].set_partial_shape(ov.PartialShape([1, 3, rows, columns]))
    graph.validate_nodes_and_infer_types()
    if graph.output(0).get_shape()[-1] != len(chosen):
        raise ValueError("the network's cells are not those of a YOLO detector")


class TorchYolo:
    """A YOLO detector that ultralytics runs, on PyTorch or whatever the format needs.

    Args:
        model: A file that ultralytics loads. It may run programs from it.
        cache_dir: Where ultralytics may keep its own settings.

    Raises:
        CameraError: it cannot be loaded, is for another task, or does not know the class.
    """

    at_once = 1

    def __init__(self, model: Path, *, cache_dir: Path, wanted: str | None = "person") -> None:
        ultralytics = load_ultralytics(cache_dir, fetch=not model.exists())
        try:
            self.yolo: Any = ultralytics.YOLO(str(model))
        except Exception as error:  # ultralytics raises whatever its parts do
            raise CameraError(f"the model {model} cannot be read: {_last_line(error)}") from error
        self._wanted = wanted_classes(model, self.yolo.task, self.yolo.names, wanted)

    def detect(self, image: Any) -> Any:
        """As ``Detector.detect``."""
        import supervision as sv

        result = self.yolo.predict(
            image, classes=self._wanted, conf=FAINTEST, iou=SAME_BOX, max_det=MOST, verbose=False
        )[0]
        return sv.Detections.from_ultralytics(result)


class Tracker:
    """Keeps the people of one camera apart, by ByteTrack.

    Args:
        patience_s: How long a track outlives its last box, seconds.
    """

    def __init__(self, patience_s: float) -> None:
        from trackers import ByteTrackTracker
        from trackers.utils.iou import GIoU

        # lost_track_buffer counts thirtieths of a second, whatever the frame rate.
        self._tracker: Any = ByteTrackTracker(
            lost_track_buffer=round(30 * patience_s),
            frame_rate=TRACKED_RATE,
            track_activation_threshold=SURE,
            high_conf_det_threshold=SURE,
            iou=GIoU(),
            minimum_iou_threshold=LEAST_OVERLAP,
        )

    def update(self, detections: Any, at_ms: int) -> Any:
        """The confirmed tracks of a frame, as ``supervision.Detections`` with ``tracker_id``.

        Args:
            detections: What the detector found, faint boxes too.
            at_ms: When the frame was taken, milliseconds; later than the frame before.
        """
        tracked = self._tracker.update(detections, timestamp=at_ms / 1000)
        # -1 marks boxes that are not yet anybody.
        return tracked[tracked.tracker_id >= 0]


def wanted_classes(model: Path, task: object, names: object, wanted: str | None) -> list[int]:
    """The numbers of the wanted class of a detector, or of all of its classes.

    Raises:
        CameraError: the model is for another task, or has no such class.
    """
    if task != "detect":
        raise CameraError(
            f"the model {model} is made to {task or 'do something unknown'}; {wanted or 'product'}s need one for detect"
        )
    known = names if isinstance(names, Mapping) else {}
    found = [int(number) for number, name in known.items() if wanted in (None, name)]
    if not found:
        raise CameraError(
            f"the model {model} does not know the class {wanted!r}" if wanted else f"the model {model} names no class"
        )
    return found


def _about(model: Path, graph: Any) -> dict[str, Any]:
    """What ultralytics wrote beside or into an export: task, names of classes, sizes."""
    if model.suffix == ".tflite" and zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as parts:
            first = parts.namelist()[0]
            # Newer exports append JSON, older ones a Python literal.
            read = json.loads if first.endswith(".json") else ast.literal_eval
            return dict(read(parts.read(first).decode()))
    if model.suffix != ".onnx":
        import yaml

        found = yaml.safe_load((model.parent / "metadata.yaml").read_text())
        return found if isinstance(found, dict) else {}
    about: dict[str, Any] = {}
    for key in ("task", "names", "imgsz", "stride"):
        if graph.has_rt_info(["framework", key]):
            text = str(graph.get_rt_info(["framework", key]).value)
            about[key] = text if key == "task" else ast.literal_eval(text)
    return about


def _weights(model: Path, cache_dir: Path, trust_model: bool) -> Path:
    """What to hand to ultralytics.

    Raises:
        CameraError: it is not there, or nobody said that it may be trusted.
    """
    if trust_model and model.exists():
        return model
    if OFFICIAL.fullmatch(str(model)):
        # Never a file of that name which happens to lie in the current folder.
        return cache_dir / model.name
    if not model.exists():
        raise CameraError(f"there is no model {model}")
    raise CameraError(
        f"{model} can hold a program, which would run: export it to OpenVINO where you trust it"
        " (`aisleflow camera export`), or say --trust-model"
    )


def load_ultralytics(cache_dir: Path, *, fetch: bool) -> Any:
    """ultralytics, told before its import to install nothing, to keep its settings in ``cache_dir``, and to stay off the
    network unless there is something to fetch.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    os.environ.update(YOLO_AUTOINSTALL="0", YOLO_VERBOSE="0", **({} if fetch else {"YOLO_OFFLINE": "1"}))
    os.environ.setdefault("YOLO_CONFIG_DIR", str(cache_dir))
    import ultralytics

    # It reports its use to its makers otherwise.
    settings: Any = ultralytics.settings
    settings.update({"sync": False})
    return ultralytics


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
