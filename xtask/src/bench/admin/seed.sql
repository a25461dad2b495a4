-- Copies one key until there are so many (:keys), over 100 owners. For psql.
CREATE FUNCTION pg_temp.copy(target regclass, changed jsonb, many bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    listed text;
    chosen text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum),
           string_agg(coalesce(changed ->> attname, 't.' || quote_ident(attname)), ', ' ORDER BY attnum)
    INTO listed, chosen
    FROM pg_attribute WHERE attrelid = target AND attnum > 0 AND NOT attisdropped;
    EXECUTE format(
        'INSERT INTO %s (%s) SELECT %s FROM generate_series(1, %s) n, (SELECT * FROM %s ORDER BY created_us LIMIT 1) t',
        target, listed, chosen, many, target
    );
END $$;
SELECT pg_temp.copy('owners', '{"id": "''own_'' || lpad(n::text, 10, ''0'')", "name": "''owner '' || n"}', 100);
SELECT pg_temp.copy('api_keys', '{
    "id": "''key_'' || lpad(n::text, 10, ''0'')",
    "lineage": "''key_'' || lpad(n::text, 10, ''0'')",
    "created_us": "t.created_us + n",
    "owner_id": "''own_'' || lpad((1 + n % 100)::text, 10, ''0'')"
}', :keys);
ANALYZE;
