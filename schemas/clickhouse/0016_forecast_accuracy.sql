-- How forecasts did once their days were over, beside what their backtests had promised.

CREATE TABLE IF NOT EXISTS forecast_accuracy
(
    store_id      String                 COMMENT 'The shop',
    sku           String                 COMMENT 'The article; empty for all of the shop together, errors added up',
    day           Date                   COMMENT 'The last day compared',
    made_at       DateTime64(3, 'UTC')   COMMENT 'When it was worked out, the newest holds',
    forecasts     UInt32                 COMMENT 'Articles of the shop that were forecast that night',
    days          UInt32                 COMMENT 'Days compared, 0 when nothing could be compared yet',
    error         Float64                COMMENT 'Mean absolute error of these days, units a day',
    usual_error   Float64                COMMENT 'The same in the backtest, the mean of its windows',
    highest_error Float64                COMMENT 'The end of the range of the backtest: beyond it forecasts drift',
    scale         Float64                COMMENT 'The same of as-a-week-ago on the history: error over it is a MASE',
    bias          Float64                COMMENT 'Predicted less sold, units a day',
    outside       UInt32                 COMMENT 'Days beyond the 95 % interval, of all articles together for the shop',
    chance        Float64                COMMENT 'Probability of as many or more by chance',
    drifts        Bool                   COMMENT 'The error has left the range of the backtest by more than chance',
    received_at   DateTime64(3, 'UTC')   COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree(made_at)
ORDER BY (store_id, sku, day)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'How the forecasts made a week before did, by shop, article and day. Query with FINAL.';

CREATE VIEW IF NOT EXISTS forecast_accuracy_newest
(
    store_id      String              COMMENT 'The shop',
    sku           String              COMMENT 'The article; empty for all of the shop together, errors added up',
    day           Date                COMMENT 'The last day compared',
    made_at       DateTime64(3, 'UTC') COMMENT 'When it was worked out',
    days          UInt32              COMMENT 'Days compared, 0 when nothing could be compared yet',
    error         Float64             COMMENT 'Mean absolute error of these days, units a day',
    usual_error   Float64             COMMENT 'The same in the backtest, the mean of its windows',
    highest_error Float64             COMMENT 'The end of the range of the backtest: beyond it forecasts drift',
    scale         Float64             COMMENT 'The same of as-a-week-ago on the history: error over it is a MASE',
    bias          Float64             COMMENT 'Predicted less sold, units a day',
    outside       UInt32              COMMENT 'Days beyond the 95 % interval, of all articles together for the shop',
    chance        Float64             COMMENT 'Probability of as many or more by chance',
    drifts        Bool                COMMENT 'The error has left the range of the backtest by more than chance'
)
SQL SECURITY INVOKER
AS SELECT store_id, sku, day, made_at, days, error, usual_error, highest_error, scale, bias, outside, chance, drifts
FROM forecast_accuracy FINAL
WHERE (store_id, day) IN (SELECT store_id, max(day) FROM forecast_accuracy WHERE sku = '' GROUP BY store_id)
COMMENT 'How the forecasts of each shop and article did, as of the last night.';

ALTER TABLE anomalies MODIFY COLUMN type COMMENT 'QUEUE_SPIKE, CONVERSION_DROP, DEAD_ZONE, ABANDONMENT_SPIKE, CAMERA_DOWN, STALE_FEED, FOOTFALL_DROP, FOOTFALL_SURGE, STOCKOUT_RISK, NEGATIVE_STOCK or FORECAST_DRIFT';

CREATE VIEW IF NOT EXISTS forecast_accuracy_final
(
    store_id      String               COMMENT 'The shop',
    sku           String               COMMENT 'The article; empty for all of the shop together, errors added up',
    day           Date                 COMMENT 'The last day compared',
    made_at       DateTime64(3, 'UTC') COMMENT 'When it was worked out, the newest holds',
    forecasts     UInt32               COMMENT 'Articles of the shop that were forecast that night',
    days          UInt32               COMMENT 'Days compared, 0 when nothing could be compared yet',
    error         Float64              COMMENT 'Mean absolute error of these days, units a day',
    usual_error   Float64              COMMENT 'The same in the backtest, the mean of its windows',
    highest_error Float64              COMMENT 'The end of the range of the backtest: beyond it forecasts drift',
    scale         Float64              COMMENT 'The same of as-a-week-ago on the history: error over it is a MASE',
    bias          Float64              COMMENT 'Predicted less sold, units a day',
    outside       UInt32               COMMENT 'Days beyond the 95 % interval, of all articles together for the shop',
    chance        Float64              COMMENT 'Probability of as many or more by chance',
    drifts        Bool                 COMMENT 'The error has left the range of the backtest by more than chance',
    received_at   DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT store_id, sku, day, made_at, forecasts, days, error, usual_error, highest_error, scale, bias, outside, chance, drifts, received_at
FROM forecast_accuracy FINAL
COMMENT 'How the forecasts made a week before did, by shop, article and day.';
