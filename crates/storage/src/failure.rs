//! What can go wrong in an engine, and what of it the callers are told. No message ever holds a value.

use claviger_domain::ports::StoreError;

/// A failed statement, before it is known what it means to the caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A unique name or id is taken.
    #[error("a unique value is taken")]
    Unique,
    /// The row that is referred to does not exist.
    #[error("a row that is referred to does not exist")]
    Reference,
    /// The engine chose this transaction as the one to give way; it may be tried again at once.
    #[error("the transaction had to give way")]
    GiveWay,
    /// Everything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure {
    /// The caller's error; a collision is named `what`.
    pub fn conflict(self, what: &'static str) -> StoreError {
        match self {
            Self::Unique | Self::Reference => StoreError::Conflict { what },
            Self::GiveWay => {
                StoreError::Unavailable("the database is busy: concurrent changes collided".to_owned())
            }
            Self::Store(error) => error,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.conflict("row")
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else { return Self::Store(transport(&error)) };
        if database.is_unique_violation() {
            return Self::Unique;
        }
        if database.is_foreign_key_violation() {
            return Self::Reference;
        }
        let code = database.code().unwrap_or_default();
        let postgres = database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some();
        if postgres { postgres_failure(&code) } else { sqlite_failure(&code) }
    }
}

/// Errors that no database answered: the way to it is broken.
#[expect(clippy::wildcard_enum_match_arm, reason = "the driver's list of errors may grow")]
fn transport(error: &sqlx::Error) -> StoreError {
    let unavailable = |text: &str| StoreError::Unavailable(text.to_owned());
    match error {
        sqlx::Error::Io(io) => StoreError::Unavailable(format!("connection failed: {}", io.kind())),
        sqlx::Error::Encode(_) => StoreError::Refused { code: "not encodable".to_owned() },
        sqlx::Error::Tls(_) => unavailable("the TLS connection to the database failed"),
        sqlx::Error::PoolTimedOut => unavailable("no database connection became free in time"),
        sqlx::Error::PoolClosed => unavailable("the database is closed"),
        sqlx::Error::WorkerCrashed => unavailable("the database thread has ended"),
        sqlx::Error::Protocol(_) => unavailable("the database connection broke off"),
        _ => unavailable("the database driver failed"),
    }
}

/// A row id is taken.
const SQLITE_CONSTRAINT_ROWID: i64 = 2579;

/// By primary result code; the extended code has it in its low byte (<https://sqlite.org/rescode.html>).
fn sqlite_failure(code: &str) -> Failure {
    let extended: i64 = code.parse().unwrap_or(1);
    if extended == SQLITE_CONSTRAINT_ROWID {
        return Failure::Unique;
    }
    let why = match extended & 0xff {
        3 | 23 => "access to the database file is denied",
        5 | 6 => "the database is locked by another process",
        7 => "out of memory",
        8 => "the database is read-only",
        10 => "reading or writing the database file failed",
        13 => "the disk is full",
        14 => "the database file cannot be opened",
        11 | 26 => return damaged(extended),
        // Too big, a constraint, a type that does not fit, a value out of range.
        18 | 19 | 20 | 25 => {
            return Failure::Store(StoreError::Refused { code: format!("SQLite code {extended}") });
        }
        _ => return Failure::Store(StoreError::Unavailable(format!("SQLite answered with code {extended}"))),
    };
    Failure::Store(StoreError::Unavailable(format!("{why} (SQLite code {extended})")))
}

fn damaged(code: i64) -> Failure {
    Failure::Store(StoreError::Corrupt {
        table: "database",
        id: String::new(),
        why: format!("the file is damaged or is not a database (SQLite code {code})"),
    })
}

/// By SQLSTATE (PostgreSQL manual, appendix A).
fn postgres_failure(code: &str) -> Failure {
    let why = match code {
        "40001" | "40P01" => return Failure::GiveWay,
        "55P03" => "a lock was not granted in time",
        "25P03" => "the transaction was idle for too long",
        "25006" => "the server is read-only",
        "57P01" | "57P02" | "57P03" => "the server is shutting down or starting up",
        "28000" | "28P01" => "the server refused the login",
        "3D000" => "the database does not exist",
        "42501" => "the login has no right to do this",
        // A value, a constraint, or a limit of the server stands against it.
        _ if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
            return Failure::Store(StoreError::Refused { code: format!("SQLSTATE {code}") });
        }
        _ if code.starts_with("08") => "the connection failed",
        _ if code.starts_with("53") => "the server is out of resources",
        _ => "the server refused a statement",
    };
    Failure::Store(StoreError::Unavailable(format!("{why} (SQLSTATE {code})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_can_never_be_stored_is_told_from_a_store_that_is_away() {
        for code in ["19", "275", "1299", "1811", "3091", "20", "18", "25"] {
            let refused = sqlite_failure(code);
            assert!(matches!(refused, Failure::Store(StoreError::Refused { .. })), "{code}");
        }
        for code in ["22021", "22003", "23514", "23502", "54000"] {
            let refused = postgres_failure(code);
            assert!(matches!(refused, Failure::Store(StoreError::Refused { .. })), "{code}");
        }
        assert!(matches!(sqlite_failure("2579"), Failure::Unique));
        for code in ["53100", "08006", "57014", "42P01"] {
            assert!(matches!(postgres_failure(code), Failure::Store(StoreError::Unavailable(_))), "{code}");
        }
    }

    #[test]
    fn a_full_disk_and_a_lock_are_unavailability_and_damage_is_not() {
        for code in ["13", "5", "10", "3338"] {
            assert!(matches!(sqlite_failure(code), Failure::Store(StoreError::Unavailable(_))), "{code}");
        }
        assert!(matches!(sqlite_failure("11"), Failure::Store(StoreError::Corrupt { .. })));
        assert!(matches!(postgres_failure("55P03"), Failure::Store(StoreError::Unavailable(_))));
        assert!(matches!(postgres_failure("40P01"), Failure::GiveWay));
    }
}
