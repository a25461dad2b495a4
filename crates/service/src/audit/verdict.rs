//! Verifying a whole log.

use claviger_domain::audit::checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};

use super::{AuditReader, ReadError, follow::Follower};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How many records were found good, over all chains.
    pub records: u64,
    /// The Merkle root over the heads of all chains that the records lead to, hex.
    pub head: String,
    /// How many records lie after the newest checkpoint: chained, but not signed for.
    pub unproven: u64,
    /// Whether everything held.
    pub ok: bool,
    /// The first thing that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad: Option<BadRecord>,
}

/// The first record that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRecord {
    /// `control`, a data chain's node id, `checkpoint` or `daily totals`.
    pub chain: String,
    /// Its number in the chain.
    pub number: i64,
    /// What is wrong.
    pub why: String,
}

/// Verifies a log: every record of every chain, every ledger row, the daily totals of rows that are still kept, the newest checkpoint, and with `against` that the
/// log still leads to a checkpoint that was kept elsewhere.
///
/// # Errors
/// [`ReadError`] when the log cannot be read at all; what is wrong *in* it is the verdict.
pub async fn verify<R: AuditReader + ?Sized>(
    reader: &mut R,
    against: Option<&Checkpoint>,
) -> Result<Verdict, ReadError> {
    let mut follower = Follower::new();
    let outcome = read_all(reader, against, &mut follower).await?;
    Ok(follower.verdict(outcome.err()))
}

async fn read_all<R: AuditReader + ?Sized>(
    reader: &mut R,
    against: Option<&Checkpoint>,
    follower: &mut Follower,
) -> Result<Result<(), BadRecord>, ReadError> {
    if let Some(checkpoint) = against
        && let Err(bad) = follower.hold_against(checkpoint)
    {
        return Ok(Err(bad));
    }
    loop {
        let line = match reader.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(follower.finish()),
            Err(ReadError::Unreadable(why)) => return Ok(Err(follower.next_is_bad(why))),
            Err(error @ (ReadError::Store(_) | ReadError::Io(_))) => return Err(error),
        };
        if let Err(bad) = follower.line(&line) {
            return Ok(Err(bad));
        }
    }
}
