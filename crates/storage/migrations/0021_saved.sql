-- How many requests were answered out of the response cache.
ALTER TABLE usage_days ADD COLUMN recalled {int} NOT NULL DEFAULT 0;

-- What was saved on rows that retention took in its nth run, by UTC day, key, model and workspace, as JSON.
CREATE TABLE saved_days (
    utc_day {int} NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    run {int} NOT NULL,
    saved TEXT NOT NULL,
    PRIMARY KEY (utc_day, key_id, model, workspace_id, run)
) {strict};

-- saved_from: of rows of days before this one nothing is known but their totals. runs: how often rows went.
ALTER TABLE retention ADD COLUMN saved_from {int} NOT NULL DEFAULT -1000000;
ALTER TABLE retention ADD COLUMN runs {int} NOT NULL DEFAULT 0;
UPDATE retention SET saved_from = first_day;
