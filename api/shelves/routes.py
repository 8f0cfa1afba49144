"""Photos of shelves: what they show, as facts on the log, and the pictures with it drawn in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import FileResponse

from api.deps import IngestDep, PartsDep
from api.events.bodies import read_body
from api.problems import ProblemError, documented
from schemas import topics
from schemas.events import STORE_PATTERN, UUID_PATTERN, Name, ShelfScan, StoreId, Timestamp, dump

MAX_PHOTO_BYTES = 20 * 2**20
MAX_PLANOGRAM_BYTES = 256 * 2**10
PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")

router = APIRouter(tags=["shelves"])


class Scanned(ShelfScan):
    """What a photo shows, as it went onto the log, and where the picture is."""

    picture: str | None = Field(description="Where the annotated picture is, null where none is kept.")
    notes: list[str] = Field(description="What could not be done, in words.")


_PHOTO = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys(PHOTO_TYPES, _PHOTO),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "properties": {
                        "photo": {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP."},
                        "planogram": {"type": "string", "description": "What the bay should hold (docs/shelves.md)."},
                    },
                }
            },
        },
    }
}


@router.post(
    "/shelves/scan",
    summary="Look at a photo of a shelf",
    responses=documented(400, 401, 403, 413, 415, 422, 503),
    openapi_extra=_BODY,
)
async def scan(
    request: Request,
    parts: PartsDep,
    ingest: IngestDep,
    store_id: Annotated[StoreId, Query(description="The shop.", examples=["STORE_BLR_002"])],
    zone_id: Annotated[Name | None, Query(description="The zone of the shop's layout.")] = None,
    at: Annotated[
        Timestamp | None,
        Query(
            description="When it was taken; if left out, what the camera wrote with its offset, else now.",
            json_schema_extra={"format": "date-time"},
        ),
    ] = None,
    tiles: Annotated[
        int, Query(ge=1, le=3, description="Look at the photo's parts too, so many each way: for small products.")
    ] = 1,
) -> Scanned:
    """Products, the rows they stand in, empty places, and SKUs where a planogram names them: published to `shelf-scans`, and the
    answer. The photo is the body, or the part `photo` of a form; at most 20 MiB. The planogram is the part `planogram`, else the
    file that AISLEFLOW_PLANOGRAMS has for the shop and zone. The same photo again has the same id, and counts once.

    Only a picture in which nothing but products is sharp is kept, for some days; the photo is not.
    """
    photo, planogram = await _photo(request)
    if planogram is None:
        planogram = await asyncio.to_thread(_own_planogram, parts.settings.planograms, store_id, zone_id)
    asked = {
        "store_id": store_id,
        "zone_id": zone_id,
        "at": at and at.isoformat(),
        "planogram": planogram,
        "tiles": tiles,
    }
    looked = await parts.vision.look(asked, photo)
    found = ShelfScan.model_validate_json(looked.scan)
    await ingest.publish_one(topics.SHELF_SCANS.name, store_id, dump(found))
    kept = await asyncio.to_thread(parts.pictures.keep, found, looked.picture)
    address = picture_link(store_id, found.event_id) if kept else None
    return Scanned(**found.model_dump(), picture=address, notes=looked.notes)


@router.get(
    "/shelves/{store_id}/scans/{event_id}/picture",
    summary="A shelf photo with what was found drawn in",
    response_class=FileResponse,
    responses={200: {"content": {"image/jpeg": {}}}, **documented(401, 404, 422, 503)},
)
async def picture(
    parts: PartsDep,
    store_id: Annotated[str, Path(pattern=STORE_PATTERN, max_length=64)],
    event_id: Annotated[str, Path(pattern=UUID_PATTERN)],
) -> FileResponse:
    """Only products are sharp in it; all else is coarse, since somebody may stand there."""
    path = await asyncio.to_thread(parts.pictures.path, store_id, event_id.lower())
    return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


def picture_link(store_id: str, event_id: str) -> str:
    """The address of a scan's picture."""
    return f"/shelves/{quote(store_id, safe='')}/scans/{event_id}/picture"


async def _photo(request: Request) -> tuple[bytes, str | None]:
    """The photo, and the planogram that came with it.

    Raises:
        ProblemError: 400, 413, 415 or 422, the body holds no photo, too much, or something else.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        if kind not in PHOTO_TYPES:
            raise ProblemError(415, f"Send a photo as one of {', '.join(PHOTO_TYPES)}, or a form with the part photo.")
        return await read_body(request, MAX_PHOTO_BYTES), None
    body = await read_body(request, MAX_PHOTO_BYTES + MAX_PLANOGRAM_BYTES)

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(
            request.headers, whole(), max_files=2, max_fields=2, max_part_size=MAX_PLANOGRAM_BYTES
        ).parse()
    except MultiPartException as error:
        raise ProblemError(400, f"The form cannot be read: {error.message}"[:300]) from None
    try:
        photo, planogram = form.get("photo"), form.get("planogram")
        if not isinstance(photo, UploadFile):
            raise ProblemError(422, "The form has no file in its part photo.")
        if isinstance(planogram, UploadFile):
            planogram = (await planogram.read(MAX_PLANOGRAM_BYTES)).decode("utf-8", "replace")
        return await photo.read(), planogram
    finally:
        await form.close()


def _own_planogram(folder: Any, store_id: str, zone_id: str | None) -> str | None:
    """The planogram on this server for a zone of a shop: FOLDER/STORE_ID/ZONE_ID.json, both as in a URL."""
    if folder is None or zone_id is None:
        return None
    path = folder.expanduser() / quote(store_id, safe="") / f"{quote(zone_id, safe='')}.json"
    return path.read_text() if path.is_file() else None
