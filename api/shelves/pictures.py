"""Annotated pictures of shelves, kept for some days in a folder. In them only products are sharp: the photo itself is not kept."""

from __future__ import annotations

import time
from pathlib import Path

from api.problems import ProblemError
from schemas.events import ShelfScan, dump

#: Of one shop, whatever their age.
MOST_OF_A_SHOP = 200
DAY_S = 86_400


class Pictures:
    """A folder a shop, and in it for each scan ``EVENT_ID.jpg`` and ``EVENT_ID.json``. Ids must have been checked by their pattern."""

    def __init__(self, folder: Path, days: int) -> None:
        self._folder, self._days = folder, days

    def keep(self, scan: ShelfScan, picture: bytes) -> bool:
        """Keep a scan and its picture, and delete those of this shop whose time is over; whether they are kept."""
        if not self._days:
            return False
        folder = self._folder / scan.store_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{scan.event_id}.jpg").write_bytes(picture)
            (folder / f"{scan.event_id}.json").write_bytes(dump(scan))
        except OSError:
            return False
        until = time.time() - self._days * DAY_S
        for place, path in enumerate(self._newest(folder)):
            if place >= MOST_OF_A_SHOP or path.stat().st_mtime < until:
                path.unlink(missing_ok=True)
                path.with_suffix(".jpg").unlink(missing_ok=True)
        return True

    def recent(self, store_id: str, most: int) -> list[ShelfScan]:
        """The newest scans of a shop that are kept here."""
        until = time.time() - self._days * DAY_S
        found = [path for path in self._newest(self._folder / store_id)[:most] if path.stat().st_mtime >= until]
        return [ShelfScan.model_validate_json(path.read_bytes()) for path in found]

    def path(self, store_id: str, event_id: str) -> Path:
        """Where a picture is.

        Raises:
            ProblemError: 404, it is not kept.
        """
        path = self._folder / store_id / f"{event_id}.jpg"
        if not path.is_file() or path.stat().st_mtime < time.time() - self._days * DAY_S:
            raise ProblemError(
                404,
                f"No picture of this scan is kept here: they are for {self._days} days, on the server that took the photo.",
            )
        return path

    @staticmethod
    def _newest(folder: Path) -> list[Path]:
        return sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
