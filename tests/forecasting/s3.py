"""Storage that speaks S3, on loopback: moto's server, and faults on its way in."""

from __future__ import annotations

import io
import logging
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Fault = Callable[["WSGIApplication", "WSGIEnvironment", "StartResponse"], Iterable[bytes]]


class Storage:
    """A running server. ``faults`` meet the uploads that come next, one each; None lets one pass."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self.url = ""
        self.faults: list[Fault | None] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """As a WSGI application."""
        fault = self.faults.pop(0) if self.faults and environ["REQUEST_METHOD"] == "PUT" else None
        return fault(self._app, environ, start_response) if fault else self._app(environ, start_response)

    def environment(self) -> dict[str, str]:
        """AWS's own variables, by which its clients come here and to no other place."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def torn(app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Half of the upload is kept, and the uploader is told that all is well."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    half = body[: len(body) // 2]
    # Without the headers by which a server would notice.
    told = {name: value for name, value in environ.items() if "CHECKSUM" not in name and "MD5" not in name}
    told |= {
        "wsgi.input": io.BytesIO(half),
        "CONTENT_LENGTH": str(len(half)),
        "HTTP_X_AMZ_CONTENT_SHA256": "UNSIGNED-PAYLOAD",
    }
    return app(told, start_response)


def answer_lost(app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The upload is kept, and the uploader hears that it failed."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    b"".join(app({**environ, "wsgi.input": io.BytesIO(body)}, lambda *_: io.BytesIO().write))
    environ["wsgi.input"] = io.BytesIO(body)
    return forbidden(app, environ, start_response, "500 Internal Server Error")


def forbidden(
    app: WSGIApplication,
    environ: WSGIEnvironment,
    start_response: StartResponse,
    status: str = "403 Forbidden",
) -> Iterable[bytes]:
    """The upload is not taken."""
    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response(status, [("Content-Type", "application/xml")])
    return [
        b"<Error><Code>InternalError</Code></Error>"
        if status[0] == "5"
        else b"<Error><Code>AccessDenied</Code></Error>"
    ]


@contextmanager
def serving() -> Iterator[Storage]:
    """A server with the empty bucket ``shop``. It takes one request after the other: of two that create a file, one is first."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    storage = Storage(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, storage, threaded=False)
    storage.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    urllib.request.urlopen(urllib.request.Request(f"{storage.url}/shop", method="PUT"), timeout=10).close()
    try:
        yield storage
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
