//! Signed checkpoints: one signature over the heads of all chains, to be kept outside.
//!
//! A chain alone proves nothing against whoever can rewrite it whole, and hides a cut tail. A checkpoint that is kept
//! elsewhere does not: the store must still lead to every head that it names. Checkpoints are chained themselves.

mod against;
mod merkle;
mod signing;

use serde::{Deserialize, Serialize};

pub use against::{Against, AgainstFault};
pub use merkle::merkle_root;
pub use signing::{CheckpointKey, PublicKey, PublicKeyError};

use crate::{
    audit::{Digest, canonical::Canonical, chain::sha256},
    clock::Timestamp,
};

/// The name of the control chain in a checkpoint.
pub const CONTROL_CHAIN: &str = "control";

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

impl CheckpointHead {
    fn bytes(&self) -> Vec<u8> {
        let Self { chain, length, head } = self;
        let mut out = Canonical::new("claviger/checkpoint-head/v1");
        out.text(chain);
        out.int(*length);
        out.bytes(&head.0);
        out.finish()
    }
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

/// Why a checkpoint is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Its heads are not in order, or one chain stands twice.
    #[error("the checkpoint's heads are not in order")]
    Order,
    /// The root is not that of its heads.
    #[error("the checkpoint's root does not match its heads")]
    Root,
    /// It names another key than the one that is trusted.
    #[error("the checkpoint is signed with another key than the trusted one")]
    OtherKey,
    /// The signature is not by the key that it names.
    #[error("the checkpoint's signature is not valid")]
    Signature,
    /// It does not follow the checkpoint before it.
    #[error("the checkpoint does not follow the one before it")]
    Sequence,
}

impl Checkpoint {
    /// Signs where all chains stand, as the checkpoint after `previous` (`None`: the first).
    #[must_use]
    pub fn sign(
        key: &CheckpointKey,
        previous: Option<&Self>,
        at: Timestamp,
        mut heads: Vec<CheckpointHead>,
    ) -> Self {
        heads.sort_by(|a, b| a.chain.cmp(&b.chain));
        let mut checkpoint = Self {
            number: previous.map_or(1, |p| p.number.saturating_add(1)),
            at,
            root: root_of(&heads),
            heads,
            previous: previous.map_or(Digest::EMPTY, Self::digest),
            public_key: key.public().to_hex(),
            signature: String::new(),
        };
        checkpoint.signature = hex::encode(key.sign(checkpoint.signed_text().as_bytes()));
        checkpoint
    }

    /// The text that is signed: a line a field, the heads by their count and root.
    #[must_use]
    pub fn signed_text(&self) -> String {
        let Self { number, at, heads, root, previous, public_key, signature: _ } = self;
        format!(
            "claviger/checkpoint/v1\nnumber {number}\nat {at}\nheads {count}\nroot {root:?}\nprevious {previous:?}\n\
             key {public_key}\n",
            at = at.as_micros(),
            count = heads.len(),
        )
    }

    /// What the next checkpoint names as `previous`: SHA-256 over the signed text and the signature.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let signature = format!("signature {}\n", self.signature);
        sha256(&[self.signed_text().as_bytes(), signature.as_bytes()])
    }

    /// Whether the checkpoint is whole and signed by this key.
    ///
    /// # Errors
    /// [`CheckpointError`] names the first thing that is wrong.
    pub fn verify(&self, trusted: &PublicKey) -> Result<(), CheckpointError> {
        if !self.heads.is_sorted_by(|a, b| a.chain < b.chain) {
            return Err(CheckpointError::Order);
        }
        if root_of(&self.heads) != self.root {
            return Err(CheckpointError::Root);
        }
        if self.public_key != trusted.to_hex() {
            return Err(CheckpointError::OtherKey);
        }
        let signature = hex::decode(&self.signature).map_err(|_| CheckpointError::Signature)?;
        if hex::encode(&signature) != self.signature {
            return Err(CheckpointError::Signature);
        }
        trusted.verify(self.signed_text().as_bytes(), &signature).map_err(|_| CheckpointError::Signature)
    }

    /// Whether this checkpoint comes right after `previous` (`None`: is the first).
    ///
    /// # Errors
    /// [`CheckpointError::Sequence`].
    pub fn follows(&self, previous: Option<&Self>) -> Result<(), CheckpointError> {
        let expected = previous.map_or((1, Digest::EMPTY), |p| (p.number.saturating_add(1), p.digest()));
        if (self.number, self.previous) == expected { Ok(()) } else { Err(CheckpointError::Sequence) }
    }

    /// Whether chains that now stand at `heads` can have grown from this checkpoint: a quick look at lengths. Heads in
    /// the middle of a chain are proven by [`Against`].
    ///
    /// # Errors
    /// [`AgainstFault`] names the first chain that is missing, shorter, or of the same length with another head.
    pub fn covers(&self, heads: &[CheckpointHead]) -> Result<(), AgainstFault> {
        for then in &self.heads {
            let now = heads.iter().find(|h| h.chain == then.chain);
            let (length, head) = now.map_or((0, Digest::EMPTY), |h| (h.length, h.head));
            if length < then.length {
                return Err(AgainstFault::Cut {
                    chain: then.chain.clone(),
                    expected: then.length,
                    found: length,
                });
            }
            if length == then.length && head != then.head {
                return Err(AgainstFault::Differs { chain: then.chain.clone(), number: then.length });
            }
        }
        Ok(())
    }

    /// How many records of chains that now stand at `heads` lie after this checkpoint: chained, but not yet signed for.
    #[must_use]
    pub fn unproven(&self, heads: &[CheckpointHead]) -> i64 {
        let signed = |chain: &str| self.heads.iter().find(|h| h.chain == chain).map_or(0, |h| h.length);
        heads.iter().map(|h| h.length.saturating_sub(signed(&h.chain)).max(0)).fold(0, i64::saturating_add)
    }
}

/// The Merkle root over heads that are ordered by chain.
#[must_use]
pub fn root_of(heads: &[CheckpointHead]) -> Digest {
    let entries: Vec<Vec<u8>> = heads.iter().map(CheckpointHead::bytes).collect();
    merkle_root(&entries)
}

#[cfg(test)]
mod tests;
