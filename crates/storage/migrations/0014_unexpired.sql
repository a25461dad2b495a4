-- Keys that live, by the end of their life: the daily check reads these and no dead ones. Those without an end come last.
DROP INDEX api_keys_by_expiry;
CREATE INDEX api_keys_unexpired ON api_keys (expires_us, id)
    WHERE state IN ('active', 'suspended') AND parent_id IS NULL;
