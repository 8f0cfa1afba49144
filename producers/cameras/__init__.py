"""Cameras: from video frames to visit events. No frame, face or crop is ever stored or sent."""


class CameraError(Exception):
    """Something the person who started the camera can put right; the message says what and how."""
