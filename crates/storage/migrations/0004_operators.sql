-- People and machines that administer, their tokens, proofs of their second factor, and requests that wait for a second
-- person.
CREATE TABLE operators (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT operators_name UNIQUE,
    role TEXT NOT NULL,
    workspace_id TEXT REFERENCES workspaces (id),
    password TEXT NOT NULL,
    totp_sealed {blob} NOT NULL,
    totp_step {int} NOT NULL,
    created_us {int} NOT NULL,
    removed_us {int},
    version {int} NOT NULL
) {strict};

CREATE TABLE operator_tokens (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    operator_id TEXT REFERENCES operators (id),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    workspace_id TEXT REFERENCES workspaces (id),
    verbs TEXT NOT NULL,
    mac {blob} NOT NULL,
    pepper_version {int} NOT NULL,
    hint TEXT NOT NULL,
    created_us {int} NOT NULL,
    expires_us {int} NOT NULL,
    last_used_us {int} NOT NULL,
    ended_us {int},
    reviewed_by TEXT,
    reviewed_us {int},
    review_note TEXT,
    version {int} NOT NULL
) {strict};
CREATE INDEX operator_tokens_by_operator ON operator_tokens (operator_id);
CREATE INDEX operator_tokens_by_creation ON operator_tokens (created_us, id);

CREATE TABLE step_ups (
    token_id TEXT NOT NULL,
    action {blob} NOT NULL,
    at_us {int} NOT NULL,
    until_us {int} NOT NULL,
    PRIMARY KEY (token_id, action)
) {strict};

CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    verb TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    if_match TEXT NOT NULL,
    body {blob} NOT NULL,
    digest {blob} NOT NULL,
    workspace_id TEXT,
    requester_id TEXT NOT NULL REFERENCES operators (id),
    requester_name TEXT NOT NULL,
    token_id TEXT NOT NULL,
    created_us {int} NOT NULL,
    expires_us {int} NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT,
    decided_us {int},
    status {int},
    version {int} NOT NULL
) {strict};
CREATE INDEX approvals_by_creation ON approvals (created_us, id);
