"""The layout file of an editing session: read, and written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from producers.cameras import CameraError
from producers.cameras.editor.drawing import Document, Drawing, empty_document, stamp, text_of
from producers.cameras.layouts import read_layout


class LayoutFile:
    """A layout on disk, as one page knows it.

    Args:
        path: The file; it may be yet to come, its folder not.

    Raises:
        CameraError: there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        # What a link points to is written, not the link.
        self.path = path.resolve()
        if not self.path.parent.is_dir():
            raise CameraError(f"there is no folder {self.path.parent}")
        self._seen: bytes | None = None

    def read(self) -> Document:
        """The document as it is on disk, or an empty layout named after the file.

        Raises:
            CameraError: it cannot be read, or is no layout.
        """
        if not self.path.exists():
            self._seen = None
            return empty_document(re.sub(r"[^A-Za-z0-9_.-]+", "-", self.path.stem).strip("-_.") or "STORE")
        read_layout(self.path)
        self._seen = self.path.read_bytes()
        document: Document = json.loads(self._seen)
        return document

    def write(self, drawing: Drawing) -> None:
        """Save what was drawn with a newer ``timestamp``, which makes it the one that holds.

        Raises:
            CameraError: somebody else has changed the file since it was read, or it cannot be written.
            ValidationError: what was drawn is no valid layout; the file is as it was.
        """
        if (self.path.read_bytes() if self.path.exists() else None) != self._seen:
            raise CameraError(f"{self.path.name} was changed by somebody else: reload the page to see it")
        before = drawing.layout().timestamp
        # Layouts are told apart by their second; a clock that was set back must not make this one the older.
        drawing.document["timestamp"] = stamp(max(datetime.now(UTC), before + timedelta(seconds=1)))
        text = text_of(drawing.document).encode()
        mode = self.path.stat().st_mode & 0o777 if self.path.exists() else 0o644
        try:
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=f".{self.path.name}.", delete=False) as file:
                new = Path(file.name)
                try:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                    new.chmod(mode)
                    new.replace(self.path)
                except BaseException:
                    new.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise CameraError(f"{self.path} cannot be written: {error.strerror}") from error
        self._seen = text
        drawing.saved()
