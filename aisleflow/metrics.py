"""Every Prometheus metric, declared once, with its meaning. Programs import the metric and change it; nobody else
declares.
"""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("aisleflow_records_total", "Kafka records a worker has read.", ["topic"])
DUPLICATES = Counter("aisleflow_duplicates_total", "Records whose fact was already stored.", ["topic"])
DEAD_LETTERS = Counter("aisleflow_dead_letters_total", "Records put in the dead letters.", ["topic", "stage"])
STRAYS = Counter(
    "aisleflow_strays_total", "Records found in another partition than their store's, and moved.", ["topic"]
)
ROWS = Counter("aisleflow_rows_total", "Rows written to ClickHouse.", ["table"])
CYCLE_SECONDS = Histogram(
    "aisleflow_cycle_seconds",
    "Time of a worker's cycle, from decoding to acknowledgement, by step.",
    ["step"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
CYCLE_RECORDS = Histogram("aisleflow_cycle_records", "Records in a cycle.", buckets=(1, 10, 100, 1_000, 5_000, 20_000))
LAG = Gauge("aisleflow_lag_records", "Records in Kafka that a worker has not yet confirmed.", ["topic", "partition"])
OPEN_VISITS = Gauge("aisleflow_open_visits", "Visits a worker holds in memory.")
OPEN_STORE_DAYS = Gauge("aisleflow_open_store_days", "Business days of stores a worker holds in memory.")
EXACT_PATH = Counter(
    "aisleflow_exact_path_visits_total", "Visits derived anew from ClickHouse (late or repeated events)."
)
SINK_RETRIES = Counter("aisleflow_clickhouse_retries_total", "Calls tried again because ClickHouse did not answer.")

REQUESTS = Counter("aisleflow_http_requests_total", "HTTP requests.", ["method", "endpoint", "status_code"])
REQUEST_SECONDS = Histogram("aisleflow_http_request_seconds", "Time to answer a request.", ["method", "endpoint"])
INGESTED = Counter("aisleflow_ingested_events_total", "Events taken by POST /events/ingest, by outcome.", ["outcome"])
QUESTIONS = Counter(
    "aisleflow_questions_total", "Questions asked, by outcome and who understood them.", ["outcome", "source"]
)
CAMERA_IDENTITY = Counter(
    "aisleflow_camera_identity_total",
    "Decisions whether somebody is a visitor known already, by what spoke for it and how it ended.",
    ["kind", "outcome"],
)
CAMERA_STATE = Gauge("aisleflow_camera_state", "1 for the state that a camera is in.", ["store", "camera", "state"])
CAMERA_FRAMES = Counter(
    "aisleflow_camera_frames_total",
    "Frames of a camera: read, processed (looked at) and skipped.",
    ["store", "camera", "what"],
)
CAMERA_NEW_FRAME = Gauge(
    "aisleflow_camera_new_frame_seconds",
    "When a camera last sent a picture unlike those before, seconds since 1970.",
    ["store", "camera"],
)
CAMERA_TRACKS_BROKEN = Gauge(
    "aisleflow_camera_tracks_broken",
    "People lost from sight in the middle of a camera's picture on this business day.",
    ["store", "camera"],
)
CAMERA_BALANCE = Gauge(
    "aisleflow_camera_entrance_balance", "Entries minus exits of a camera on this business day.", ["store", "camera"]
)
CAMERA_DRIFT = Gauge(
    "aisleflow_camera_drift", "The entrance balance as a share of the entries; 0 without entries.", ["store", "camera"]
)
