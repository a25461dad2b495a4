-- Policies (id: a workspace's, or empty for the default), rotations of client keys, wrapped deliveries, certificates.
CREATE TABLE policies (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    updated_us {int} NOT NULL,
    version {int} NOT NULL
) {strict};

CREATE TABLE rotations (
    id TEXT PRIMARY KEY,
    old_key_id TEXT NOT NULL REFERENCES api_keys (id),
    successor_id TEXT NOT NULL REFERENCES api_keys (id),
    owner_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    overlap_secs {int} NOT NULL,
    started_us {int} NOT NULL,
    delivered_us {int},
    activated_us {int},
    retiring_us {int},
    ended_us {int},
    version {int} NOT NULL
) {strict};
-- One open rotation a key, whichever of the two it is.
CREATE UNIQUE INDEX rotations_open_old ON rotations (old_key_id) WHERE ended_us IS NULL;
CREATE UNIQUE INDEX rotations_open_successor ON rotations (successor_id) WHERE ended_us IS NULL;
CREATE INDEX rotations_by_start ON rotations (started_us, id);
CREATE INDEX rotations_by_old ON rotations (old_key_id);
CREATE INDEX rotations_by_successor ON rotations (successor_id);

CREATE TABLE wrappings (
    id TEXT PRIMARY KEY,
    mac {blob} NOT NULL,
    pepper_version {int} NOT NULL,
    key_id TEXT NOT NULL REFERENCES api_keys (id),
    sealed {blob} NOT NULL,
    created_us {int} NOT NULL,
    expires_us {int} NOT NULL,
    opened_us {int},
    opened_ip TEXT,
    version {int} NOT NULL
) {strict};
CREATE INDEX wrappings_by_key ON wrappings (key_id);

CREATE TABLE certificates (
    id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL CONSTRAINT certificates_key UNIQUE REFERENCES api_keys (id),
    created_us {int} NOT NULL,
    body TEXT NOT NULL
) {strict};
CREATE INDEX certificates_by_creation ON certificates (created_us, id);
-- Revoked keys are looked through for those that have no certificate yet.
CREATE INDEX api_keys_revoked ON api_keys (revoked_us) WHERE revoked_us IS NOT NULL;
