-- Requests with an Idempotency-Key. made: what was committed of it. status and sealed: what was answered; an empty
-- body is one that is not kept, because it held a secret.
CREATE TABLE idempotency (
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    request {blob} NOT NULL,
    request_id TEXT NOT NULL CONSTRAINT idempotency_request UNIQUE,
    at_us {int} NOT NULL,
    made TEXT,
    status {int},
    sealed {blob},
    PRIMARY KEY (principal, key)
) {strict};
CREATE INDEX idempotency_by_time ON idempotency (at_us);

-- Lists of one owner's or workspace's keys, in pages by creation.
DROP INDEX api_keys_by_owner;
DROP INDEX api_keys_by_workspace;
CREATE INDEX api_keys_by_owner ON api_keys (owner_id, created_us, id);
CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, created_us, id);
