//! Inserts of many rows in one statement. There are only a few sizes, so that each is prepared once and stays.

use std::{fmt::Write, sync::OnceLock};

use crate::{
    engine::{Arg, Row, Tx},
    failure::Failure,
};

/// Rows in one statement, largest first.
pub(crate) const SIZES: [usize; 4] = [64, 16, 4, 1];

/// `INSERT … VALUES (…), (…) …` for each of the sizes.
#[derive(Debug)]
pub(crate) struct Bulk {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    sqlite: OnceLock<[String; SIZES.len()]>,
    postgres: OnceLock<[String; SIZES.len()]>,
}

impl Bulk {
    /// `head` goes up to and with `VALUES `; `tail` follows the rows.
    pub const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self { head, columns, tail, sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    /// The texts for SQLite. They have `?` where those for PostgreSQL have `$1`: SQLite looks a name up in a list
    /// for each value that is bound, which makes large statements quadratic.
    pub fn sqlite(&'static self) -> &'static [String; SIZES.len()] {
        self.sqlite.get_or_init(|| SIZES.map(|rows| self.sqlite_text(rows)))
    }

    /// The text for SQLite and any number of rows.
    pub fn sqlite_text(&self, rows: usize) -> String {
        self.text(rows, |_| "?".to_owned())
    }

    /// The texts for PostgreSQL.
    pub fn postgres(&'static self) -> &'static [String; SIZES.len()] {
        self.postgres.get_or_init(|| SIZES.map(|rows| self.text(rows, |n| format!("${n}"))))
    }

    fn text(&self, rows: usize, placeholder: impl Fn(usize) -> String) -> String {
        let mut text = self.head.to_owned();
        for row in 0..rows {
            let names: Vec<_> = (1..=self.columns).map(|n| placeholder(row * self.columns + n)).collect();
            // Writing to a String cannot fail.
            let _ = write!(text, "{}({})", if row == 0 { "" } else { ", " }, names.join(", "));
        }
        text.push_str(self.tail);
        text
    }

    /// Inserts rows whose values stand one after the other.
    pub async fn execute(&'static self, tx: &mut Tx, values: Vec<Arg>) -> Result<(), Failure> {
        for (statement, values) in self.statements(tx, values) {
            tx.execute(statement, values).await?;
        }
        Ok(())
    }

    /// Likewise, with what the statements give back.
    pub async fn rows(&'static self, tx: &mut Tx, values: Vec<Arg>) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for (statement, values) in self.statements(tx, values) {
            rows.extend(tx.rows(statement, values).await?);
        }
        Ok(rows)
    }

    /// As few statements as the sizes allow.
    fn statements(&'static self, tx: &Tx, mut values: Vec<Arg>) -> Vec<(&'static str, Vec<Arg>)> {
        let texts = match tx {
            Tx::Sqlite(_) => self.sqlite(),
            Tx::Pg(_) => self.postgres(),
        };
        let mut statements = Vec::new();
        for (size, text) in SIZES.into_iter().zip(texts) {
            let width = size * self.columns;
            while values.len() >= width {
                let rest = values.split_off(width);
                statements.push((text.as_str(), std::mem::replace(&mut values, rest)));
            }
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PAIRS: Bulk = Bulk::new("INSERT INTO t (a, b) VALUES ", 2, " RETURNING a");

    #[test]
    fn each_size_has_as_many_rows() {
        assert_eq!(PAIRS.sqlite()[3], "INSERT INTO t (a, b) VALUES (?, ?) RETURNING a");
        assert_eq!(
            PAIRS.postgres()[2],
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4), ($5, $6), ($7, $8) RETURNING a"
        );
    }
}
