"""Health for people and orchestrators, metrics for Prometheus. /health needs no key and shows no secrets."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.deps import MonitorDep
from api.health.monitor import Health
from api.problems import RETRY_AFTER_S, documented

router = APIRouter(tags=["operations"])

_EXAMPLE = {
    "status": "healthy",
    "stores": {
        "STORE_BLR_002": {"last_event_timestamp": "2026-03-03T14:22:10Z", "lag_minutes": 2, "behind_seconds": 0}
    },
    "warnings": [],
    "parts": {
        "kafka": {"status": "up", "detail": "answers"},
        "clickhouse": {"status": "up", "detail": "answers; 1 stores known"},
        "workers": {"status": "up", "detail": "1 in the group, 0 records behind"},
    },
    "worker_lag_records": 0,
    "backlog": {
        "records": 0,
        "behind_seconds": 0,
        "complete_until": None,
        "since": None,
        "trend": "current",
        "arriving_per_second": 41.5,
        "read_per_second": 41.6,
        "current_again_in_seconds": 0,
    },
    "checked_at": "2026-03-03T14:24:31Z",
}


@router.get(
    "/health",
    summary="Are the parts working, is each store fresh?",
    responses={
        200: {"content": {"application/json": {"example": _EXAMPLE}}},
        503: {"model": Health, "description": "Kafka or ClickHouse is away; the body says which."},
    },
)
async def get_health(monitor: MonitorDep, response: Response) -> Health:
    """``status`` is healthy, degraded or unhealthy. A store is STALE_FEED when it is open and silent for 10 minutes; one
    whose records wait for the workers is not silent: ``behind_seconds`` tells by how much its figures may lag.
    """
    health = await monitor.health()
    if health.status == "unhealthy":
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return health


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented(401)},
)
async def get_metrics() -> Response:
    """The metrics of this API process, in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
