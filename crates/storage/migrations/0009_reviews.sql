-- Which endpoints a key read and wrote on a day, one bit each; 0: a day before this was noted.
ALTER TABLE usage_days ADD COLUMN accesses {int} NOT NULL DEFAULT 0;

-- Reviews of what keys may do.
CREATE TABLE reviews (
    id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES api_keys (id),
    workspace_id TEXT NOT NULL,
    opened_us {int} NOT NULL,
    findings TEXT NOT NULL,
    decision TEXT,
    version {int} NOT NULL
) {strict};
CREATE UNIQUE INDEX reviews_open ON reviews (key_id) WHERE decision IS NULL;
CREATE INDEX reviews_by_opening ON reviews (opened_us, id);
CREATE INDEX reviews_by_key ON reviews (key_id, opened_us);
