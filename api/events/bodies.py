"""Request bodies: read within a limit, and cut into items whose bytes stay as they came."""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from api.problems import FieldProblem, ProblemError

MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_ITEMS = 500

_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body, refused as soon as it is known to be too large.

    Raises:
        ProblemError: 413, over the limit; 415, compressed.
    """
    too_large = ProblemError(413, f"The body is larger than {limit} bytes; send smaller batches.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError(415, "Send the body uncompressed.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def split(body: bytes, name: str) -> list[bytes]:
    """The items of ``{"NAME": [...]}``, or of a bare list, as bytes.

    Raises:
        ProblemError: 400, not JSON; 422, not of that form; 413, too many items.
    """
    try:
        items = _list_decoder.decode(_field(body, name))
    except msgspec.ValidationError:
        raise _misshapen(name) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProblemError(400, f"The body is not JSON: {str(error)[:200]}") from None
    if len(items) > MAX_ITEMS:
        raise ProblemError(413, f"The batch holds {len(items)} {name}; the limit is {MAX_ITEMS}.")
    return [bytes(item) for item in items]


def _field(body: bytes, name: str) -> bytes:
    if body.lstrip(b" \t\r\n")[:1] == b"[":
        return body
    found = _object_decoder.decode(body).get(name)
    if found is None:
        raise _misshapen(name)
    return bytes(found)


def _misshapen(name: str) -> ProblemError:
    fault = FieldProblem(field=name, reason="must be a list")
    return ProblemError(422, f'The body must be {{"{name}": [...]}} or a list.', errors=[fault.model_dump()])
