//! One row of an answer, of either engine.

use claviger_domain::{audit::Digest, clock::Timestamp, ports::StoreError};
use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

/// A row that came back.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Pg(PgRow),
}

/// A stored value is not what it should be; names the column, never the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be read")]
pub(crate) struct Unreadable(pub &'static str);

macro_rules! getters {
    ($($name:ident -> $type:ty),+ $(,)?) => {
        $(pub fn $name(&self, column: &'static str) -> Result<$type, Unreadable> {
            match self {
                Self::Sqlite(row) => row.try_get(column),
                Self::Pg(row) => row.try_get(column),
            }
            .map_err(|_| Unreadable(column))
        })+
    };
}

impl Row {
    getters! {
        int -> i64,
        opt_int -> Option<i64>,
        text -> &str,
        opt_text -> Option<&str>,
        blob -> &[u8],
    }

    /// A moment.
    pub fn time(&self, column: &'static str) -> Result<Timestamp, Unreadable> {
        self.int(column).map(Timestamp::from_micros)
    }

    /// A moment, if there is one.
    pub fn opt_time(&self, column: &'static str) -> Result<Option<Timestamp>, Unreadable> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }

    /// Thirty-two bytes.
    pub fn digest(&self, column: &'static str) -> Result<Digest, Unreadable> {
        self.blob(column)?.try_into().map(Digest).map_err(|_| Unreadable(column))
    }

    /// A word or an id, by its reader.
    pub fn parsed<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Unreadable> {
        parse(self.text(column)?).ok_or(Unreadable(column))
    }

    /// The row's id for error messages.
    fn name(&self) -> String {
        self.text("id")
            .map(str::to_owned)
            .or_else(|_| self.int("id").map(|n| n.to_string()))
            .unwrap_or_default()
    }
}

/// Reads a row as a record; what cannot be read is reported with its table and id.
pub(crate) fn read<T>(
    table: &'static str,
    row: &Row,
    record: impl FnOnce(&Row) -> Result<T, Unreadable>,
) -> Result<T, StoreError> {
    record(row).map_err(|why| StoreError::Corrupt { table, id: row.name(), why: why.to_string() })
}
