"""Cameras: from video frames to visit events. No frame, face or crop is ever stored or sent."""

from enum import StrEnum


class CameraError(Exception):
    """Something the person who started the camera can put right; the message says what and how."""


class Entrance(StrEnum):
    """What counts as coming in: crossing the entrance line, appearing in the frame, or nothing this camera sees."""

    LINE = "line"
    FRAME = "frame"
    NONE = "none"
