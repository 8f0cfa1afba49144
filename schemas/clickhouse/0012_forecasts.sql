-- What is expected to be sold. A forecast is never changed: the newest that knows of a day holds for it, and the older ones say
-- how well they did.

CREATE TABLE IF NOT EXISTS forecasts
(
    event_id        UUID                    COMMENT 'The forecast, one a run and article',
    store_id        String                  COMMENT 'The shop',
    sku             String                  COMMENT 'The article',
    day             Date                    COMMENT 'Business day of the shop that it is about',
    made_at         DateTime64(3, 'UTC')    COMMENT 'When it was made',
    mean            Float32                 COMMENT 'Expected units of that day',
    q025            Float32                 COMMENT 'Demand is at most so much with a probability of 2.5 %',
    q100            Float32                 COMMENT 'The same of 10 %: the lower end of the 80 % interval',
    q250            Float32                 COMMENT 'The same of 25 %',
    q500            Float32                 COMMENT 'The same of 50 %: the median',
    q750            Float32                 COMMENT 'The same of 75 %',
    q900            Float32                 COMMENT 'The same of 90 %: the upper end of the 80 % interval',
    q975            Float32                 COMMENT 'The same of 97.5 %: the upper end of the 95 % interval',
    model           LowCardinality(String)  COMMENT 'What made it',
    model_version   LowCardinality(String)  COMMENT 'Version of a trained model, empty for those that are not trained',
    reason          String                  COMMENT 'Why this model, in a sentence',
    history_end     Date                    COMMENT 'The last day of sales that it knows',
    history_days    UInt32                  COMMENT 'Days of history whose demand was known',
    scale           Float32                 COMMENT 'Mean absolute error of as-a-week-ago on the history, units a day: a MASE is an error over this; 0 when not known',
    backtest_days   UInt8                   COMMENT 'Days of a window of the backtest, 0 without one',
    backtest_errors Array(Float32)          COMMENT 'Mean absolute error of each window of the backtest, units a day, oldest first',
    warnings        Array(String)           COMMENT 'What to know before relying on it',
    received_at     DateTime64(3, 'UTC')    COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (store_id, sku, day, made_at, event_id)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Expected sales by shop, article and day, of every run. Query with FINAL.';

CREATE VIEW IF NOT EXISTS forecasts_final
(
    event_id        UUID                 COMMENT 'The forecast, one a run and article',
    store_id        String               COMMENT 'The shop',
    sku             String               COMMENT 'The article',
    day             Date                 COMMENT 'Business day of the shop that it is about',
    made_at         DateTime64(3, 'UTC') COMMENT 'When it was made',
    mean            Float32              COMMENT 'Expected units of that day',
    q025            Float32              COMMENT 'Demand is at most so much with a probability of 2.5 %',
    q100            Float32              COMMENT 'The same of 10 %: the lower end of the 80 % interval',
    q250            Float32              COMMENT 'The same of 25 %',
    q500            Float32              COMMENT 'The same of 50 %: the median',
    q750            Float32              COMMENT 'The same of 75 %',
    q900            Float32              COMMENT 'The same of 90 %: the upper end of the 80 % interval',
    q975            Float32              COMMENT 'The same of 97.5 %: the upper end of the 95 % interval',
    model           String               COMMENT 'What made it',
    model_version   String               COMMENT 'Version of a trained model, empty for those that are not trained',
    reason          String               COMMENT 'Why this model, in a sentence',
    history_end     Date                 COMMENT 'The last day of sales that it knows',
    history_days    UInt32               COMMENT 'Days of history whose demand was known',
    scale           Float32              COMMENT 'Mean absolute error of as-a-week-ago on the history, units a day: a MASE is an error over this; 0 when not known',
    backtest_days   UInt8                COMMENT 'Days of a window of the backtest, 0 without one',
    backtest_errors Array(Float32)       COMMENT 'Mean absolute error of each window of the backtest, units a day, oldest first',
    warnings        Array(String)        COMMENT 'What to know before relying on it',
    received_at     DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT event_id, store_id, sku, day, made_at, mean, q025, q100, q250, q500, q750, q900, q975, model, model_version, reason, history_end,
    history_days, scale, backtest_days, backtest_errors, warnings, received_at
FROM forecasts FINAL
COMMENT 'Expected sales by shop, article and day, of every run.';

CREATE VIEW IF NOT EXISTS forecasts_newest
(
    store_id      String               COMMENT 'The shop',
    sku           String               COMMENT 'The article',
    day           Date                 COMMENT 'Business day of the shop that it is about',
    made_at       DateTime64(3, 'UTC') COMMENT 'When it was made',
    mean          Float32              COMMENT 'Expected units of that day',
    q025          Float32              COMMENT 'Demand is at most so much with a probability of 2.5 %',
    q100          Float32              COMMENT 'The same of 10 %: the lower end of the 80 % interval',
    q250          Float32              COMMENT 'The same of 25 %',
    q500          Float32              COMMENT 'The same of 50 %: the median',
    q750          Float32              COMMENT 'The same of 75 %',
    q900          Float32              COMMENT 'The same of 90 %: the upper end of the 80 % interval',
    q975          Float32              COMMENT 'The same of 97.5 %: the upper end of the 95 % interval',
    model         String               COMMENT 'What made it',
    model_version String               COMMENT 'Version of a trained model, empty for those that are not trained',
    reason        String               COMMENT 'Why this model, in a sentence',
    history_end   Date                 COMMENT 'The last day of sales that it knows'
)
SQL SECURITY INVOKER
AS SELECT store_id, sku, day, newest.1 AS made_at, newest.2 AS mean, newest.3 AS q025, newest.4 AS q100, newest.5 AS q250, newest.6 AS q500,
    newest.7 AS q750, newest.8 AS q900, newest.9 AS q975, newest.10 AS model, newest.11 AS model_version, newest.12 AS reason,
    newest.13 AS history_end
FROM
(
    SELECT store_id, sku, day,
        argMax((made_at, mean, q025, q100, q250, q500, q750, q900, q975, model, model_version, reason, history_end), (made_at, event_id)) AS newest
    FROM forecasts
    GROUP BY store_id, sku, day
)
COMMENT 'Expected sales by shop, article and day: the newest forecast that names the day. Filter on store_id and sku or day.';
