"""What the OpenAPI document promises, held against real answers by made-up requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from aisleflow.settings import Settings
from schemas import events
from tests.api.conftest import serve
from tests.api.rows import feed, fill, visit, zone_visit

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
    negative_data_rejection,
]
# An item that breaks the contract is refused alone, inside a 200.
JUDGED_ONE_BY_ONE = {"/events/ingest", "/transactions/ingest", "/stock/movements", "/api/v1/predict/batch"}
# Without a model every photo is a 503 (tests/api/test_shelves.py has one).
WITHOUT_A_MODEL = "/shelves/scan"
WITHOUT_PARAMETERS = {"/api/v1/models", "/stores", "/health", "/metrics", "/questions/measures"}


@pytest.fixture(scope="module")
def api_schema(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document of a running server that knows one store."""
    now = datetime.now(UTC)
    fill(world, store_feed=[feed("S1", now)], visits=[visit("S1", "V")], zone_visits=[zone_visit("S1", "V", "HAIR", 9)])
    with serve(world, tmp_path_factory.mktemp("api") / "log"):
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{world.api_port}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_server_error_and_no_answer_outside_the_document(api_schema: Any, mode: GenerationMode) -> None:
    """Requests that keep the document, and requests that break it."""
    tried = 0
    for found in api_schema.get_all_operations():
        operation = found.ok()
        if operation.path == WITHOUT_A_MODEL:
            continue
        if mode is GenerationMode.NEGATIVE and operation.path in JUDGED_ONE_BY_ONE | WITHOUT_PARAMETERS:
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            nonlocal tried
            tried += 1
            if mode is GenerationMode.POSITIVE and "store_id" in case.path_parameters:
                case.path_parameters["store_id"] = "S1"  # made-up ids never meet a store that is known
            if mode is GenerationMode.POSITIVE and case.query and "wait" in case.query:
                case.query["timeout_s"] = 0.05  # no worker runs here
            case.call_and_validate(checks=CHECKS)

        check()
    assert tried > 60


def test_the_documents_examples_keep_the_contracts(api: Any) -> None:
    document = api.get("/openapi.json").json()
    body = lambda path, method: document["paths"][path][method]["requestBody"]["content"]["application/json"]["example"]  # noqa: E731
    events.VisitEvent.model_validate_json(_json(body("/events/ingest", "post")["events"][0]))
    events.Transaction.model_validate_json(_json(body("/transactions/ingest", "post")["transactions"][0]))
    events.StockMovement.model_validate_json(_json(body("/stock/movements", "post")["movements"][0]))
    events.StoreLayout.model_validate_json(_json(body("/stores/{store_id}/layout", "put")))
    assert api.post("/events/ingest", json=body("/events/ingest", "post")).json()["errors"] == 0


def test_every_operation_says_what_it_is_for_and_what_can_go_wrong(api: Any) -> None:
    document = api.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"] and operation["description"], (method, path)
            assert path == "/metrics" or "503" in operation["responses"], (method, path)


def _json(value: object) -> str:
    import json

    return json.dumps(value)
