"""What a store's visitors did: figures, funnel, heat map and anomalies."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field

from api.deps import DatabaseDep, MonitorDep
from api.problems import FieldProblem, ProblemError, documented
from api.stores import answers, queries
from api.stores.known import Store, known_store
from api.stores.windows import Window, choose
from schemas.events import RFC3339_PATTERN, Timestamp

router = APIRouter(prefix="/stores", tags=["stores"])

StoreIdPath = Annotated[str, Path(description="The shop.", examples=["STORE_BLR_002"], max_length=200)]
_TIME_SCHEMA = {"format": "date-time", "pattern": RFC3339_PATTERN}


BEHIND_HEADER = "Aisleflow-Behind-Seconds"


async def _store(database: DatabaseDep, monitor: MonitorDep, store_id: StoreIdPath, response: Response) -> Store:
    """The store asked for, or a 404. The answer's header says by how much its figures may lag, if that is known."""
    store = await known_store(database, store_id)
    if (behind := monitor.behind_seconds(store_id)) is not None:
        response.headers[BEHIND_HEADER] = str(behind)
    return store


StoreDep = Annotated[Store, Depends(_store)]


class Asked(BaseModel):
    """The window asked for, as it came."""

    start: datetime | None
    end: datetime | None
    day: date | None

    @property
    def nothing(self) -> bool:
        """Whether the default is wanted."""
        return self.start is None and self.end is None and self.day is None


def _asked(
    start: Annotated[
        Timestamp | None,
        Query(
            alias="from",
            description="Start of the window (included), RFC 3339 with an offset (write + as %2B). Goes with `to`.",
            json_schema_extra=_TIME_SCHEMA,
            examples=["2026-03-03T00:00:00Z"],
        ),
    ] = None,
    end: Annotated[
        Timestamp | None,
        Query(
            alias="to",
            description="End of the window (excluded).",
            json_schema_extra=_TIME_SCHEMA,
            examples=["2026-03-04T00:00:00Z"],
        ),
    ] = None,
    day: Annotated[
        date | None,
        Query(alias="date", description="A business day of the store, instead of a window.", examples=["2026-03-03"]),
    ] = None,
) -> Asked:
    return Asked(start=start, end=end, day=day)


AskedDep = Annotated[Asked, Depends(_asked)]


def _window(store: StoreDep, asked: AskedDep) -> Window:
    """The window of the answer: by default the business day of the store's newest fact (today, while it has none)."""
    try:
        return choose(store.calendar, store.last_event or datetime.now(UTC), asked.start, asked.end, asked.day)
    except ValueError as error:
        faults = [FieldProblem(field="", reason=str(error)).model_dump()]
        raise ProblemError(422, str(error), errors=faults) from error


WindowDep = Annotated[Window, Depends(_window)]
_PROBLEMS = documented(401, 404, 422, 503)


class StoreSummary(BaseModel):
    """One known store."""

    store_id: str
    name: str | None
    time_zone: str
    currency: str | None
    last_event_timestamp: datetime | None = Field(description="Its newest fact; null while it has none.")


class StoreList(BaseModel):
    """All known stores."""

    stores: list[StoreSummary]


@router.get("", summary="List the stores", responses=documented(401, 503))
async def list_stores(database: DatabaseDep) -> StoreList:
    """Every store with events, transactions or a layout."""
    return StoreList.model_validate({"stores": await queries.summaries(database)})


def _example(value: Any) -> dict[int | str, dict[str, Any]]:
    behind = {"description": "By how much the figures may lag; left out if unknown.", "schema": {"type": "integer"}}
    return {200: {"content": {"application/json": {"example": value}}, "headers": {BEHIND_HEADER: behind}}, **_PROBLEMS}


_METRICS_EXAMPLE = {
    "unique_visitors": 145,
    "conversion_rate": 0.3793,
    "avg_dwell_ms": 48000,
    "queue_depth_current": 3,
    "abandonment_rate": 0.12,
    "staff_visits": 4,
    "unmatched_visitors": 6,
    "attributed_conversion_rate": 0.3586,
    "transactions": 54,
    "revenue": 61240.5,
    "currency": "INR",
    "revenue_by_currency": {"INR": 61240.5},
    "business_day": "2026-03-03",
    "window": {"from": "2026-03-02T18:30:00Z", "to": "2026-03-03T18:30:00Z"},
    "updated_at": "2026-03-03T14:22:11.482Z",
    "behind_seconds": 0,
}


@router.get("/{store_id}/metrics", summary="Key figures", responses=_example(_METRICS_EXAMPLE))
async def get_metrics(
    store: StoreDep, window: WindowDep, database: DatabaseDep, monitor: MonitorDep
) -> answers.Metrics:
    """Visitors, conversion, dwell, queue, abandonment and revenue of the window."""
    found = await queries.figures(database, store.store_id, window)
    visitors = found["unique_visitors"]
    amounts, currency = answers.revenue(found["transactions"], store.currency)
    has_visits = visitors + found["unmatched_visitors"] + found["staff_visits"] > 0
    return answers.Metrics(
        unique_visitors=visitors,
        conversion_rate=answers.rate(found["purchasers"], visitors),
        avg_dwell_ms=answers.mean_ms(found["dwell_ms"], found["zone_visits"]),
        queue_depth_current=found["queue_depth"],
        abandonment_rate=answers.rate(found["abandoned"], found["joined"]),
        staff_visits=found["staff_visits"],
        unmatched_visitors=found["unmatched_visitors"],
        attributed_conversion_rate=answers.rate(found["attributed_visitors"], visitors),
        transactions=sum(row["transactions"] for row in found["transactions"]),
        revenue=amounts.get(currency or "XXX", 0.0),
        currency=currency,
        revenue_by_currency=amounts,
        business_day=window.business_day,
        window=answers.Span(start=window.start, end=window.end),
        updated_at=found["updated_at"] if has_visits else None,
        behind_seconds=monitor.behind_seconds(store.store_id),
    )


@router.get(
    "/{store_id}/funnel",
    summary="From the door to the till",
    responses=_example({"entry": 145, "zone_visit": 132, "billing_queue": 85, "purchased": 55}),
)
async def get_funnel(store: StoreDep, window: WindowDep, database: DatabaseDep) -> answers.Funnel:
    """How many visitors came in, stopped in a zone, stood in the billing zone, and purchased."""
    return answers.funnel(await queries.visits(database, store.store_id, window))


@router.get(
    "/{store_id}/heatmap",
    summary="Where visitors spend their time",
    responses=_example(
        {
            "SKINCARE": {"frequency": 87, "avg_dwell_ms": 42000, "normalized": 100, "data_confidence": "HIGH"},
            "MAKEUP": {"frequency": 12, "avg_dwell_ms": 31000, "normalized": 14, "data_confidence": "LOW"},
        }
    ),
)
async def get_heatmap(store: StoreDep, window: WindowDep, database: DatabaseDep) -> dict[str, answers.ZoneHeat]:
    """Zone visits by zone, the busiest first."""
    return answers.heatmap(await queries.zones(database, store.store_id, window))


@router.get(
    "/{store_id}/anomalies",
    summary="What is out of the ordinary",
    responses=_example(
        {
            "store_id": "STORE_BLR_002",
            "anomalies": [
                {
                    "type": "QUEUE_SPIKE",
                    "subject": "",
                    "severity": "WARN",
                    "message": "8 people are waiting; usual for this hour: 2.5",
                    "suggested_action": "Open another till.",
                    "detected_at": "2026-03-03T14:20:00Z",
                    "value": 8,
                    "baseline": 2.5,
                    "closed_at": None,
                    "anomaly_id": "5f0a6c2f3bd1c5a0d28f3a1f47a6f9be",
                    "severity_reason": "longer than on any of the last 12 Tuesdays at this hour, and not more than 10",
                    "unusual": "On none of the last 12 Tuesdays at this hour was it as high; 3 is the middle.",
                    "evidence": {"depth": 8, "usual_mean": 2.5, "days": 12},
                    "calm_since": None,
                    "acknowledged": {
                        "event_id": "d0c4b6a2-34c0-5c11-9e6c-0f7a5a1f8a77",
                        "by": "Asha",
                        "note": "Second till is opening",
                        "at": "2026-03-03T14:22:00Z",
                        "until": None,
                    },
                }
            ],
        }
    ),
)
async def get_anomalies(
    store: StoreDep, window: WindowDep, asked: AskedDep, database: DatabaseDep
) -> answers.Anomalies:
    """Those open now; with a window, those that were open at any time in it. At most 1,000, the worst first."""
    rows = await queries.anomalies(database, store.store_id, None if asked.nothing else window)
    return answers.Anomalies(store_id=store.store_id, anomalies=[answers.Anomaly(**row) for row in rows])
