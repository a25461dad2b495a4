//! Signed checkpoints: one signature over the heads of all chains, to be kept outside.

use serde::{Deserialize, Serialize};

use crate::{audit::Digest, clock::Timestamp};

/// Where one chain stood when the checkpoint was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointHead {
    /// `control`, or a data chain's node id.
    pub chain: String,
    /// Its length.
    pub length: i64,
    /// Its head.
    pub head: Digest,
}

/// A signed statement of where all chains stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its number, from 1.
    pub number: i64,
    /// When it was signed.
    pub at: Timestamp,
    /// The heads, ordered by chain.
    pub heads: Vec<CheckpointHead>,
    /// The Merkle root over the heads (RFC 6962 hashing).
    pub root: Digest,
    /// The digest of the checkpoint before it.
    pub previous: Digest,
    /// The Ed25519 public key, hex.
    pub public_key: String,
    /// The Ed25519 signature over the canonical text, hex.
    pub signature: String,
}
