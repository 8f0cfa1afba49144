"""People in frames: YOLO on OpenVINO finds them, ByteTrack keeps them apart. Needs the vision extra."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


class People:
    """Finds people and tracks them over the frames of one clip.

    Args:
        model: Folder ``NAME_openvino_model`` of a YOLO detector with a class "person".
        patience_s: How long a track outlives its last box, seconds.
        cache_dir: Where ultralytics may keep its own settings.

    Raises:
        CameraError: the folder is not such a model.
    """

    def __init__(self, model: Path, *, patience_s: float, cache_dir: Path) -> None:
        # Only this one format is accepted: a .pt file would run whatever code it carries.
        if not model.name.endswith("_openvino_model") or not any(model.glob("*.xml")) or not any(model.glob("*.bin")):
            raise CameraError(f"{model} is not a YOLO model exported to OpenVINO (a folder named *_openvino_model)")
        # ultralytics asks the network, installs packages and reports its use unless told not to, before its import.
        os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0", YOLO_VERBOSE="0")
        cache_dir.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("YOLO_CONFIG_DIR", str(cache_dir))
        from trackers import ByteTrackTracker
        from ultralytics.models import YOLO

        try:
            self._yolo: Any = YOLO(str(model), task="detect")
            self._person = next(number for number, name in self._yolo.names.items() if name == "person")
        except StopIteration as error:
            raise CameraError(f"the model {model} does not know the class 'person'") from error
        except Exception as error:  # ultralytics and OpenVINO raise whatever their parsers do
            raise CameraError(f"the model {model} cannot be read: {str(error).strip().splitlines()[-1]}") from error
        # lost_track_buffer counts thirtieths of a second, whatever the frame rate.
        self._tracker: Any = ByteTrackTracker(
            lost_track_buffer=round(30 * patience_s), track_activation_threshold=SURE, high_conf_det_threshold=SURE
        )

    def see(self, frame: Any, at_s: float) -> Any:
        """The confirmed tracks of a frame, as ``supervision.Detections``; ``at_s`` is its time in the clip."""
        import supervision as sv

        result = self._yolo.predict(frame, classes=[self._person], conf=FAINTEST, verbose=False)[0]
        tracked = self._tracker.update(sv.Detections.from_ultralytics(result), timestamp=at_s)
        # -1 marks boxes that are not yet anybody.
        return tracked[tracked.tracker_id >= 0]
