-- What a credential is for: callers' traffic, or asking the provider's account.
ALTER TABLE credentials ADD COLUMN purpose TEXT NOT NULL DEFAULT 'traffic';

-- What went through each credential by UTC day: held against what the provider billed for the same key.
CREATE TABLE credential_days (
    credential_id TEXT NOT NULL,
    utc_day {int} NOT NULL,
    requests {int} NOT NULL,
    estimated {int} NOT NULL,
    input_tokens {int} NOT NULL,
    cache_write_5m_tokens {int} NOT NULL,
    cache_write_1h_tokens {int} NOT NULL,
    cache_read_tokens {int} NOT NULL,
    output_tokens {int} NOT NULL,
    web_search_requests {int} NOT NULL,
    PRIMARY KEY (credential_id, utc_day)
) {strict};
CREATE INDEX credential_days_by_day ON credential_days (utc_day);
