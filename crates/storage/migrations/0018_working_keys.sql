-- How many keys work now is counted often, and there may be a million.
CREATE INDEX api_keys_working ON api_keys (expires_us, not_before_us) WHERE state = 'active';
