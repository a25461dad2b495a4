-- What the life of a key needs beyond its birth: its line of successors, the key that minted it, and where on the
-- ladder of deprecation it stands (JSON).
ALTER TABLE api_keys ADD COLUMN lineage TEXT NOT NULL DEFAULT '';
UPDATE api_keys SET lineage = id;
ALTER TABLE api_keys ADD COLUMN parent_id TEXT;
ALTER TABLE api_keys ADD COLUMN deprecation TEXT;
CREATE INDEX api_keys_by_lineage ON api_keys (lineage);
CREATE INDEX api_keys_by_parent ON api_keys (parent_id) WHERE parent_id IS NOT NULL;
