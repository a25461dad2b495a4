//! The audit record: events, leaves, chains, and signed checkpoints over the heads of all chains.
//!
//! A leaf is `SHA-256(0x00 ‖ canonical)`, a link `SHA-256(0x01 ‖ previous ‖ number ‖ leaf)`. There is one control chain
//! for whatever changes anything, and one data chain per node incarnation, whose leaves are the hashes of group commits.

pub mod canonical;
pub mod chain;
pub mod checkpoint;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A SHA-256 digest. Public: it may be printed and compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The head of an empty chain.
    pub const EMPTY: Self = Self([0; 32]);

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.0.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
        digest
    }

    /// Lower-case hex.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Reads lower- or upper-case hex.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hex digits"))
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// Someone on this machine, through the local socket.
    Local {
        /// Their user id.
        uid: u32,
        /// Their process.
        pid: i32,
    },
    /// The program itself.
    System,
    /// Someone who administers, proved by a session or token.
    Operator {
        /// The operator's id.
        id: String,
        /// Their name.
        name: String,
    },
    /// Someone who proved a key.
    Key {
        /// The key's id.
        id: String,
    },
    /// Someone who proved nothing.
    Anonymous,
}

/// Something that happened and must be known later (row A4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What was done: `key.create`, `audit.chain.open`, `auth.refused` …
    pub action: String,
    /// To what: an id, or empty.
    pub target: String,
    /// `ok`, or the reason of a refusal.
    pub outcome: String,
    /// The key concerned, or empty.
    pub key: String,
    /// Method and path when it came by HTTP, else empty.
    pub api_endpoint: String,
    /// The request, or empty.
    pub request_id: String,
    /// The client's address, or empty.
    pub client_ip: String,
    /// The scopes in force, or empty.
    pub token_scope: String,
    /// The client's program, or empty.
    pub user_agent: String,
    /// What else is worth knowing: no secrets, ever. An object with sorted names.
    pub details: serde_json::Map<String, serde_json::Value>,
}

impl AuditEvent {
    /// An event with what every event has; the rest is empty and may be filled in.
    #[must_use]
    pub fn new(at: Timestamp, actor: Actor, action: &str, target: &str) -> Self {
        Self {
            at,
            actor,
            action: action.to_owned(),
            target: target.to_owned(),
            outcome: "ok".to_owned(),
            key: String::new(),
            api_endpoint: String::new(),
            request_id: String::new(),
            client_ip: String::new(),
            token_scope: String::new(),
            user_agent: String::new(),
            details: serde_json::Map::new(),
        }
    }

    /// The event with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// One record of the control chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its number in the chain, from 1, without gaps.
    pub number: i64,
    /// What happened.
    pub event: AuditEvent,
    /// The hash of the canonical event.
    pub leaf: Digest,
    /// The chain's head after it.
    pub head: Digest,
}

/// One group commit as the data chain keeps it; its rows may be gone, its leaf stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// The chain.
    pub chain: crate::id::NodeId,
    /// Its number in the chain, from 1, without gaps.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// How many ledger rows it had.
    pub rows: i64,
    /// The hash over them.
    pub leaf: Digest,
    /// The chain's head after it.
    pub head: Digest,
}
