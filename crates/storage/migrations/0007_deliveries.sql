-- Deliveries that still hold their key, for those that have lapsed to be emptied.
CREATE INDEX wrappings_sealed ON wrappings (expires_us) WHERE length(sealed) > 0;
