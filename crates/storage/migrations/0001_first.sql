-- {int}, {blob} and {strict} are replaced per engine; all other text is the same on both.
-- Times are microseconds since the epoch (…_us), money is pico-dollars (…_pusd).

CREATE TABLE feed_head (
    one {int} PRIMARY KEY CHECK (one = 1),
    seq {int} NOT NULL
) {strict};
INSERT INTO feed_head (one, seq) VALUES (1, 0);

CREATE TABLE changes (
    seq {int} NOT NULL,
    ordinal {int} NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (seq, ordinal)
) {strict};

CREATE TABLE audit_head (
    one {int} PRIMARY KEY CHECK (one = 1),
    length {int} NOT NULL,
    head {blob} NOT NULL
) {strict};

CREATE TABLE audit (
    number {int} PRIMARY KEY,
    at_us {int} NOT NULL,
    event TEXT NOT NULL,
    leaf {blob} NOT NULL,
    head {blob} NOT NULL
) {strict};

CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT workspaces_name UNIQUE,
    environment TEXT NOT NULL,
    created_us {int} NOT NULL,
    archived_us {int},
    version {int} NOT NULL
) {strict};

CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT owners_name UNIQUE,
    email TEXT,
    created_us {int} NOT NULL,
    archived_us {int},
    version {int} NOT NULL
) {strict};

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    class TEXT NOT NULL,
    name TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES owners (id),
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    mac {blob} NOT NULL,
    pepper_version {int} NOT NULL,
    hint TEXT NOT NULL,
    state TEXT NOT NULL,
    policy TEXT NOT NULL,
    created_us {int} NOT NULL,
    not_before_us {int},
    expires_us {int},
    revoked_us {int},
    revoke_reason TEXT,
    revoke_immediate {int},
    rotated_from TEXT,
    version {int} NOT NULL
) {strict};
CREATE INDEX api_keys_by_creation ON api_keys (created_us, id);
CREATE INDEX api_keys_by_owner ON api_keys (owner_id);
CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id);

CREATE TABLE upstreams (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    base_url TEXT NOT NULL,
    state TEXT NOT NULL,
    created_us {int} NOT NULL,
    version {int} NOT NULL
) {strict};
CREATE UNIQUE INDEX upstreams_name ON upstreams (name) WHERE state <> 'removed';

CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    upstream_id TEXT NOT NULL REFERENCES upstreams (id),
    workspace_id TEXT REFERENCES workspaces (id),
    name TEXT NOT NULL,
    sealed {blob} NOT NULL,
    hint TEXT NOT NULL,
    state TEXT NOT NULL,
    created_us {int} NOT NULL,
    version {int} NOT NULL
) {strict};

CREATE TABLE secrets (
    name TEXT NOT NULL,
    version {int} NOT NULL,
    sealed {blob} NOT NULL,
    created_us {int} NOT NULL,
    PRIMARY KEY (name, version)
) {strict};

-- One row a node incarnation. `no` numbers them; ids of records, intents and ledger rows are no * 2^40 + position.
-- folded: the last group whose rows are in usage_days and key_uses. swept: no intent of that group or before is
-- open. retired: the rows of that group and before are gone; purged_row: deletion has come that far.
CREATE TABLE data_chains (
    no {int} PRIMARY KEY,
    chain TEXT NOT NULL CONSTRAINT data_chains_chain UNIQUE,
    opened_us {int} NOT NULL,
    closed_us {int},
    folded {int} NOT NULL,
    folded_row {int} NOT NULL,
    swept {int} NOT NULL,
    retired {int} NOT NULL,
    retired_row {int} NOT NULL,
    purged_row {int} NOT NULL
) {strict};

-- The leaves: id = no * 2^40 + number. They stay when the rows go.
CREATE TABLE data_records (
    id {int} PRIMARY KEY,
    at_us {int} NOT NULL,
    row_count {int} NOT NULL,
    first_row {int} NOT NULL,
    leaf {blob} NOT NULL,
    head {blob} NOT NULL
) {strict};

-- All intents and releases of one group, packed; same id as its record; deleted once none is open.
CREATE TABLE intent_groups (
    id {int} PRIMARY KEY,
    body {blob} NOT NULL
) {strict};

-- Intents of dead incarnations that a later one booked.
CREATE TABLE foreign_settlements (
    intent TEXT PRIMARY KEY
) {strict};

-- id = no * 2^40 + position in the chain. What reports ask for stands in columns, the rest packed in body.
CREATE TABLE ledger (
    id {int} PRIMARY KEY,
    at_us {int} NOT NULL,
    key_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    model TEXT NOT NULL,
    status {int} NOT NULL,
    outcome TEXT NOT NULL,
    flags {int} NOT NULL,
    input_tokens {int} NOT NULL,
    cache_write_5m_tokens {int} NOT NULL,
    cache_write_1h_tokens {int} NOT NULL,
    cache_read_tokens {int} NOT NULL,
    output_tokens {int} NOT NULL,
    web_search_requests {int} NOT NULL,
    cost_pusd {int} NOT NULL,
    body {blob} NOT NULL
) {strict};
CREATE INDEX ledger_by_time ON ledger (at_us);

CREATE TABLE batch_items (
    batch TEXT NOT NULL,
    custom_id TEXT NOT NULL,
    PRIMARY KEY (batch, custom_id)
) {strict};

-- Daily totals. Money is whole dollars plus a rest in pico-dollars, so that neither part can overflow.
CREATE TABLE usage_days (
    key_id TEXT NOT NULL,
    utc_day {int} NOT NULL,
    model TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    requests {int} NOT NULL,
    errors {int} NOT NULL,
    work {int} NOT NULL,
    look {int} NOT NULL,
    input_tokens {int} NOT NULL,
    cache_write_5m_tokens {int} NOT NULL,
    cache_write_1h_tokens {int} NOT NULL,
    cache_read_tokens {int} NOT NULL,
    output_tokens {int} NOT NULL,
    web_search_requests {int} NOT NULL,
    estimated {int} NOT NULL,
    cost_usd {int} NOT NULL,
    cost_rest_pusd {int} NOT NULL,
    PRIMARY KEY (key_id, utc_day, model, workspace_id)
) {strict};
CREATE INDEX usage_days_by_day ON usage_days (utc_day);

-- Days before this one are only known as totals.
CREATE TABLE retention (
    one {int} PRIMARY KEY CHECK (one = 1),
    first_day {int} NOT NULL
) {strict};
INSERT INTO retention (one, first_day) VALUES (1, -1000000);

CREATE TABLE key_uses (
    key_id TEXT PRIMARY KEY,
    uses {int} NOT NULL,
    last_used_us {int} NOT NULL,
    last_used_ip TEXT NOT NULL,
    last_user_agent TEXT NOT NULL
) {strict};

CREATE TABLE resources (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    upstream_id TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    created_us {int} NOT NULL,
    billed_us {int}
) {strict};
CREATE INDEX resources_by_workspace ON resources (workspace_id, kind, created_us, id);
CREATE INDEX resources_unbilled ON resources (created_us, id) WHERE kind = 'batch' AND billed_us IS NULL;

CREATE TABLE checkpoints (
    number {int} PRIMARY KEY,
    at_us {int} NOT NULL,
    body TEXT NOT NULL
) {strict};
