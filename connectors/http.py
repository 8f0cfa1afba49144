"""HTTP to another system: limits on everything, retries with back-off, secrets from the environment or a file."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import Field, field_validator

from aisleflow import log
from connectors.mapping import Strict
from connectors.pulling import ConnectError, Unavailable, pauses

logger = log.get(__name__)

MOST_BYTES = 64 * 1024 * 1024
LONGEST_WAIT_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
#: Statuses that say "not now"; every other 4xx says "not so".
NOT_NOW = {408, 425, 429}
_SECRET = re.compile(r"\$\{(env|file):([^}]+)\}")


class Api(Strict):
    """Where the other system answers, and how it is spoken to."""

    base_url: str = Field(description="Such as https://erp.example.com; paths of resources are put after it.")
    headers: dict[str, str] = Field({}, description="Sent with each request; ${env:NAME} and ${file:PATH} are secrets.")
    timeout_s: float = Field(30, gt=0, le=600, description="For connecting, and between two pieces of an answer.")
    attempts: int = Field(
        6, ge=1, le=20, description="Attempts at a request before the pull is put off, or a push given up."
    )
    ca_file: Path | None = Field(
        None, description="Certificates (PEM) that the system's is signed with; none: the usual."
    )

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("must look like https://HOST/PATH, without a user: credentials are headers")
        return url.rstrip("/")


class Refused(Exception):
    """The other system will not have this request, now or later; the message says why."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class NotNow(Exception):
    """The other system does not take it now. ``after_s``: when it said that it might."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


def with_secrets(text: str) -> str:
    """A text with ``${env:NAME}`` and ``${file:PATH}`` filled in.

    Raises:
        ConnectError: there is no such variable or file.
    """

    def secret(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            if (value := os.environ.get(name)) is None:
                raise ConnectError(f"the environment has no variable {name}, which the configuration asks for")
            return value
        try:
            return Path(name).read_text().strip()
        except OSError as error:
            raise ConnectError(
                f"{name} cannot be read ({error.strerror}): the configuration takes a secret from it"
            ) from None

    return _SECRET.sub(secret, text)


class Http:
    """A client of one API. Answers are JSON; redirects are not followed, since they would carry the credentials elsewhere."""

    def __init__(self, api: Api, sleep: Callable[[float], None] = time.sleep) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole addresses, which may hold secrets
        self._api = api
        self._sleep = sleep
        headers = {name: with_secrets(value) for name, value in api.headers.items()}
        self._client = httpx.Client(
            headers={"Accept": "application/json", "User-Agent": "aisleflow", **headers},
            timeout=api.timeout_s,
            follow_redirects=False,
            trust_env=False,
            verify=str(api.ca_file) if api.ca_file else True,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def url(self, path: str) -> str:
        """The address of a path, or of a whole URL of this very API.

        Raises:
            ConnectError: the URL leads to another server.
        """
        if not path.startswith(("http://", "https://")):
            return f"{self._api.base_url}/{path.lstrip('/')}"
        if urlsplit(path)[:2] != urlsplit(self._api.base_url)[:2]:
            raise ConnectError(
                f"{urlsplit(path).hostname} is another server than {self._api.base_url}: its pages are not followed"
            )
        return path

    def json(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> tuple[Any, httpx.Headers]:
        """Ask again and again for what can be asked for twice.

        Raises:
            Unavailable: after all attempts it did not answer.
            ConnectError: it refuses the request.
        """
        waits = pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        for attempt in count(1):
            try:
                return self.once(method, path, params, body)
            except Refused as error:
                raise ConnectError(f"{method} {self.url(path)}: {error}") from None
            except NotNow as error:
                wait = min(next(waits) if error.after_s is None else error.after_s, LONGEST_WAIT_S)
                if attempt == self._api.attempts:
                    raise Unavailable(f"{method} {self.url(path)}: {error}") from None
                logger.info(
                    "system_did_not_answer", system=self._api.base_url, reason=str(error), retry_in_s=round(wait, 1)
                )
                self._sleep(wait)
        raise AssertionError

    def once(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> tuple[Any, httpx.Headers]:
        """One request: the answer's JSON and its headers.

        Raises:
            NotNow, Refused: see there.
        """
        url = self.url(path)
        given = dict(query(params or {}))
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            with self._client.stream(method, url, params=given or None, content=content, headers=headers) as answer:
                data = bytearray()
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > MOST_BYTES:
                        raise Refused(f"answers with more than {MOST_BYTES:,} bytes; ask for smaller pages")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotNow(str(error) or type(error).__name__) from None
        status = answer.status_code
        if status in NOT_NOW or status >= 500:
            raise NotNow(f"answers {status} {brief(data)}".strip(), retry_after(answer.headers))
        if status >= 300:
            where = (
                f" to {answer.headers['location'][:200]}, which is not followed"
                if status < 400 and "location" in answer.headers
                else ""
            )
            raise Refused(f"answers {status}{where} {brief(data)}".strip(), status)
        try:
            return json.loads(data or b"null"), answer.headers
        except ValueError:
            raise NotNow(f"answers with what is no JSON: {brief(data)}") from None


def query(params: Mapping[str, Any]) -> dict[str, str]:
    """Query parameters: lists and objects as JSON, as Frappe has them; what is not there is left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in params.items()
        if value is not None
    }


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as an answer says (RFC 9110: seconds or a date); None if it does not."""
    text = headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def brief(data: bytes | bytearray) -> str:
    """The beginning of an answer, for a message: printable, one line."""
    text = bytes(data[:300]).decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)
