-- Issuers of other platforms' identities.
CREATE TABLE issuers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    issuer TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    created_us {int} NOT NULL,
    version {int} NOT NULL
) {strict};

-- Rules that trust some of them, each with the key whose children it gives out.
CREATE TABLE trust_rules (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    key_id TEXT NOT NULL REFERENCES api_keys (id),
    workspace_id TEXT NOT NULL,
    terms TEXT NOT NULL,
    created_us {int} NOT NULL,
    version {int} NOT NULL
) {strict};

-- Tokens that were used: each buys once.
CREATE TABLE used_assertions (
    mark {blob} PRIMARY KEY,
    until_us {int} NOT NULL
) {strict};
CREATE INDEX used_assertions_by_end ON used_assertions (until_us);
