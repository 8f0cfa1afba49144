-- Who asked what in plain words, and what was run for it.

CREATE TABLE IF NOT EXISTS question_log
(
    event_id    UUID                   COMMENT 'The question',
    timestamp   DateTime64(3, 'UTC')   COMMENT 'When it was asked',
    asked_by    String                 COMMENT 'Who: a mark of the API key, page, or open where no key is needed',
    question    String                 COMMENT 'As it was asked',
    shops       Array(String)          COMMENT 'The only shops that the asker may know of, empty for all',
    outcome     LowCardinality(String) COMMENT 'ANSWERED or REFUSED',
    source      LowCardinality(String) COMMENT 'Who understood it: RULES, MODEL (into measures), SQL (a model wrote it) or NONE',
    understood  String                 COMMENT 'As it was understood, or why it was not',
    sql         String                 COMMENT 'What was run, empty when nothing was',
    parameters  String                 COMMENT 'Values of its parameters, as JSON',
    rows        UInt32                 COMMENT 'Rows of the answer',
    took_ms     UInt32                 COMMENT 'How long the answer took, milliseconds',
    received_at DateTime64(3, 'UTC')   COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (timestamp, event_id)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Questions in plain words, with who asked and the SQL that was run. Query with FINAL.';

CREATE VIEW IF NOT EXISTS question_log_final
(
    event_id    UUID                 COMMENT 'The question',
    timestamp   DateTime64(3, 'UTC') COMMENT 'When it was asked',
    asked_by    String               COMMENT 'Who: a mark of the API key, page, or open where no key is needed',
    question    String               COMMENT 'As it was asked',
    shops       Array(String)        COMMENT 'The only shops that the asker may know of, empty for all',
    outcome     String               COMMENT 'ANSWERED or REFUSED',
    source      String               COMMENT 'Who understood it: RULES, MODEL (into measures), SQL (a model wrote it) or NONE',
    understood  String               COMMENT 'As it was understood, or why it was not',
    sql         String               COMMENT 'What was run, empty when nothing was',
    parameters  String               COMMENT 'Values of its parameters, as JSON',
    rows        UInt32               COMMENT 'Rows of the answer',
    took_ms     UInt32               COMMENT 'How long the answer took, milliseconds',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT event_id, timestamp, asked_by, question, shops, outcome, source, understood, sql, parameters, rows, took_ms, received_at
FROM question_log FINAL
COMMENT 'Questions in plain words, with who asked and the SQL that was run.';
