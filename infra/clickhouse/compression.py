"""Compression in both directions, each bounded: Content-Encoding (gzip, deflate, zstd and lz4), and ClickHouse's own blocks,
which the JDBC and Go clients ask for (``compress=1``, ``decompress=1``).
"""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import lz4.block
import lz4.frame
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

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


# A block of ClickHouse's: a checksum of the rest, how it is packed, bytes of it with these nine, bytes unpacked.
_BLOCK_HEAD = struct.Struct("<BII")
_CHECKSUM_BYTES = 16
_LZ4_BLOCK, _ZSTD_BLOCK, _PLAIN_BLOCK = 0x82, 0x90, 0x02
#: A real server cuts its output so; clients refuse blocks that are much larger.
_BLOCK_BYTES = 1024 * 1024


def _checksum(packed: bytes) -> bytes:
    high, low = divmod(CityHash128(packed), 1 << 64)
    return struct.pack("<QQ", high, low)


def in_blocks(data: bytes) -> bytes:
    """Data as ClickHouse's own compressed blocks (LZ4)."""
    blocks: list[bytes] = []
    for start in range(0, len(data), _BLOCK_BYTES):
        piece = data[start : start + _BLOCK_BYTES]
        packed = lz4.block.compress(piece, store_size=False)
        block = _BLOCK_HEAD.pack(_LZ4_BLOCK, len(packed) + _BLOCK_HEAD.size, len(piece)) + packed
        blocks += (_checksum(block), block)
    return b"".join(blocks)


def out_of_blocks(data: bytes, limit: int = MAX_BODY_BYTES) -> bytes:
    """Undo :func:`in_blocks`, as other clients pack too.

    Raises:
        StatementError: a block is broken or of a kind that is not known, or the result is too large.
    """
    unpacked = Unpacked(limit)
    place = 0
    while place < len(data):
        start = place + _CHECKSUM_BYTES
        try:
            kind, packed_size, size = _BLOCK_HEAD.unpack_from(data, start)
            place = start + packed_size
            block = data[start:place]
            if packed_size < _BLOCK_HEAD.size or len(block) < packed_size or size > limit:
                raise ValueError("it ends too early")
            if _checksum(block) != data[start - _CHECKSUM_BYTES : start]:
                raise ValueError("its checksum does not match")
            unpacked.write(_unpack(kind, block[_BLOCK_HEAD.size :], size))
        except (ValueError, struct.error, lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
            if isinstance(error, StatementError):
                raise
            raise StatementError(271, "CANNOT_DECOMPRESS", f"A compressed block is broken: {error}") from None
    return unpacked.getvalue()


def _unpack(kind: int, packed: bytes, size: int) -> bytes:
    if kind == _LZ4_BLOCK:
        return bytes(lz4.block.decompress(packed, uncompressed_size=size))
    if kind == _ZSTD_BLOCK:
        return bytes(zstandard.ZstdDecompressor().decompress(packed, max_output_size=size))
    if kind == _PLAIN_BLOCK:
        return packed
    raise ValueError(f"method {kind:#x} is not known")


#: A name for Content-Encoding (empty: none), what packs a chunk, and what ends the stream.
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
