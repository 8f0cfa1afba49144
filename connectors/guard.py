"""POST to an address that somebody registered, and to nothing inside our own network (server-side request forgery).

Names are resolved here, every address is judged, and the connection goes to the very address that was judged: a name that answers
otherwise a moment later leads nowhere else. Redirects are not followed and proxies of the environment not used.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import httpcore

from connectors.http import NotNow, Refused, brief, retry_after

MOST_ANSWER_BYTES = 4096
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddress(httpcore.ConnectError):
    """The name leads to an address that nothing may be sent to."""


def is_allowed(address: Address, private: bool) -> bool:
    """Whether something may be sent there. Link-local addresses, where clouds keep their credentials, never."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_allowed(inner, private)
    if address.is_loopback:  # ::1 counts as reserved, too
        return private
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        return False
    return address.is_global or (private and address.is_private)


class _Stream(httpcore.NetworkStream):
    """A connection with a deadline for all of it: a server that sends a byte now and then holds nobody up."""

    def __init__(self, stream: httpcore.NetworkStream, backend: _Backend) -> None:
        self._stream, self._backend = stream, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._backend.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._backend.left()), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, private: bool, deadline: float) -> None:
        self._private, self._deadline = private, deadline
        self._plain = httpcore.SyncBackend()

    def left(self) -> float:
        """Seconds until the deadline.

        Raises:
            httpcore.ReadTimeout: it has passed.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("no answer in time")
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not known: {error}") from None
        addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]
        for address in addresses:
            if not is_allowed(address, self._private):
                raise ForbiddenAddress(f"{host} leads to {address}, which is not a public address")
        for number, address in enumerate(addresses, 1):
            try:
                return _Stream(
                    self._plain.connect_tcp(str(address), port, self.left(), local_address, socket_options), self
                )
            except httpcore.ConnectError:
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError(f"{host} has no address")


@lru_cache
def _tls() -> ssl.SSLContext:
    """Reading the system's certificates takes longer than a message does."""
    return ssl.create_default_context()


def post(url: str, body: bytes, headers: dict[str, str], *, timeout_s: float, private: bool) -> int:
    """POST once, and return the status, which is a 2xx.

    Args:
        timeout_s: for all of it, from the connection to the answer.
        private: whether addresses that are not public may be sent to.

    Raises:
        NotNow: no connection, no answer in time, or another status; 410 Gone too, since it ends with the last attempt.
        Refused: the address may not be sent to.
    """
    backend = _Backend(private, time.monotonic() + timeout_s)
    try:
        with (
            httpcore.ConnectionPool(network_backend=backend, ssl_context=_tls()) as pool,
            pool.stream(
                "POST",
                url,
                headers=[
                    *headers.items(),
                    ("User-Agent", "aisleflow"),
                    ("Content-Length", str(len(body))),
                    ("Connection", "close"),
                ],
                content=body,
                extensions={
                    "timeout": {"connect": timeout_s, "read": timeout_s, "write": timeout_s, "pool": timeout_s}
                },
            ) as answer,
        ):
            data = bytearray()
            for piece in answer.iter_stream():
                data += piece
                if len(data) > MOST_ANSWER_BYTES:
                    break
            status = answer.status
            told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    except ForbiddenAddress as error:
        raise Refused(str(error)) from None
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
        raise NotNow(str(error) or type(error).__name__) from None
    if 200 <= status < 300:
        return status
    raise NotNow(f"answers {status} {brief(data)}".strip(), retry_after(told))
