-- Keys that sign access tokens. At most one signs, at most one waits to.
CREATE TABLE token_keys (
    kid TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL,
    public_jwk TEXT NOT NULL,
    sealed {blob} NOT NULL,
    state TEXT NOT NULL,
    published_us {int} NOT NULL,
    active_us {int},
    retiring_us {int},
    version {int} NOT NULL
) {strict};
CREATE UNIQUE INDEX token_keys_one ON token_keys (state) WHERE state IN ('next', 'active');

-- Families of refresh tokens, of which each works once.
CREATE TABLE token_families (
    id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    scopes {int} NOT NULL,
    confirmation TEXT NOT NULL,
    generation {int} NOT NULL,
    created_us {int} NOT NULL,
    expires_us {int} NOT NULL,
    idle_us {int} NOT NULL,
    used_us {int} NOT NULL,
    replay_place {blob} NOT NULL,
    replay_sealed {blob} NOT NULL,
    replay_us {int},
    ended_us {int},
    end_reason TEXT,
    version {int} NOT NULL
) {strict};
CREATE INDEX token_families_by_key ON token_families (key_id, used_us);
CREATE INDEX token_families_by_end ON token_families (expires_us);

-- Every refresh token of a family, spent ones too: that one was spent must be known as long as the family is.
CREATE TABLE refresh_tokens (
    id TEXT PRIMARY KEY,
    family_id TEXT NOT NULL,
    generation {int} NOT NULL,
    mac {blob} NOT NULL,
    pepper_version {int} NOT NULL
) {strict};
-- No token has two successors.
CREATE UNIQUE INDEX refresh_tokens_one ON refresh_tokens (family_id, generation);

-- Access tokens that are refused although they have not expired: of a token, a family or a key, signed before a moment.
CREATE TABLE token_denials (
    subject TEXT PRIMARY KEY,
    min_iat_us {int} NOT NULL,
    until_us {int} NOT NULL
) {strict};
CREATE INDEX token_denials_by_end ON token_denials (until_us);
