"""A local server that speaks OpenAI's chat completions: each question gets what the test wants to be said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Say = Callable[[dict[str, Any]], Any]
"""From a request's body to the message; bytes are the whole answer, a number its status, a float the seconds to wait."""


class Endpoint:
    """What was asked, and where it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.said: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []


@contextmanager
def running() -> Iterator[Endpoint]:
    """The server, on a port of its own."""
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.asked.append(body)
            endpoint.keys.append(self.headers.get("Authorization", ""))
            say = endpoint.said.pop(0) if endpoint.said else '{"query": null}'
            if self.path != "/v1/chat/completions":
                say = 404
            if isinstance(say, float):
                time.sleep(say)
                say = '{"query": null}'
            status, answer = (say, b"no") if isinstance(say, int) else (200, say)
            if isinstance(answer, str):
                answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                pass  # the client gave up waiting, as it should

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
