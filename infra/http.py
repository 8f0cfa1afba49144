"""HTTP connections of uvicorn that end when a client is slow, idle or greedy, so that it cannot keep others out.

uvicorn waits for ever for the head of a request and for its body, takes a head of any size, and holds any number of
connections. ``uvicorn.run(..., http=BoundedConnection)`` puts a limit on each:

- a request must be complete within ``WITHIN_S`` seconds and one more for every ``SLOWEST_BYTES_PER_S`` bytes of it
  (else 408), counted from its first byte, or from the opening of a connection on which nothing is asked;
- its head is at most ``max_head_bytes`` (else 431);
- an answer must be read: nothing of it taken for ``READ_WITHIN_S`` ends the connection;
- above ``MAX_CONNECTIONS`` the one whose client has been waited for the longest is closed. Connections that are being
  answered are left alone.

Not here: limits on a body's size, which depend on what it is for.
"""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

WITHIN_S = 20.0
SLOWEST_BYTES_PER_S = 10_000
READ_WITHIN_S = 60.0
#: Below the 1,024 files that a process may usually have open.
MAX_CONNECTIONS = 500

log = logging.getLogger("http")


class BoundedConnection(HttpToolsProtocol):
    """One connection. Class attributes are its limits; subclass to change them."""

    within_s = WITHIN_S
    grace_s = 1.0
    read_within_s = READ_WITHIN_S
    max_connections = MAX_CONNECTIONS
    max_head_bytes = 64 * 1024

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting_since: float | None = None
        """Since when the client owes us something; None while it is being answered."""
        self._received = 0
        self._head: int | None = 0
        """Bytes of the head so far; None once it is complete."""
        self._overdue = False
        self._clock: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # --- what the client owes --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room, and start to wait for a request."""
        super().connection_made(transport)
        self._wait_for_client()
        if len(self.connections) > self.max_connections:
            waiting = [c for c in self.connections if isinstance(c, BoundedConnection) and c._waiting_since is not None]
            if waiting:
                min(waiting, key=lambda connection: connection._waiting_since or 0.0)._turn_out(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, as long as the head does not grow beyond its limit."""
        if self.cycle is None or not self.cycle.response_complete:  # what is refused already earns no more time
            self._received += len(data)
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > self.max_head_bytes and not self.transport.is_closing():
            self._turn_out(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head = 0 if self._head is None else self._head
        if self._waiting_since is None or (self.cycle is not None and self.cycle.response_complete):
            self._wait_for_client()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there: now it is we who owe an answer, unless we have given it already."""
        if self.cycle is not None and self.cycle.response_complete:
            self._wait_for_client()
        else:
            self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The client's turn again; uvicorn bounds the time until the next request."""
        super().on_response_complete()
        if self._waiting_since is None and not self.pipeline:
            self._waiting_since = self.loop.time()

    def handle_websocket_upgrade(self) -> None:
        """A websocket has pings of its own."""
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def _wait_for_client(self) -> None:
        self._stop_waiting()
        self._waiting_since = self.loop.time()
        self._received = 0
        self._overdue = False
        self._clock = self.loop.call_later(self.within_s, self._look)

    def _stop_waiting(self) -> None:
        self._waiting_since = None
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _look(self) -> None:
        assert self._waiting_since is not None
        until = self._waiting_since + self.within_s + self._received / SLOWEST_BYTES_PER_S
        left = until - self.loop.time()
        if self.flow.read_paused:  # it is us who do not read
            left = self.grace_s
        elif left <= 0 and not self._overdue:
            # This process may have stood still: what has come meanwhile is read first.
            self._overdue, left = True, self.grace_s
        if left > 0:
            self._clock = self.loop.call_later(left, self._look)
        else:
            self._turn_out(HTTPStatus.REQUEST_TIMEOUT)

    # --- what we owe -----------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(self.read_within_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _turn_out(self, status: HTTPStatus | None) -> None:
        """Close the connection, with an answer if none has begun."""
        self._stop_waiting()
        log.info("client turned out: %s", status.phrase if status else "too many connections")
        begun = self._head is not None and self._received > 0
        if status is not None and (begun or (self._head is None and not self.cycle.response_started)):
            problem = {"type": "about:blank", "title": status.phrase, "status": status.value}
            body = json.dumps(problem | {"detail": "The request was too slow or its head too large."}).encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()
