//! What only PostgreSQL needs: the connection and its settings.

use std::{str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Executor,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::Db;
use crate::{
    failure::Failure,
    open::{Durability, OpenError, Options},
};

/// One state of the database for many statements.
pub(crate) const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The store's clock, in microseconds.
pub(crate) const CLOCK: &str =
    "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS now_us";
/// An audit record and its mutation's feed entries (`$6`, a JSON array of kind and id) in one exchange: other writers wait for
/// it.
pub(crate) const APPEND: &str = "\
    WITH written AS (INSERT INTO audit (number, at_us, event, leaf, head) VALUES ($1, $2, $3, $4, $5)), \
    moved AS (UPDATE audit_head SET head = $5 WHERE one = 1), \
    taken AS (UPDATE feed_head SET seq = seq + 1 WHERE one = 1 RETURNING seq), \
    told AS (INSERT INTO changes (seq, ordinal, kind, id) \
             SELECT taken.seq, e.ordinality - 1, e.value ->> 0, e.value ->> 1 \
             FROM taken, jsonb_array_elements(CAST($6 AS JSONB)) WITH ORDINALITY AS e) \
    SELECT seq FROM taken";
/// A group's record, unless another node holds this one to be dead and has closed its chain: the lock makes one of the
/// two wait for the other. (A chain's number stands in the record's id.)
pub(crate) const INSERT_RECORD: &str = "\
    INSERT INTO data_records (id, at_us, row_count, first_row, leaf, head) SELECT $1, $2, $3, $4, $5, $6 \
    FROM (SELECT no FROM data_chains WHERE no = $1 / 1099511627776 AND closed_us IS NULL FOR UPDATE) AS open";
/// What the tokens of a migration stand for.
pub(crate) const TOKENS: [(&str, &str); 4] = [
    ("{int}", "BIGINT"),
    ("{blob}", "BYTEA"),
    ("{strict}", ""),
    ("{credit_entries_stay}", CREDIT_ENTRIES_STAY),
];
/// Whoever changes or deletes what was booked is refused.
const CREDIT_ENTRIES_STAY: &str = "
    CREATE FUNCTION credit_entries_stay() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'entries are only ever added' USING ERRCODE = 'restrict_violation';
    END $$;
    CREATE TRIGGER credit_entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON credit_entries
        FOR EACH STATEMENT EXECUTE FUNCTION credit_entries_stay();";

/// Set after connecting rather than at start-up, because poolers refuse start-up options.
const SESSION: &str = "SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '5s'";
/// A process that dies loses nothing either way; this one loses the last commits with the server's power.
const SESSION_PROCESS: &str = "SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '5s'; \
                               SET synchronous_commit = 'off'";
const ACQUIRE: Duration = Duration::from_secs(5);

/// Connects; TLS as the address says (`sslmode=verify-full` and so on).
pub(crate) async fn open(url: &str, options: &Options) -> Result<Db, OpenError> {
    let connect = PgConnectOptions::from_str(url).map_err(|_| OpenError::Address)?;
    let connect = connect.application_name("claviger").disable_statement_logging();
    let session = match options.durability {
        Durability::Fsync => SESSION,
        Durability::Process => SESSION_PROCESS,
    };
    let pool = PgPoolOptions::new()
        .max_connections(options.server_connections.max(2))
        .acquire_timeout(ACQUIRE)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(sqlx::raw_sql(session)).await.map(drop) })
        })
        .connect_with(connect)
        .await
        .map_err(Failure::from)?;
    Ok(Db::Pg(pool))
}
