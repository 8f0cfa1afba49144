"""Webhooks without Kafka: signatures, the guard of addresses over real HTTP, the file of registrations, the commands."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from aisleflow.cli import app
from aisleflow.settings import Settings
from aisleflow.supervisor import Supervisor
from connectors import guard, webhooks
from connectors.http import NotNow, Refused
from connectors.outbox import Outgoing
from connectors.pulling import ConnectError
from connectors.webhooks import Webhook, WebhookTarget
from tests.conftest import answers, free_port
from tests.connectors.stubs import Answer, Request, serving

DOCUMENT = Path(__file__).parents[2] / "docs/connectors.md"


def test_a_signature_of_the_standards_own_example() -> None:
    found = webhooks.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_are_long_and_new_each_time() -> None:
    first, second = webhooks.new_secret(), webhooks.new_secret()
    assert first != second
    assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32


# --- where nothing may be sent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("192.168.0.9", False, True),
        ("172.16.5.5", False, True),
        ("::1", False, True),
        ("fd00::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("64:ff9b::a01:203", False, True),  # NAT64 of 10.1.2.3
        ("2002:a01:203::1", False, True),  # 6to4 of 10.1.2.3
        ("100.64.0.1", False, False),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
    ],
)
def test_addresses(address: str, public: bool, private: bool) -> None:
    judged = ipaddress.ip_address(address)
    assert (guard.is_allowed(judged, False), guard.is_allowed(judged, True)) == (public, private)


def test_a_name_that_leads_inside_is_refused_before_anything_is_sent() -> None:
    asked: list[Request] = []
    with serving(lambda request: asked.append(request) or (200, {}, {})) as url:
        for host in ("127.0.0.1", "localhost", "127.1", "0x7f000001", "[::ffff:127.0.0.1]"):
            with pytest.raises(Refused, match="not a public address"):
                guard.post(url.replace("127.0.0.1", host), b"{}", {}, timeout_s=2, private=False)
    assert asked == []


def test_of_a_name_with_several_addresses_each_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", (address, 443)) for address in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(guard.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Refused, match=r"leads to 10\.0\.0\.1"):
        guard.post("http://two.example/", b"{}", {}, timeout_s=2, private=False)


def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def answer(request: Request) -> Answer:
        asked.append(request.path)
        return 307, {}, {"Location": "/elsewhere"}

    with serving(answer) as url, pytest.raises(NotNow, match="answers 307"):
        guard.post(f"{url}/here", b"{}", {}, timeout_s=2, private=True)
    assert asked == ["/here"]


@contextmanager
def dripping(piece: bytes) -> Iterator[int]:
    """A server that answers a byte now and then, without end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while True:
                    try:
                        connection.sendall(piece)
                    except OSError:
                        return
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        yield server.getsockname()[1]


def test_a_receiver_that_drips_is_cut_off() -> None:
    with dripping(b"H") as port:
        began = time.monotonic()
        with pytest.raises(NotNow):
            guard.post(f"http://127.0.0.1:{port}/", b"{}", {}, timeout_s=0.5, private=True)
        assert time.monotonic() - began < 5


def test_an_answer_is_read_no_further_than_needed() -> None:
    with serving(lambda _: (200, b"x" * 5_000_000, {})) as url:
        assert guard.post(url, b"{}", {}, timeout_s=5, private=True) == 200


@pytest.mark.parametrize(
    ("url", "private", "message"),
    [
        ("http://ops.example.com/x", False, "must be https"),
        ("ftp://ops.example.com/x", True, "must look like"),
        ("https:///x", False, "must look like"),
        ("https://user:word@ops.example.com/", False, "must look like"),
        ("https://ops.example.com:0/", False, "must look like"),
        ("https://ops.example.com:port/", False, "must look like"),
    ],
)
def test_addresses_that_cannot_be_registered(url: str, private: bool, message: str) -> None:
    with pytest.raises(ConnectError, match=message):
        webhooks.check_url(url, private)


# --- what is sent -------------------------------------------------------------------------------------------------------


def webhook(url: str, **changes: Any) -> Webhook:
    given = {"id": "wh-00000001", "url": url, "secret": webhooks.new_secret(), "created_ms": 0}
    return Webhook.model_validate(given | changes)


def verified(webhook: Webhook, request: Request) -> bool:
    key = base64.b64decode(webhook.secret.get_secret_value().removeprefix("whsec_"))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return hmac.compare_digest(expected, request.headers["webhook-signature"])


def test_an_alert_as_it_is_sent() -> None:
    asked: list[Request] = []
    with serving(lambda request: asked.append(request) or (204, b"", {})) as url:
        registered = webhook(f"{url}/hook?token=t")
        record = Outgoing(
            "id-1", "alerts", "ST1", b'{"store_id":"ST1","state":"OPENED","timestamp":"2026-03-03T14:00:00Z"}', 5
        )
        WebhookTarget(registered, private=True).deliver(record)
    assert verified(registered, asked[0])
    assert asked[0].headers["webhook-id"] == "msg_id-1"
    assert abs(int(asked[0].headers["webhook-timestamp"]) - time.time()) < 60
    assert asked[0].params == {"token": "t"}
    assert asked[0].json == {
        "type": "alert.opened",
        "timestamp": "2026-03-03T14:00:00Z",
        "data": {"store_id": "ST1", "state": "OPENED", "timestamp": "2026-03-03T14:00:00Z"},
    }


def test_stores_choose() -> None:
    target = WebhookTarget(webhook("https://x.example", stores=["ST1"]), private=False)
    assert [target.takes(Outgoing("i", "alerts", store, b"{}", 0)) for store in ("ST1", "ST2")] == [True, False]


# --- registrations ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AISLEFLOW_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AISLEFLOW_WEBHOOKS_PRIVATE", "true")
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["webhooks", *arguments])
    return result.exit_code, result.output


def test_the_commands(folder: Path) -> None:
    asked: list[Request] = []
    with serving(lambda request: asked.append(request) or (200, {}, {})) as url:
        code, output = run("add", f"{url}/path/with/token", "--store", "ST1", "--topic", "alerts", "--topic", "orders")
        assert code == 0
        name, secret = output.split()[0], re.findall(r"whsec_\S+", output)[0]
        file = folder / "webhooks.yaml"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        code, shown = run("list")
        assert (code, name in shown, "alerts, orders of ST1" in shown) == (0, True, True)
        assert secret not in shown
        assert "token" not in shown
        code, output = run("test", name)
        assert (code, "taken: 200" in output) == (0, True)
        assert verified(webhook(url, secret=secret), asked[0])
        assert asked[0].json["type"] == "test"
    code, output = run("test", name)
    assert (code, "the test was not taken" in output) == (1, True)
    assert run("remove", name)[0] == 0
    assert run("remove", name)[0] == 1
    assert run("list")[1] == "no webhook is registered\n"


def test_what_cannot_be_registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("add", "https://x.example/", "--topic", "visits")[0] == 3
    monkeypatch.setenv("AISLEFLOW_WEBHOOKS_PRIVATE", "false")
    assert run("add", "http://x.example/")[0] == 3
    assert not (folder / "webhooks.yaml").exists() or run("list")[1] == "no webhook is registered\n"


def test_a_file_that_everybody_may_read_is_not_used(folder: Path) -> None:
    file = folder / "webhooks.yaml"
    file.write_text("webhooks: []\n")
    file.chmod(0o644)
    code, output = run("list")
    assert (code, "holds secrets" in output) == (3, True)
    file.write_text("just text")
    file.chmod(0o600)
    assert run("list")[0] == 3


def test_up_runs_webhooks_only_when_there_are_any(folder: Path) -> None:
    settings = Settings(_env_file=None, data_dir=folder, webhooks_private=True)
    assert "webhooks" not in [part.name for part in Supervisor(settings).programs()]
    webhooks.add(settings, "http://127.0.0.1:1/", ["alerts"], [], 3)
    assert "webhooks" in [part.name for part in Supervisor(settings).programs()]


def test_neither_secret_nor_address_shows_by_accident() -> None:
    registered = webhook("https://ops.example.com/services/T0KEN", secret="whsec_c2VjcmV0")
    assert "T0KEN" not in f"{registered!r}{registered}{registered.host}"
    assert "c2VjcmV0" not in f"{registered!r}{registered}"
    assert isinstance(registered.secret, SecretStr)


def test_the_documents_receiver_verifies(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(# receiver\.py.*?)```", DOCUMENT.read_text(), re.DOTALL)[0]
    (tmp_path / "receiver.py").write_text(code)
    port = free_port()
    registered = webhook(f"http://127.0.0.1:{port}/")
    with subprocess.Popen(
        [sys.executable, tmp_path / "receiver.py", str(port)],
        stdout=subprocess.PIPE,
        env={"WEBHOOK_SECRET": registered.secret.get_secret_value(), "PYTHONUNBUFFERED": "1"},
    ) as receiver:
        try:
            deadline = time.monotonic() + 20
            while not _listens(port) and time.monotonic() < deadline:
                time.sleep(0.05)
            record = Outgoing("id-1", "alerts", "ST1", b'{"store_id":"ST1","state":"CLOSED"}', 5)
            target = WebhookTarget(registered, private=True)
            target.deliver(record)
            target.deliver(record)
            stranger = WebhookTarget(webhook(f"http://127.0.0.1:{port}/"), private=True)
            with pytest.raises(NotNow, match="answers 401"):
                stranger.deliver(record)
        finally:
            receiver.terminate()
        assert receiver.stdout is not None
        assert receiver.stdout.read() == b"alert.closed ST1\n", "once, though it came twice"


def _listens(port: int) -> bool:
    try:
        answers(port)
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
