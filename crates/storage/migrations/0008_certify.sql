-- Revoked keys that have no certificate yet, and where their revocation stands in feed and audit log: written with
-- the revocation, gone with the certificate.
CREATE TABLE uncertified (
    key_id TEXT PRIMARY KEY REFERENCES api_keys (id),
    seq {int} NOT NULL,
    audit_number {int} NOT NULL
) {strict};
DROP INDEX api_keys_revoked;
