"""The process that looks at photos: started by the first, one photo at a time, ended when it takes too long."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from aisleflow import log
from aisleflow.settings import Settings
from api.problems import ProblemError, UnavailableError

PHOTO_WITHIN_S = 60.0
#: The first photo waits for the model as well.
MODEL_WITHIN_S = 60.0
#: Photos that wait for the one that is looked at.
MOST_WAITING = 4

logger = log.get(__name__)


class Looked(NamedTuple):
    """What a photo shows: a ShelfScan as JSON, what could not be done, and the annotated picture (JPEG)."""

    scan: str
    notes: list[str]
    picture: bytes


class Vision:
    """One process and the queue before it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def look(self, asked: dict[str, Any], photo: bytes) -> Looked:
        """What a photo shows.

        Args:
            asked: as ``producers.shelves.serve`` takes it.
            photo: a JPEG, PNG or WebP file.

        Raises:
            ProblemError: 422, the photo or the planogram is none; 503, photos cannot be looked at here, or not now.
        """
        command = self._command()
        if self._waiting > MOST_WAITING:
            raise UnavailableError("vision", "Other photos are being looked at; send it again in a few seconds.")
        self._waiting += 1
        try:
            async with self._turn:
                said, picture = await self._ask(command, asked, photo)
        finally:
            self._waiting -= 1
        if "error" in said:
            raise ProblemError(422, said["error"])
        return Looked(said["scan"], said["notes"], picture)

    def _command(self) -> list[str]:
        """What starts the process.

        Raises:
            ProblemError: 503, what is missing on this server, and what to install or set.
        """
        from producers.cameras import CameraError
        from producers.cameras.people import require_vision

        model = self._settings.shelf_model
        if model is None:
            raise ProblemError(
                503,
                "This server has no model for shelf photos: set AISLEFLOW_SHELF_MODEL to a YOLO detector of products "
                "(docs/shelves.md), and start the API again.",
                part="vision",
            )
        try:
            require_vision()
        except CameraError as error:
            raise ProblemError(
                503, f"This server cannot look at photos: {error}, and start the API again.", part="vision"
            ) from error
        cache = self._settings.data_dir.expanduser() / "ultralytics"
        return [sys.executable, "-m", "producers.shelves.serve", str(model), str(cache)]

    async def _ask(self, command: list[str], asked: dict[str, Any], photo: bytes) -> tuple[dict[str, Any], bytes]:
        within = PHOTO_WITHIN_S
        if self._process is None or self._process.returncode is not None:
            within += MODEL_WITHIN_S
            # A photo has hundreds of products, on one line.
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=2**24)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            async with asyncio.timeout(within):
                process.stdin.write(orjson.dumps({**asked, "size": len(photo)}) + b"\n" + photo)
                await process.stdin.drain()
                said = orjson.loads(await process.stdout.readuntil(b"\n"))
                return said, await process.stdout.readexactly(said["size"])
        except TimeoutError:
            raise ProblemError(
                503, f"The photo was not looked through in {within:.0f} s: send it smaller.", part="vision"
            ) from None
        except (OSError, asyncio.IncompleteReadError) as error:
            logger.warning("vision_ended", error=str(error))
            raise ProblemError(
                503,
                "The process that looks at photos ended, as with a model it cannot load; the log says why.",
                part="vision",
            ) from error
        finally:
            if sys.exc_info()[0] is not None:  # also when the client is gone: half an answer would be the next one's
                await self.close()

    async def close(self) -> None:
        """End the process; the next photo starts another."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
