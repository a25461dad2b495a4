//! The two engines behind one set of statements: what is sent, what comes back, and transactions.
//!
//! A statement is a constant text that both engines understand; what only one of them can do stands in its own
//! file ([`sqlite`], [`postgres`]).

pub(crate) mod postgres;
pub(crate) mod row;
pub(crate) mod sqlite;

use futures_util::TryStreamExt;
use sqlx::{Executor, PgPool, Postgres, SqlSafeStr, Sqlite, SqlitePool};

use crate::failure::Failure;
pub(crate) use row::{Row, Unreadable, read};

/// An open database.
#[derive(Debug, Clone)]
pub(crate) enum Db {
    /// One file: many readers, one writer.
    Sqlite {
        /// Connections that can only read.
        rd: SqlitePool,
        /// The one connection that writes.
        wr: SqlitePool,
    },
    /// A server.
    Pg(PgPool),
}

/// One bound value.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Int(i64),
    OptInt(Option<i64>),
    Text(String),
    OptText(Option<String>),
    Blob(Vec<u8>),
}

macro_rules! arg_from {
    ($($from:ty => |$value:ident| $arg:expr),+ $(,)?) => {
        $(impl From<$from> for Arg {
            fn from($value: $from) -> Self {
                $arg
            }
        })+
    };
}

arg_from! {
    i64 => |v| Self::Int(v),
    u32 => |v| Self::Int(i64::from(v)),
    bool => |v| Self::Int(i64::from(v)),
    Option<i64> => |v| Self::OptInt(v),
    &str => |v| Self::Text(v.to_owned()),
    String => |v| Self::Text(v),
    Option<&str> => |v| Self::OptText(v.map(str::to_owned)),
    Vec<u8> => |v| Self::Blob(v),
    &[u8] => |v| Self::Blob(v.to_vec()),
    claviger_domain::clock::Timestamp => |v| Self::Int(v.as_micros()),
    Option<claviger_domain::clock::Timestamp> => |v| Self::OptInt(v.map(claviger_domain::clock::Timestamp::as_micros)),
    claviger_domain::audit::Digest => |v| Self::Blob(v.0.to_vec()),
}

/// The values of a statement, in the order of its `$1`, `$2` ….
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::engine::Arg::from($value)),*] };
}
pub(crate) use args;

/// Named statements of one aggregate, and the list of them that a test prepares on both engines.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)+
        /// All of them, by name.
        pub(crate) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}
pub(crate) use statements;

macro_rules! bound {
    ($engine:ty, $sql:expr, $args:expr) => {{
        let mut query = sqlx::query::<$engine>($sql);
        for arg in $args {
            query = match arg {
                Arg::Int(v) => query.bind(v),
                Arg::OptInt(v) => query.bind(v),
                Arg::Text(v) => query.bind(v),
                Arg::OptText(v) => query.bind(v),
                Arg::Blob(v) => query.bind(v),
            };
        }
        query
    }};
}

impl Db {
    /// All rows of a statement that only reads.
    pub async fn rows(&self, sql: &'static str, args: Vec<Arg>) -> Result<Vec<Row>, Failure> {
        Ok(match self {
            Self::Sqlite { rd, .. } => {
                let rows = bound!(Sqlite, sql, args).fetch_all(rd).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Self::Pg(pool) => {
                let rows = bound!(Postgres, sql, args).fetch_all(pool).await?;
                rows.into_iter().map(Row::Pg).collect()
            }
        })
    }

    /// The first row of a statement that only reads.
    pub async fn row(&self, sql: &'static str, args: Vec<Arg>) -> Result<Option<Row>, Failure> {
        Ok(match self {
            Self::Sqlite { rd, .. } => bound!(Sqlite, sql, args).fetch_optional(rd).await?.map(Row::Sqlite),
            Self::Pg(pool) => bound!(Postgres, sql, args).fetch_optional(pool).await?.map(Row::Pg),
        })
    }

    /// Runs one statement that writes, as a transaction of its own.
    pub async fn execute(&self, sql: &'static str, args: Vec<Arg>) -> Result<(), Failure> {
        match self {
            Self::Sqlite { wr, .. } => bound!(Sqlite, sql, args).execute(wr).await.map(drop)?,
            Self::Pg(pool) => bound!(Postgres, sql, args).execute(pool).await.map(drop)?,
        }
        Ok(())
    }

    /// The same, and how many rows it touched.
    pub async fn touch(&self, sql: &'static str, args: Vec<Arg>) -> Result<u64, Failure> {
        Ok(match self {
            Self::Sqlite { wr, .. } => bound!(Sqlite, sql, args).execute(wr).await?.rows_affected(),
            Self::Pg(pool) => bound!(Postgres, sql, args).execute(pool).await?.rows_affected(),
        })
    }

    /// The statement that writes a group in so many lines, where the engine has one.
    pub fn group_statement(&self, lines: usize) -> Option<&'static str> {
        match self {
            Self::Sqlite { .. } => sqlite::group_statement(lines),
            Self::Pg(_) => None,
        }
    }

    /// A transaction that writes.
    pub async fn begin(&self) -> Result<Tx, Failure> {
        Ok(match self {
            Self::Sqlite { wr, .. } => Tx::Sqlite(sqlite::begin_write(wr).await?),
            Self::Pg(pool) => Tx::Pg(pool.begin().await?),
        })
    }

    /// A transaction that reads one state of the database, however many statements it has.
    pub async fn snapshot(&self) -> Result<Tx, Failure> {
        Ok(match self {
            Self::Sqlite { rd, .. } => Tx::Sqlite(rd.begin().await?),
            Self::Pg(pool) => Tx::Pg(pool.begin_with(postgres::BEGIN_SNAPSHOT).await?),
        })
    }

    /// Lets the engine check a statement without running it.
    pub async fn prepare(&self, sql: &'static str) -> Result<(), Failure> {
        match self {
            Self::Sqlite { wr, .. } => wr.prepare(sql.into_sql_str()).await.map(drop)?,
            Self::Pg(pool) => pool.prepare(sql.into_sql_str()).await.map(drop)?,
        }
        Ok(())
    }

    /// The one of two texts that belongs to this engine.
    pub const fn pick<T: Copy>(&self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite { .. } => sqlite,
            Self::Pg(_) => postgres,
        }
    }
}

/// A transaction; dropped without [`Tx::commit`], it is rolled back.
pub(crate) enum Tx {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Pg(sqlx::Transaction<'static, Postgres>),
}

impl Tx {
    /// Writes a group's record; how many, which is none where another node has closed the chain.
    pub async fn insert_record(&mut self, args: Vec<Arg>) -> Result<u64, Failure> {
        let statement = match self {
            Self::Sqlite(_) => crate::chains::INSERT_RECORD,
            Self::Pg(_) => postgres::INSERT_RECORD,
        };
        self.execute(statement, args).await
    }

    /// Whether several nodes can share the database.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Pg(_))
    }

    /// The store's clock.
    pub async fn now(&mut self) -> Result<claviger_domain::clock::Timestamp, Failure> {
        let statement = if self.is_shared() { postgres::CLOCK } else { sqlite::CLOCK };
        let row = self.row(statement, args![]).await?;
        let row = row.ok_or_else(|| {
            claviger_domain::ports::StoreError::Unavailable("the database has no clock".to_owned())
        })?;
        Ok(read("clock", &row, |row| row.time("now_us"))?)
    }

    /// Runs a statement; the number of rows that it touched.
    pub async fn execute(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<u64, Failure> {
        Ok(match self {
            Self::Sqlite(tx) => bound!(Sqlite, sql, args).execute(&mut **tx).await?.rows_affected(),
            Self::Pg(tx) => bound!(Postgres, sql, args).execute(&mut **tx).await?.rows_affected(),
        })
    }

    /// The first row of a statement.
    pub async fn row(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<Option<Row>, Failure> {
        Ok(match self {
            Self::Sqlite(tx) => bound!(Sqlite, sql, args).fetch_optional(&mut **tx).await?.map(Row::Sqlite),
            Self::Pg(tx) => bound!(Postgres, sql, args).fetch_optional(&mut **tx).await?.map(Row::Pg),
        })
    }

    /// All rows of a statement whose answer is known to be small.
    pub async fn rows(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        self.each(sql, args, |row| {
            rows.push(row);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Hands each row to `take` as it arrives, so that large answers are never held whole.
    pub async fn each(
        &mut self,
        sql: &'static str,
        args: Vec<Arg>,
        mut take: impl FnMut(Row) -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        match self {
            Self::Sqlite(tx) => {
                let mut rows = bound!(Sqlite, sql, args).fetch(&mut **tx);
                while let Some(row) = rows.try_next().await? {
                    take(Row::Sqlite(row))?;
                }
            }
            Self::Pg(tx) => {
                let mut rows = bound!(Postgres, sql, args).fetch(&mut **tx);
                while let Some(row) = rows.try_next().await? {
                    take(Row::Pg(row))?;
                }
            }
        }
        Ok(())
    }

    /// The statement that writes an audit record and a mutation's feed entries together, where the engine has one.
    pub const fn append_statement(&self) -> Option<&'static str> {
        match self {
            Self::Sqlite(_) => None,
            Self::Pg(_) => Some(postgres::APPEND),
        }
    }

    /// Makes it durable.
    pub async fn commit(self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Pg(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
