-- Anomalies in depth: why, how unusual, what is usual, and who has seen them.

ALTER TABLE anomalies
    ADD COLUMN IF NOT EXISTS severity_reason String DEFAULT '' COMMENT 'Why it is of this severity',
    ADD COLUMN IF NOT EXISTS unusual String DEFAULT '' COMMENT 'How often it was so on comparable days, in words, empty when not known',
    ADD COLUMN IF NOT EXISTS evidence Map(LowCardinality(String), Float64) DEFAULT map() COMMENT 'The counts behind it by name, such as visitors and bought',
    ADD COLUMN IF NOT EXISTS calm_since Nullable(DateTime64(3, 'UTC')) DEFAULT NULL COMMENT 'Event time since which it is over, while it waits to be closed, null while it lasts',
    ADD COLUMN IF NOT EXISTS announced LowCardinality(String) DEFAULT '-' COMMENT 'What the last alert said that Kafka has confirmed: OPEN and the severity, or CLOSED; empty before the first, - in rows from before this column',
    ADD COLUMN IF NOT EXISTS anomaly_id String ALIAS lower(hex(substring(SHA256(concat(store_id, '\t', type, '\t', subject, '\t', toString(toUnixTimestamp64Milli(detected_at)))), 1, 16))) COMMENT 'Its name in the API and on the log';

ALTER TABLE anomalies MODIFY COLUMN type COMMENT 'QUEUE_SPIKE, CONVERSION_DROP, DEAD_ZONE, ABANDONMENT_SPIKE, CAMERA_DOWN, STALE_FEED, FOOTFALL_DROP or FOOTFALL_SURGE';

CREATE TABLE IF NOT EXISTS acknowledgements
(
    event_id    UUID                            COMMENT 'Identity of the fact',
    store_id    String                          COMMENT 'The shop',
    anomaly_id  String                          COMMENT 'The anomaly, as in anomalies',
    timestamp   DateTime64(3, 'UTC')            COMMENT 'When it was acknowledged, of several the newest holds',
    by          String                          COMMENT 'Who has seen it, as they want to be named',
    note        String                          COMMENT 'What they do about it',
    until       Nullable(DateTime64(3, 'UTC'))  COMMENT 'From then on it shouts again, null: not before it is over',
    received_at DateTime64(3, 'UTC')            COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree
ORDER BY (store_id, anomaly_id, event_id)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Who has seen which anomaly. Query with FINAL.';

CREATE TABLE IF NOT EXISTS baselines
(
    store_id   String                 COMMENT 'The shop',
    metric     LowCardinality(String) COMMENT 'footfall (visitors who came in the hour), queue (longest in it), conversion and abandonment (shares of those who came up to its end), zone_visits and camera_sightings (minutes of the hour in which customers came there, or into view)',
    subject    String                 COMMENT 'The zone or camera, empty for the whole store',
    weekday    UInt8                  COMMENT '1 Monday to 7 Sunday, 0 all days together',
    hour       UInt8                  COMMENT 'Hour of the day in the time zone of the store, 24 all hours together',
    usual      Float64                COMMENT 'Median of the figures; of zone_visits and camera_sightings the mean without the highest and lowest fifth',
    spread     Float64                COMMENT 'Their median absolute deviation times 1.4826, a standard deviation that outliers do not move; of those two the standard deviation of the same',
    days       UInt16                 COMMENT 'Days used',
    figures    Array(Float32)         COMMENT 'The figures, oldest day first',
    made_for   Date                   COMMENT 'Business day that it was made for, from the days before',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written'
)
ENGINE = ReplacingMergeTree(made_for)
ORDER BY (store_id, metric, subject, weekday, hour)
TTL toDateTime(updated_at) + INTERVAL 60 DAY
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What is usual in each store, made once a business day: days that are special, blind or missing are left out. Query with FINAL.';

CREATE OR REPLACE VIEW anomalies_final
(
    store_id         String                         COMMENT 'The shop',
    type             String                         COMMENT 'QUEUE_SPIKE, CONVERSION_DROP, DEAD_ZONE, ABANDONMENT_SPIKE, CAMERA_DOWN, STALE_FEED, FOOTFALL_DROP or FOOTFALL_SURGE',
    subject          String                         COMMENT 'The zone or camera concerned, empty for the whole store',
    detected_at      DateTime64(3, 'UTC')           COMMENT 'Event time at which it opened',
    business_day     Date                           COMMENT 'Business day of the store at that time',
    severity         String                         COMMENT 'INFO, WARN or CRITICAL',
    message          String                         COMMENT 'What is so, in words',
    suggested_action String                         COMMENT 'What to do about it',
    value            Float64                        COMMENT 'The figure now',
    baseline         Float64                        COMMENT 'The figure it is judged against',
    closed_at        Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time at which it was over, null while open',
    updated_at       DateTime64(3, 'UTC')           COMMENT 'When the row was written',
    severity_reason  String                         COMMENT 'Why it is of this severity',
    unusual          String                         COMMENT 'How often it was so on comparable days, in words, empty when not known',
    evidence         Map(String, Float64)           COMMENT 'The counts behind it by name, such as visitors and bought',
    calm_since       Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time since which it is over, while it waits to be closed, null while it lasts',
    announced        String                         COMMENT 'What the last alert said that Kafka has confirmed: OPEN and the severity, or CLOSED; empty before the first, - in rows from before this column',
    anomaly_id       String                         COMMENT 'Its name in the API and on the log'
)
SQL SECURITY INVOKER
AS SELECT store_id, type, subject, detected_at, business_day, severity, message, suggested_action, value, baseline, closed_at, updated_at,
    severity_reason, unusual, evidence, calm_since, announced, anomaly_id
FROM anomalies FINAL
COMMENT 'What was out of the ordinary: opens once, is kept current, closes.';

CREATE VIEW IF NOT EXISTS acknowledgements_final
(
    event_id    UUID                           COMMENT 'Identity of the fact',
    store_id    String                         COMMENT 'The shop',
    anomaly_id  String                         COMMENT 'The anomaly, as in anomalies',
    timestamp   DateTime64(3, 'UTC')           COMMENT 'When it was acknowledged, of several the newest holds',
    by          String                         COMMENT 'Who has seen it, as they want to be named',
    note        String                         COMMENT 'What they do about it',
    until       Nullable(DateTime64(3, 'UTC')) COMMENT 'From then on it shouts again, null: not before it is over',
    received_at DateTime64(3, 'UTC')           COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT event_id, store_id, anomaly_id, timestamp, by, note, until, received_at
FROM acknowledgements FINAL
COMMENT 'Who has seen which anomaly.';

CREATE VIEW IF NOT EXISTS baselines_final
(
    store_id   String               COMMENT 'The shop',
    metric     String               COMMENT 'footfall (visitors who came in the hour), queue (longest in it), conversion and abandonment (shares of those who came up to its end), zone_visits and camera_sightings (minutes of the hour in which customers came there, or into view)',
    subject    String               COMMENT 'The zone or camera, empty for the whole store',
    weekday    UInt8                COMMENT '1 Monday to 7 Sunday, 0 all days together',
    hour       UInt8                COMMENT 'Hour of the day in the time zone of the store, 24 all hours together',
    usual      Float64              COMMENT 'Median of the figures; of zone_visits and camera_sightings the mean without the highest and lowest fifth',
    spread     Float64              COMMENT 'Their median absolute deviation times 1.4826, a standard deviation that outliers do not move; of those two the standard deviation of the same',
    days       UInt16               COMMENT 'Days used',
    figures    Array(Float32)       COMMENT 'The figures, oldest day first',
    made_for   Date                 COMMENT 'Business day that it was made for, from the days before',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the row was written'
)
SQL SECURITY INVOKER
AS SELECT store_id, metric, subject, weekday, hour, usual, spread, days, figures, made_for, updated_at
FROM baselines FINAL
COMMENT 'What is usual in each store, made once a business day: days that are special, blind or missing are left out.';
