"""What stands between the parts and their servers, and fails on command: a TCP proxy for Kafka, an HTTP proxy for
ClickHouse. Both run in a thread of their own and may be told what to do from any other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from random import Random
from typing import Any, Literal

TcpTrouble = Literal["", "cuts", "torn", "hole", "refused"]
"""Nothing; all connections cut every now and then; cut in the middle of what they carry; open and silent; refused."""

HttpTrouble = Literal["", "error", "hang", "half", "unanswered", "half answer", "late", "twice"]
"""Nothing; an error instead of an answer; no answer until it is over; cut off when half of the request has gone on; cut off
when all is done and nothing is answered; half of the answer; an error, and seconds later it is done all the same; done twice.
"""

CLICKHOUSE_ERRORS = (
    (500, "Code: 252. DB::Exception: Too many parts (3000). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)"),
    (500, "Code: 241. DB::Exception: Memory limit (total) exceeded: would use 7.20 GiB. (MEMORY_LIMIT_EXCEEDED)"),
    (500, "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)"),
    (408, "Code: 159. DB::Exception: Timeout exceeded: elapsed 30 seconds. (TIMEOUT_EXCEEDED)"),
    (500, "Code: 202. DB::Exception: Too many simultaneous queries. Maximum: 100. (TOO_MANY_SIMULTANEOUS_QUERIES)"),
    (503, "<html><body>No server is available to handle this request.</body></html>"),
    (502, ""),
)  # fmt: skip


class Proxy(threading.Thread):
    """Listens on a free loopback ``port`` and leads what comes to ``target``, a port of the same machine."""

    def __init__(self, target: int, rng: Random) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self._target = target
        self._rng = rng
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.start()

    def run(self) -> None:
        """Serve until ``stop``."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def stop(self) -> None:
        """End everything."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(10)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._lead(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class TcpProxy(Proxy):
    """Passes bytes on. Trouble concerns every connection."""

    CUT_EVERY_S = 0.4
    TORN_SHARE = 0.02

    def __init__(self, target: int, rng: Random) -> None:
        self._trouble: TcpTrouble = ""
        self._connections: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        super().__init__(target, rng)

    def make(self, trouble: TcpTrouble) -> None:
        """From now on this goes wrong; the empty word ends it."""
        self._loop.call_soon_threadsafe(self._make, trouble)

    def _make(self, trouble: TcpTrouble) -> None:
        self._trouble = trouble
        if trouble == "hole":
            self._flowing.clear()
        else:
            self._flowing.set()
        if trouble in ("cuts", "refused"):
            self._cut()

    def _cut(self) -> None:
        for writer in self._connections:
            writer.transport.abort()
        if self._trouble == "cuts":
            self._loop.call_later(self._rng.uniform(0.5, 1.5) * self.CUT_EVERY_S, self._cut)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._trouble == "refused":
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, inner_writer}
        self._connections |= both
        ways = [
            asyncio.create_task(self._pass_on(reader, inner_writer)),
            asyncio.create_task(self._pass_on(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._connections -= both
            inner_writer.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                if self._trouble == "torn" and self._rng.random() < self.TORN_SHARE:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()


class HttpProxy(Proxy):
    """Passes requests on, one a connection. Trouble concerns a share of them: of inserts, or of everything."""

    LATE_BY_S = 3.0

    def __init__(self, target: int, rng: Random) -> None:
        self._trouble: HttpTrouble = ""
        self._share = 0.0
        self._inserts_only = True
        self._over = asyncio.Event()
        self.hit = 0
        """Requests that something was done to."""
        super().__init__(target, rng)

    def make(self, trouble: HttpTrouble, share: float = 1.0, *, inserts_only: bool = False) -> None:
        """From now on this goes wrong with such a share of the requests; the empty word ends it."""
        self._loop.call_soon_threadsafe(self._make, trouble, share, inserts_only)

    def _make(self, trouble: HttpTrouble, share: float, inserts_only: bool) -> None:
        self._trouble, self._share, self._inserts_only = trouble, share, inserts_only
        self._over.set()
        self._over = asyncio.Event()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + await _body(head, reader)
        over = self._over
        trouble = self._trouble
        is_insert = b"INSERT" in request[:4096]
        if not trouble or (self._inserts_only and not is_insert) or self._rng.random() >= self._share:
            writer.write(await self._ask(request))
            await writer.drain()
            return
        self.hit += 1
        if trouble == "error":
            self._refuse(writer)
        elif trouble == "hang":
            await over.wait()
        elif trouble == "half":
            # The server waits for the rest until the connection is cut.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ask(request[: (len(head) + len(request)) // 2]), 0.5)
        elif trouble == "unanswered":
            await self._ask(request)
        elif trouble == "half answer":
            answer = await self._ask(request)
            writer.write(answer[: (answer.index(b"\r\n\r\n") + 4 + len(answer)) // 2])
        elif trouble == "late":
            self._refuse(writer)
            self._soon(self._ask_late(request))
        elif trouble == "twice":
            await self._ask(request)
            writer.write(await self._ask(request))
        await writer.drain()

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        finally:
            writer.transport.abort()

    async def _ask_late(self, request: bytes) -> None:
        await asyncio.sleep(self.LATE_BY_S)
        with suppress(OSError):
            await self._ask(request)

    def _refuse(self, writer: asyncio.StreamWriter) -> None:
        status, text = self._rng.choice(CLICKHOUSE_ERRORS)
        body = text.encode()
        writer.write(
            b"HTTP/1.1 %d Error\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)
        )


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """The rest of a request, as it is on the wire."""
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        parts = []
        while True:
            line = await reader.readuntil(b"\r\n")
            parts += [line, await reader.readexactly(int(line, 16) + 2)]
            if int(line, 16) == 0:
                return b"".join(parts)
    return await reader.readexactly(int(fields.get(b"content-length", b"0")))
