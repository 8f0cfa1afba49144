"""REST APIs: resources pulled page by page since a time or number, and our records pushed as requests.

Paging by offset loses records when others change meanwhile: what is changed moves to the end, and all after it move up by
one. So where a resource has a ``since`` field, each full page moves ``since`` forward and begins anew at offset 0. Offsets are
used only among records of one moment, and such records are read until a whole reading shows nothing new.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from zoneinfo import ZoneInfo

import orjson
from pydantic import Field, model_validator

from aisleflow import log
from aisleflow.settings import Settings
from connectors.http import Http, NotNow, Refused
from connectors.mapping import Lookup, Map, Path, Strict, Value, elements
from connectors.outbox import Outgoing
from connectors.pulling import Batch, ConnectError, Cursor, Pulled, Unavailable, latest_ms
from schemas.reading import Refusal
from schemas.topics import TOPICS

logger = log.get(__name__)

MOST_PAGES = 1_000_000
#: Answers that say more of the connector's configuration or rights than of the record.
WRONG_SET_UP = (401, 403, 404, 405)
#: More ids than this are not kept between runs; their records are then published again, which changes nothing.
MOST_SEEN_KEPT = 20_000
_EXPRESSION = re.compile(r"\$\{([^}]+)\}")


class Since(Strict):
    """The field by which a resource can be asked for what is new, and that its records are ordered by."""

    path: str
    first: str | int = Field(description="What to begin with, as the system writes it.")
    kind: Literal["time", "number"] = "time"
    write: str = Field("%Y-%m-%d %H:%M:%S.%f", description="How a time is written in a request, as strftime has it.")
    overlap: float = Field(
        60, ge=0, description="Seconds (or numbers) that each pull goes back: records may become visible late."
    )


class Page(Strict):
    """How a resource gives its records in pieces."""

    style: Literal["none", "offset", "page", "cursor", "link"] = "offset"
    size: int = Field(100, ge=1, le=10_000, description="Records a page, ${limit}; fewer mean that it was the last.")
    first: int = Field(1, description="The number of the first page, of style page.")
    next: str | None = Field(None, description="Path to the next cursor in the answer, of style cursor.")

    @model_validator(mode="after")
    def _cursor_is_found(self) -> Page:
        if (self.style == "cursor") != (self.next is not None):
            raise ValueError("style cursor and next go together")
        return self


class Resource(Strict):
    """Records to pull."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    method: Literal["GET", "POST"] = "GET"
    path: str
    params: dict[str, Any] = Field({})
    body: Any = None
    records: str = Field("@", description="Path to the records in the answer.")
    error: str | None = Field(None, description="Path to an error in an answer that says 200, as JSON-RPC has it.")
    id: str = Field(description="Path to what tells one record from another.")
    since: Since | None = None
    page: Page = Page()
    map: Map


class Find(Strict):
    """How to see whether a record is there already: what was sent before a crash is not made twice."""

    method: Literal["GET", "POST"] = "GET"
    path: str
    params: dict[str, Any] = Field({})
    body: Any = None
    found: str = Field(description="Path that has something if it is there.")


class Push(Strict):
    """Our records to send."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    topic: str
    when: str | None = Field(None, description="Records of which this is not true are not sent.")
    each: str | None = Field(None, description="A request for each element of this path; the record is its `parent`.")
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    path: str
    params: dict[str, Any] = Field({})
    body: Any
    error: str | None = None
    find: Find | None = None
    attempts: int = Field(8, ge=1, le=100, description="Attempts before a record goes to the dead letters.")
    since: Literal["now", "beginning"] = Field(
        "now", description="Records from when the connector first ran, or all that Kafka has."
    )

    @model_validator(mode="after")
    def _topic_exists(self) -> Push:
        if (topic := TOPICS.get(self.topic)) is None or topic.event is None:
            raise ValueError(f"{self.topic!r} is not a topic of events")
        return self


class Out(Value):
    """A value of a request: as :class:`Value`, and how it is written."""

    write: str | None = Field(None, description="A time is written so, as strftime has it, in its zone.")
    as_number: bool = Field(False, description="A JSON number instead of text.")


def render(template: Any, context: Any, lookups: Mapping[str, Lookup]) -> Any:
    """A template with ``${path}`` filled in. A text that is nothing but one keeps the type of what is there.

    ``{$each: path, item: template}`` is a list, ``{$value: {...}}`` a :class:`Out`.

    Raises:
        ValueError: the context has not what is asked for.
    """
    if isinstance(template, str):
        if (whole := _EXPRESSION.fullmatch(template)) is not None:
            return Path(whole[1]).of(context)
        return _EXPRESSION.sub(lambda match: _word(match[1], context), template)
    if isinstance(template, list):
        return [render(one, context, lookups) for one in template]
    if not isinstance(template, dict):
        return template
    if "$each" in template:
        elements = Path(template["$each"]).of(context) or []
        return [render(template["item"], {**one, "parent": context}, lookups) for one in elements]
    if "$value" in template:
        return _out(Out.model_validate(template["$value"]), context, lookups)
    return {name: render(one, context, lookups) for name, one in template.items()}


def _word(path: str, context: Any) -> str:
    found = Path(path).of(context)
    if found is None:
        raise ValueError(f"there is nothing at {path}")
    return str(found)


def _out(value: Out, context: Any, lookups: Mapping[str, Lookup]) -> Any:
    found = value.of(context, lookups)
    if found is not None and value.write is not None:
        moment = datetime.fromisoformat(str(found))
        return moment.astimezone(ZoneInfo(value.zone)).strftime(value.write)
    return float(found) if found is not None and value.as_number else found


class RestSource:
    """The source of a :class:`Resource`."""

    def __init__(
        self, config: Resource, http: Http, connector: str, lookups: dict[str, Lookup], settings: Settings
    ) -> None:
        self._config = config
        self._http = http
        self._origin = f"{connector}\n{config.name}"
        self._lookups = lookups
        self._settings = settings
        self._id = Path(config.id)
        self._stamp = Path(config.since.path) if config.since else None

    @property
    def name(self) -> str:
        """As for ``Source``."""
        return self._config.name

    def batches(self, cursor: Cursor) -> Iterator[Batch]:
        """As for ``Source``."""
        since = self._config.since
        if since is None:
            for page in self._pages(None):
                yield Batch(self._pulled(page), {})
            return
        walk = _Walk(since, cursor)
        # What is ordered and cut by offsets is read from the newest moment anew; what the server itself cuts, as it comes.
        seeks = self._config.page.style in ("offset", "page")
        while True:
            pages, fresh, newest, moved = 0, 0, walk.floor, False
            before: list[str] = []
            for page in self._pages(walk.floor):
                pages += 1
                stamped = [(self._identity(record), self._stamp_of(record), record) for record in page]
                stamps = [stamp for _, stamp, _ in stamped]
                if seeks and stamps != sorted(stamps, key=walk.order):
                    raise ConnectError(
                        f"{self.name}: records are not ordered by {since.path}: ask for them in that order"
                    )
                if page and before == (before := [name for name, *_ in stamped]):
                    raise Unavailable(f"{self.name}: the system answers with the same page again")
                new = [(name, stamp, record) for name, stamp, record in stamped if walk.seen.get(name) != stamp]
                fresh += len(new)
                walk.seen.update((name, stamp) for name, stamp, _ in new)
                newest = max([newest, *stamps], key=walk.order)
                # Of several pages nothing is sure before the last: until then, where they began holds.
                sure = newest if seeks and pages == 1 else walk.floor
                yield Batch(self._pulled([record for *_, record in new]), walk.cursor(sure))
                if seeks and len(page) >= self._config.page.size and walk.order(newest) > walk.order(walk.floor):
                    moved = True
                    break
            if seeks and pages > 1 and fresh:
                continue  # records of one moment over several pages: once more, until there is nothing new
            yield Batch([], walk.cursor(newest))
            if not moved:
                return
            walk.floor = newest

    def _pages(self, since: str | float | None) -> Iterator[list[Any]]:
        config, page = self._config, self._config.page
        context: dict[str, Any] = {"since": since, "limit": page.size, "offset": 0, "page": page.first, "cursor": None}
        path, params = config.path, config.params
        for _ in range(MOST_PAGES):
            answer, headers = self._http.json(
                config.method,
                path,
                render(params, context, {}),
                None if config.body is None else render(config.body, context, {}),
            )
            if config.error is not None and isinstance(answer, dict) and (error := Path(config.error).of(answer)):
                raise ConnectError(f"{self.name}: the system says {str(error)[:300]}")
            records = Path(config.records).of(answer)
            if records is None:
                records = []
            if not isinstance(records, list):
                raise ConnectError(f"{self.name}: {config.records} is no list in the answer {str(answer)[:200]}")
            yield records
            if page.style in ("offset", "page"):
                if len(records) < page.size:
                    return
                context["offset"] += len(records)
                context["page"] += 1
            elif page.style == "cursor":
                following = Path(page.next or "@").of(answer)
                if following in (None, "", False) or following == context["cursor"]:
                    return
                context["cursor"] = following
            elif page.style == "link":
                link = _next_link(headers.get("link", ""))
                if link is None:
                    return
                path, params = self._http.url(link), {}
            else:
                return

    def _identity(self, record: Any) -> str:
        found = self._id.of(record) if isinstance(record, dict) else None
        if found is None:
            raise ConnectError(f"{self.name}: a record has no {self._config.id}: {str(record)[:200]}")
        return str(found)

    def _stamp_of(self, record: Any) -> Any:
        assert self._stamp is not None
        found = self._stamp.of(record)
        if found is None or isinstance(found, (dict, list)):
            raise ConnectError(f"{self.name}: a record has no {self._stamp.text}: {str(record)[:200]}")
        return found

    def _pulled(self, records: Sequence[Any]) -> list[Pulled]:
        latest, mapping = latest_ms(self._settings), self._config.map
        pulled = []
        for record in records:
            place = f"{self.name} {self._identity(record)}"
            raw = json.dumps(record, ensure_ascii=False).encode(errors="replace")
            found = mapping.facts(record, self._origin, self._lookups, latest)
            if isinstance(found, Refusal):
                pulled.append(Pulled(place, raw, topic=mapping.to, refusal=found))
            else:
                pulled.append(Pulled(place, raw, found))
        return pulled


class _Walk:
    """How far a resource has been read: a floor from which to ask, and the ids that lie at or after it."""

    def __init__(self, since: Since, cursor: Cursor) -> None:
        self._since = since
        self._newest: Any = cursor.get("since", since.first)
        self.seen: dict[str, Any] = dict(cursor.get("seen", {}))
        self.floor: Any = self._back(self._newest) if "since" in cursor else since.first

    def order(self, stamp: Any) -> float:
        """What a stamp is compared by.

        Raises:
            ConnectError: it is not of the kind that the configuration says.
        """
        try:
            return float(stamp) if self._since.kind == "number" else _moment(stamp).timestamp()
        except ValueError:
            raise ConnectError(f"{self._since.path}: {str(stamp)[:64]!r} is no {self._since.kind}") from None

    def cursor(self, sure: Any) -> Cursor:
        """To go on later, when all up to this stamp has been read."""
        if self.order(sure) > self.order(self._newest):
            self._newest = sure
            least = min(self.order(self._back(sure)), self.order(self.floor))
            self.seen = {name: stamp for name, stamp in self.seen.items() if self.order(stamp) >= least}
        return {"since": self._newest, "seen": self.seen if len(self.seen) <= MOST_SEEN_KEPT else {}}

    def _back(self, stamp: Any) -> Any:
        overlap = self._since.overlap
        if not overlap:
            return stamp
        if self._since.kind == "number":
            return type(stamp)(float(stamp) - overlap)
        return (_moment(stamp) - timedelta(seconds=overlap)).strftime(self._since.write)


def _moment(stamp: Any) -> datetime:
    """A time without an offset is taken for UTC, for comparing only: it goes back to the system as it came."""
    found = datetime.fromisoformat(str(stamp))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _next_link(header: str) -> str | None:
    """The address of rel="next" in a Link header (RFC 8288)."""
    for match in re.finditer(r"<([^>]*)>((?:\s*;\s*[^,;]+)*)", header):
        if re.search(r";\s*rel=\"?(?:[^\"]*\s)?next(?:\s[^\"]*)?\"?\s*(?:;|$)", match[2], re.IGNORECASE):
            return match[1]
    return None


@dataclass(frozen=True)
class RestTarget:
    """The target of a :class:`Push`."""

    config: Push
    http: Http
    connector: str
    lookups: dict[str, Lookup]
    since_ms: int | None = None
    """As for ``Target``."""

    @property
    def name(self) -> str:
        """As for ``Target``."""
        return f"connect:{self.connector}:{self.config.name}"

    @property
    def topics(self) -> tuple[str, ...]:
        """As for ``Target``."""
        return (self.config.topic,)

    @property
    def attempts(self) -> int:
        """As for ``Target``."""
        return self.config.attempts

    @cached_property
    def _when(self) -> Path | None:
        return Path(self.config.when) if self.config.when else None

    def takes(self, record: Outgoing) -> bool:
        """As for ``Target``: not what this very system told us."""
        if record.origin == self.connector:
            return False
        if self._when is None:
            return True
        try:
            return bool(self._when.of(orjson.loads(record.value)))
        except ValueError:
            return True  # what cannot be read is refused, not passed over

    def deliver(self, record: Outgoing) -> None:
        """As for ``Target``: find it there, or make it."""
        try:
            context = orjson.loads(record.value)
            for one in [context] if self.config.each is None else elements(Path(self.config.each), context):
                self._make(one, record)
        except ValueError as error:
            raise Refused(str(error)) from None
        except Refused as error:
            if error.status in WRONG_SET_UP:  # the record is not at fault
                raise NotNow(str(error)) from None
            raise

    def _make(self, context: Any, record: Outgoing) -> None:
        config, find = self.config, self.config.find
        if find is not None:
            answer, _ = self.http.once(
                find.method,
                str(render(find.path, context, self.lookups)),
                render(find.params, context, self.lookups),
                None if find.body is None else render(find.body, context, self.lookups),
            )
            if Path(find.found).of(answer):
                logger.info("push_found_it_there", target=self.name, record=record.id)
                return
        answer, _ = self.http.once(
            config.method,
            str(render(config.path, context, self.lookups)),
            render(config.params, context, self.lookups),
            render(config.body, context, self.lookups),
        )
        if config.error is not None and isinstance(answer, dict) and (said := Path(config.error).of(answer)):
            raise NotNow(f"the system says {str(said)[:300]}")
