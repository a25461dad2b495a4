-- What signatures of requests are verified with: sealed secrets, and holders' public keys.
CREATE TABLE signing_secrets (
    id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES api_keys (id),
    kind TEXT NOT NULL,
    material {blob} NOT NULL,
    hint TEXT NOT NULL,
    created_us {int} NOT NULL,
    valid_from_us {int} NOT NULL,
    until_us {int},
    version {int} NOT NULL
) {strict};
CREATE INDEX signing_by_key ON signing_secrets (key_id, valid_from_us);
-- Of secrets and of public keys there is one each that has no successor.
CREATE UNIQUE INDEX signing_open ON signing_secrets (key_id, kind) WHERE until_us IS NULL;
CREATE INDEX signing_begun ON signing_secrets (valid_from_us) WHERE until_us IS NULL;
CREATE INDEX signing_ends ON signing_secrets (until_us) WHERE until_us IS NOT NULL;

-- Nonces of signed requests, by the minute in which they may be forgotten.
CREATE TABLE nonces (
    key_id TEXT NOT NULL,
    nonce {blob} NOT NULL,
    minute {int} NOT NULL,
    PRIMARY KEY (key_id, nonce)
) {strict};
CREATE INDEX nonces_by_minute ON nonces (minute);
-- Which memory that is, when part of it was lost at the latest, and up to which minute it was forgotten.
CREATE TABLE nonce_memory (
    id {int} PRIMARY KEY,
    mark TEXT NOT NULL,
    lost_secs {int} NOT NULL,
    forgotten_minute {int} NOT NULL
) {strict};
