"""The application: everything an API process holds, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from aisleflow.settings import Settings
from api import problems
from api.database import Database
from api.deps import Parts
from api.events.ingest import Ingest
from api.events.routes import router as events_router
from api.forecasts.asked import PredictRequest
from api.forecasts.predictor import Predictor
from api.forecasts.routes import router as forecasts_router
from api.health.monitor import Monitor
from api.health.routes import router as health_router
from api.progress import Progress
from api.publisher import Publisher
from api.questions.desk import Desk
from api.questions.routes import QuestionRequest
from api.questions.routes import router as questions_router
from api.request_log import RequestLog
from api.restock.routes import router as restock_router
from api.security import Guard
from api.shelves.pictures import Pictures
from api.shelves.routes import router as shelves_router
from api.shelves.vision import Vision
from api.stock.heatmap import router as heatmap_router
from api.stock.routes import router as stock_router
from api.stores.acknowledgements import AcknowledgeRequest
from api.stores.acknowledgements import router as acknowledgements_router
from api.stores.routes import router as stores_router
from schemas import events

DESCRIPTION = """
Shop events in, answers out. What the figures mean is said in docs/metrics.md.

Errors are problem details (RFC 9457). A 503 names the part that is away and says when to try again; there is never a
zero in its place.
"""


def create_app(settings: Settings, *, wall: bool = True, when_loaded: Callable[[], None] = lambda: None) -> FastAPI:
    """The application with these settings; ``wall`` adds the pages (once a process: NiceGUI is one).

    ``when_loaded`` is called from a thread once all that is loaded beside the first requests is there.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database, publisher, progress = Database(settings), Publisher(settings), Progress(settings)
        stock_progress = Progress(settings.model_copy(update={"consumer_group": settings.stock_group}))
        monitor = Monitor(settings, database, progress)
        ingest = Ingest(settings, database, publisher, progress, stock_progress)
        app.state.parts = Parts(
            settings=settings,
            database=database,
            ingest=ingest,
            monitor=monitor,
            questions=Desk(settings, database, ingest),
            predictor=Predictor(settings),
            vision=Vision(settings),
            pictures=Pictures(
                settings.data_dir.expanduser() / "shelf-pictures", settings.retention_shelf_pictures_days
            ),
        )
        app.state.parts.predictor.warm(when_loaded)
        try:
            yield
        finally:
            await app.state.parts.vision.close()
            await monitor.close()
            await progress.close()
            await stock_progress.close()
            publisher.close()
            database.close()

    # FastAPI's own documentation pages load scripts from a foreign server; /openapi.json is for every tool.
    app = FastAPI(
        title="Aisleflow",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    for router in (
        events_router,
        stores_router,
        acknowledgements_router,
        heatmap_router,
        stock_router,
        forecasts_router,
        restock_router,
        questions_router,
        shelves_router,
        health_router,
    ):
        app.include_router(router)
    _describe(app, secured=bool(settings.api_key_set))
    if wall:
        from api.forecast_pages.routes import install as install_forecasts
        from api.questions.page import install as install_ask
        from api.stock_pages.routes import install as install_stock
        from api.wall.routes import install

        install_ask(app)
        install_stock(app)
        install_forecasts(app)
        install(app, settings)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(RequestLog)
    return app


def _describe(app: FastAPI, *, secured: bool) -> None:
    """Complete the OpenAPI document with the contracts that routes read by themselves."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document["components"]["schemas"]
            own = (
                events.VisitEvent,
                events.Transaction,
                events.StoreLayout,
                events.StockMovement,
                AcknowledgeRequest,
                PredictRequest,
                QuestionRequest,
            )
            for model in (problems.Problem, *own):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
            if secured:
                document["components"]["securitySchemes"] = {
                    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                }
                document["security"] = [{"key": []}, {"bearer": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
