"""What routes ask for, as annotated dependencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from aisleflow.settings import Settings
from api.database import Database
from api.events.ingest import Ingest
from api.forecasts.predictor import Predictor
from api.health.monitor import Monitor
from api.questions.desk import Desk
from api.shelves.pictures import Pictures
from api.shelves.vision import Vision


@dataclass(frozen=True)
class Parts:
    """Everything an application holds; made with it, closed with it."""

    settings: Settings
    database: Database
    ingest: Ingest
    monitor: Monitor
    questions: Desk
    predictor: Predictor
    vision: Vision
    pictures: Pictures


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


# Coroutines, because FastAPI would run plain functions in a thread, which costs more than all else it does for a request.
async def _all_parts(request: Request) -> Parts:
    return _parts(request)


async def _database(request: Request) -> Database:
    return _parts(request).database


async def _ingest(request: Request) -> Ingest:
    return _parts(request).ingest


async def _monitor(request: Request) -> Monitor:
    return _parts(request).monitor


async def _predictor(request: Request) -> Predictor:
    return _parts(request).predictor


PartsDep = Annotated[Parts, Depends(_all_parts)]
DatabaseDep = Annotated[Database, Depends(_database)]
IngestDep = Annotated[Ingest, Depends(_ingest)]
MonitorDep = Annotated[Monitor, Depends(_monitor)]
PredictorDep = Annotated[Predictor, Depends(_predictor)]
