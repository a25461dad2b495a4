-- Notices, the channels that carry them, how each delivery went, reports that are kept, and durable jobs.

CREATE TABLE channels (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    target TEXT NOT NULL,
    sealed {blob} NOT NULL,
    min_severity {int} NOT NULL,
    workspace_id TEXT REFERENCES workspaces (id),
    state TEXT NOT NULL,
    created_us {int} NOT NULL,
    version {int} NOT NULL
) {strict};
CREATE UNIQUE INDEX channels_name ON channels (name) WHERE state <> 'removed';

-- once: what must not be said twice.
CREATE TABLE notices (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    severity {int} NOT NULL,
    key_id TEXT,
    owner_id TEXT,
    workspace_id TEXT,
    once TEXT CONSTRAINT notices_once UNIQUE,
    details TEXT NOT NULL,
    raised_us {int} NOT NULL
) {strict};
CREATE INDEX notices_by_time ON notices (raised_us, id);

CREATE TABLE deliveries (
    notice_id TEXT NOT NULL REFERENCES notices (id),
    channel_id TEXT NOT NULL REFERENCES channels (id),
    state TEXT NOT NULL,
    attempts {int} NOT NULL,
    next_try_us {int} NOT NULL,
    last_error TEXT NOT NULL,
    done_us {int},
    version {int} NOT NULL,
    PRIMARY KEY (notice_id, channel_id)
) {strict};
CREATE INDEX deliveries_due ON deliveries (channel_id, next_try_us) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON deliveries (notice_id) WHERE state = 'dead';

CREATE TABLE reports (
    id TEXT PRIMARY KEY,
    from_us {int} NOT NULL,
    until_us {int} NOT NULL,
    made_us {int} NOT NULL,
    markdown TEXT NOT NULL,
    html TEXT NOT NULL,
    json TEXT NOT NULL
) {strict};
CREATE INDEX reports_by_time ON reports (made_us, id);

-- running_us: the slot that is being run, or was left by a runner that died. fencing grows with every lease.
CREATE TABLE jobs (
    name TEXT PRIMARY KEY,
    next_run_us {int} NOT NULL,
    running_us {int},
    lease_owner TEXT NOT NULL,
    lease_until_us {int} NOT NULL,
    fencing {int} NOT NULL,
    attempts {int} NOT NULL,
    last_run_us {int},
    last_outcome TEXT NOT NULL
) {strict};

-- One row a slot: no slot is run twice, wherever the clock is set to.
CREATE TABLE job_runs (
    job TEXT NOT NULL REFERENCES jobs (name),
    slot_us {int} NOT NULL,
    started_us {int} NOT NULL,
    finished_us {int},
    outcome TEXT NOT NULL,
    PRIMARY KEY (job, slot_us)
) {strict};

CREATE INDEX api_keys_by_expiry ON api_keys (expires_us);
