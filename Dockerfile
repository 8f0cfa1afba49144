# One image for workers, API, simulator and set-up commands. Kafka and ClickHouse have images of their own.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/uv.txt requirements/main.txt requirements/
RUN python -m venv /opt/aisleflow \
 && pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
 && uv pip install --no-cache --python /opt/aisleflow/bin/python --require-hashes -r requirements/main.txt
COPY pyproject.toml README.md LICENSE ./
COPY aisleflow aisleflow
COPY api api
COPY connectors connectors
COPY forecasting forecasting
COPY grafana grafana
COPY infra infra
COPY producers producers
COPY replenishment replenishment
COPY schemas schemas
COPY stream_processors stream_processors
RUN uv pip install --no-cache --python /opt/aisleflow/bin/python --no-deps .

FROM python:3.11-slim
COPY --from=build /opt/aisleflow /opt/aisleflow
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/aisleflow aisleflow
# Two arenas, not one a thread: a tenth less memory, and it stays so.
ENV PATH=/opt/aisleflow/bin:$PATH PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2 AISLEFLOW_DATA_DIR=/var/lib/aisleflow
USER aisleflow
WORKDIR /var/lib/aisleflow
ENTRYPOINT ["aisleflow"]
CMD ["--help"]
