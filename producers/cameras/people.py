"""People in frames: YOLO on OpenVINO finds them, ByteTrack keeps them apart. Needs the vision extra."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from producers.cameras import CameraError

# ByteTrack uses faint boxes too, to hold a track through a partial occlusion, but never to start one.
FAINTEST = 0.1
# A box this sure starts a track and is matched first. Small quantised models are less sure of themselves than the large
# ones that ByteTrack's own 0.7 and 0.6 come from: in a crowded aisle those lose people behind each other.
SURE = 0.5


def require_vision() -> None:
    """Say what is missing before anything starts.

    Raises:
        CameraError: the vision extra is not installed.
    """
    from importlib.util import find_spec

    missing = [
        name for name in ("cv2", "openvino", "supervision", "trackers", "ultralytics") if find_spec(name) is None
    ]
    if missing:
        raise CameraError(f"cameras need the vision extra ({', '.join(missing)} missing): run `make vision`")


class Detector(Protocol):
    """Finds people in pictures."""

    at_once: int
    """How many pictures it looks at at the same time to advantage; ``detect`` is called from that many threads."""

    def detect(self, image: Any) -> Any:
        """People in a BGR picture as ``supervision.Detections``, from a confidence of ``FAINTEST`` on."""


class Yolo:
    """A YOLO detector by ultralytics.

    Args:
        model: Folder ``NAME_openvino_model`` of a YOLO detector with a class "person".
        cache_dir: Where ultralytics may keep its own settings.

    Raises:
        CameraError: the folder is not such a model.
    """

    at_once = 1

    def __init__(self, model: Path, *, cache_dir: Path) -> None:
        # Only this one format is accepted: a .pt file would run whatever code it carries.
        if not model.name.endswith("_openvino_model") or not any(model.glob("*.xml")) or not any(model.glob("*.bin")):
            raise CameraError(f"{model} is not a YOLO model exported to OpenVINO (a folder named *_openvino_model)")
        # ultralytics asks the network, installs packages and reports its use unless told not to, before its import.
        os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0", YOLO_VERBOSE="0")
        cache_dir.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("YOLO_CONFIG_DIR", str(cache_dir))
        from ultralytics.models import YOLO

        try:
            self._yolo: Any = YOLO(str(model), task="detect")
            self._person = next(number for number, name in self._yolo.names.items() if name == "person")
        except StopIteration as error:
            raise CameraError(f"the model {model} does not know the class 'person'") from error
        except Exception as error:  # ultralytics and OpenVINO raise whatever their parsers do
            raise CameraError(f"the model {model} cannot be read: {str(error).strip().splitlines()[-1]}") from error

    def detect(self, image: Any) -> Any:
        """As ``Detector.detect``."""
        import supervision as sv

        result = self._yolo.predict(image, classes=[self._person], conf=FAINTEST, verbose=False)[0]
        return sv.Detections.from_ultralytics(result)


class Tracker:
    """Keeps the people of one camera apart, by ByteTrack.

    Args:
        patience_s: How long a track outlives its last box, seconds.
    """

    def __init__(self, patience_s: float) -> None:
        from trackers import ByteTrackTracker

        # lost_track_buffer counts thirtieths of a second, whatever the frame rate.
        self._tracker: Any = ByteTrackTracker(
            lost_track_buffer=round(30 * patience_s), track_activation_threshold=SURE, high_conf_det_threshold=SURE
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
