"""Content-Encoding in both directions, each bounded: gzip, deflate, zstd and lz4."""

import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import lz4.frame
import zstandard

from infra.clickhouse.statement import StatementError

MAX_BODY_BYTES = 256 * 1024 * 1024


class Unpacked(BytesIO):
    """A body in the making that refuses to grow past a limit."""

    def __init__(self, limit: int = MAX_BODY_BYTES) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: Any) -> int:
        """Add bytes, or raise :class:`StatementError`."""
        if self.tell() + len(data) > self._limit:
            raise StatementError(307, "TOO_MANY_BYTES", f"The body is larger than {self._limit} bytes.")
        return super().write(data)


def decompress(data: bytes, encoding: str, limit: int = MAX_BODY_BYTES) -> bytes:
    """Undo a request's Content-Encoding; several frames may follow one another.

    Raises:
        StatementError: the encoding is unknown, the data is broken, or the result is too large.
    """
    if encoding in {"", "identity"}:
        return data
    if encoding not in {"gzip", "deflate", "zstd", "lz4"}:
        raise StatementError(89, "UNKNOWN_COMPRESSION_METHOD", f"Unknown Content-Encoding {encoding[:40]!r}")
    unpacked = Unpacked(limit)
    try:
        if encoding in {"gzip", "deflate"}:
            _inflate(data, unpacked)
        else:
            source: Any = (
                zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
                if encoding == "zstd"
                else lz4.frame.open(BytesIO(data))
            )
            while chunk := source.read(1 << 20):
                unpacked.write(chunk)
    except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError, OSError) as error:
        raise StatementError(354, "CANNOT_DECOMPRESS", f"The {encoding} body is broken: {error}") from None
    return unpacked.getvalue()


def _inflate(data: bytes, unpacked: Unpacked) -> None:
    while data:
        member = zlib.decompressobj(47)  # 47: gzip or zlib, whichever the header tells
        while not member.eof:
            chunk = member.decompress(data, 1 << 20)
            data = member.unconsumed_tail
            unpacked.write(chunk)
            if not (chunk or data or member.eof):
                raise EOFError("it ends too early")
        data = member.unused_data


#: A name for Content-Encoding, what packs a chunk, and what ends the stream.
Compressor = tuple[str, Callable[[bytes], bytes], Callable[[], bytes]]


def compressor(accepted: str) -> Compressor | None:
    """The first encoding of an Accept-Encoding that we know: its name, a function per chunk, one for the end."""
    for part in accepted.split(","):
        name = part.split(";")[0].strip()
        if name in _COMPRESSORS:
            return (name, *_COMPRESSORS[name]())
    return None


def _lz4() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    frame = lz4.frame.LZ4FrameCompressor()
    head = [frame.begin()]  # goes before the first chunk

    def pack(chunk: bytes) -> bytes:
        return (head.pop() if head else b"") + bytes(frame.compress(chunk))

    def flush() -> bytes:
        return (head.pop() if head else b"") + bytes(frame.flush())

    return pack, flush


def _zstd() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    stream = zstandard.ZstdCompressor(level=1).compressobj()
    return stream.compress, stream.flush


def _gzip() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    stream = zlib.compressobj(1, zlib.DEFLATED, 31)
    return stream.compress, stream.flush


_COMPRESSORS = {"lz4": _lz4, "zstd": _zstd, "gzip": _gzip}
