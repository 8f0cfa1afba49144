"""Facts for tests of the rules: written by hand in a line each, or drawn at random."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime

from schemas.reading import EVENT_RANK, VisitFact

DAY = date(2026, 3, 3)
DAY_START = int(datetime(2026, 3, 3, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


def at(clock: str) -> int:
    """``10:00``, ``10:00:05`` or ``10:00:05.250`` on the day, in UTC, as milliseconds since 1970."""
    moment = datetime.fromisoformat(f"{DAY}T{clock}+00:00")
    return int(moment.timestamp() * 1000)


def visit_fact(
    moment: int,
    event_type: str,
    zone: str | None = None,
    camera: str = "C1",
    *,
    visitor: str = "V",
    store: str = "S",
    dwell: int = 0,
    staff: bool = False,
    depth: int | None = None,
    seq: int = 0,
    event_id: str = "",
) -> VisitFact:
    """A visit event as the reader makes it. Without an id it gets one that follows from what it says."""
    said = f"{store} {visitor} {moment} {event_type} {zone} {camera} {dwell} {staff} {depth} {seq}"
    event_id = event_id or str(uuid.uuid5(uuid.NAMESPACE_OID, said))
    return VisitFact(
        event_id=event_id,
        store_id=store,
        camera_id=camera,
        visitor_id=visitor,
        event_type=event_type,  # type: ignore[arg-type]
        timestamp=datetime.fromtimestamp(moment / 1000, UTC),
        confidence=0.9,
        zone_id=zone,
        dwell_ms=dwell,
        is_staff=staff,
        at=moment,
        key=(moment, seq, EVENT_RANK[event_type], event_id),
        queue_depth=depth,
    )


def story(text: str) -> list[VisitFact]:
    """Events, one a line or after a semicolon: ``10:01 ZONE_ENTER SHELF@C2 visitor=W dwell=30000 depth=3 seq=2
    staff=1``.
    """
    found = []
    for line in text.replace(";", "\n").splitlines():
        if not line.strip():
            continue
        clock, event_type, *rest = line.split()
        options = dict(word.split("=", 1) for word in rest if "=" in word)
        zone, _, camera = next((word for word in rest if "=" not in word), "").partition("@")
        found.append(
            visit_fact(
                at(clock),
                event_type,
                zone or None,
                camera or "C1",
                visitor=options.get("visitor", "V"),
                dwell=int(options.get("dwell", 0)),
                staff=options.get("staff") == "1",
                depth=int(options["depth"]) if "depth" in options else None,
                seq=int(options.get("seq", 0)),
            )
        )
    return found
