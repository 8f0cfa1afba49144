-- Which version of the rules made a row. A visit's row vouches for the zone visits and queue depths of its day, so it alone
-- carries it. Rows from before this column are of version 1.

ALTER TABLE visits ADD COLUMN IF NOT EXISTS rules UInt16 DEFAULT 1 COMMENT 'Version of the rules that made the row, a day of another version is derived anew' AFTER layout_at;
