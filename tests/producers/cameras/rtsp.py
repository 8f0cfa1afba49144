"""A small RTSP camera (RFC 2326): one client at a time, an MPEG transport stream (RFC 2250) interleaved on its connection.

Real cameras send H.264 in its own packets; what is tested here is the way in: RTSP over TCP, passwords in its address, a camera
that hangs up. FFmpeg, in OpenCV, is the client.
"""

from __future__ import annotations

import base64
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

PACKET = 7 * 188


class RtspCamera:
    """Plays a ``.ts`` file at ``rtsp://user:secret@127.0.0.1:port/live``; whoever has no password is turned away."""

    def __init__(self, stream: Path, seconds: float) -> None:
        self._content, self._seconds = stream.read_bytes(), seconds
        self._server: socket.socket | None = None
        self._client: socket.socket | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"rtsp://user:secret@127.0.0.1:{self.port}/live"
        self.turned_away = 0

    def start(self) -> None:
        server = socket.create_server(("127.0.0.1", self.port))
        self._server = server
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def stop(self) -> None:
        for one in (self._server, self._client):
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._server = self._client = None

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                self._client, _ = server.accept()
                self._talk(self._client)
            except OSError:
                if self._server is not server:
                    return

    def _talk(self, client: socket.socket) -> None:
        lines = client.makefile("rb")
        while request := lines.readline().decode().split():
            headers = {}
            while (line := lines.readline().decode().strip()) != "":
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            method = request[0]
            answer = [f"CSeq: {headers.get('cseq', '0')}", "Session: 1"]
            body, status = "", "200 OK"
            if (
                method != "OPTIONS"
                and headers.get("authorization") != "Basic " + base64.b64encode(b"user:secret").decode()
            ):
                self.turned_away += 1
                status, answer = "401 Unauthorized", [*answer, 'WWW-Authenticate: Basic realm="camera"']
            elif method == "OPTIONS":
                answer.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
            elif method == "DESCRIBE":
                body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"
                answer += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            elif method == "SETUP":
                answer.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            client.sendall("\r\n".join([f"RTSP/1.0 {status}", *answer, "", body]).encode())
            if method == "PLAY":
                self._play(client)
                client.close()
                return

    def _play(self, client: socket.socket) -> None:
        """The file once, at its own pace."""
        began = time.monotonic()
        for number, start in enumerate(range(0, len(self._content), PACKET)):
            time.sleep(max(0.0, began + self._seconds * start / len(self._content) - time.monotonic()))
            header = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, int(90_000 * (time.monotonic() - began)), 1)
            packet = header + self._content[start : start + PACKET]
            client.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
