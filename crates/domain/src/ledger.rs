//! The ledger: one row for every call that was sent, and the intent that was written before its answer left.

#[cfg(test)]
pub(crate) mod sample;

use serde::{Deserialize, Serialize};

use crate::{
    budget::Charge,
    clock::Timestamp,
    id::{CredentialId, IntentId, KeyId, NodeId, OwnerId, RequestId, UpstreamId, WorkspaceId},
    money::PicoUsd,
    permission::Endpoint,
    signature::SignedBy,
    token::KeyClass,
};

/// Tokens and server-tool calls by class, as billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageCounts {
    /// Uncached input tokens.
    pub input_tokens: u64,
    /// Tokens written to the 5-minute cache.
    pub cache_write_5m_tokens: u64,
    /// Tokens written to the 1-hour cache.
    pub cache_write_1h_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Output tokens, thinking included.
    pub output_tokens: u64,
    /// Web searches.
    pub web_search_requests: u64,
}

impl UsageCounts {
    /// Both together; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cache_write_5m_tokens: self.cache_write_5m_tokens.saturating_add(other.cache_write_5m_tokens),
            cache_write_1h_tokens: self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            web_search_requests: self.web_search_requests.saturating_add(other.web_search_requests),
        }
    }

    /// What it has of each class more than `other`.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(other.input_tokens),
            cache_write_5m_tokens: self.cache_write_5m_tokens.saturating_sub(other.cache_write_5m_tokens),
            cache_write_1h_tokens: self.cache_write_1h_tokens.saturating_sub(other.cache_write_1h_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_sub(other.cache_read_tokens),
            output_tokens: self.output_tokens.saturating_sub(other.output_tokens),
            web_search_requests: self.web_search_requests.saturating_sub(other.web_search_requests),
        }
    }

    /// Tokens that went in, from or to the cache or past it.
    #[must_use]
    pub const fn all_input_tokens(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_write_5m_tokens)
            .saturating_add(self.cache_write_1h_tokens)
            .saturating_add(self.cache_read_tokens)
    }

    /// Tokens that went in or came out.
    #[must_use]
    pub const fn all_tokens(&self) -> u64 {
        self.all_input_tokens().saturating_add(self.output_tokens)
    }
}

/// How a recorded request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer was relayed to its end.
    Completed,
    /// The upstream answered with an error, which was passed on.
    UpstreamError,
    /// No answer could be had from the upstream.
    Unreachable,
    /// The upstream broke off in the middle.
    UpstreamCut,
    /// The client went away in the middle.
    ClientGone,
    /// We cut the stream: the key was revoked or a limit reached.
    Cut,
    /// We refused an authenticated caller; nothing was sent.
    Refused,
    /// The node died with the call in flight: charged at its reservation.
    Unknown,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Completed,
        Self::UpstreamError,
        Self::Unreachable,
        Self::UpstreamCut,
        Self::ClientGone,
        Self::Cut,
        Self::Refused,
        Self::Unknown,
    ];

    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::UpstreamError => "upstream_error",
            Self::Unreachable => "unreachable",
            Self::UpstreamCut => "upstream_cut",
            Self::ClientGone => "client_gone",
            Self::Cut => "cut",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// The reverse of [`Outcome::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.as_str() == text)
    }
}

/// Marks on a ledger row, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowFlags(pub u32);

impl RowFlags {
    /// The answer was streamed.
    pub const STREAM: Self = Self(1);
    /// The output was estimated, because the stream was cut.
    pub const ESTIMATED: Self = Self(1 << 1);
    /// The model is not in the price table: priced at the dearest row.
    pub const UNKNOWN_MODEL: Self = Self(1 << 2);
    /// Fast mode.
    pub const FAST: Self = Self(1 << 3);
    /// Surcharged for its geography.
    pub const GEO: Self = Self(1 << 4);
    /// An item of a message batch.
    pub const BATCH: Self = Self(1 << 5);
    /// Answered by the simulator: unpriced.
    pub const SIMULATED: Self = Self(1 << 6);
    /// Usage could not be read (an unasked content coding): charged at the worst case.
    pub const UNREADABLE: Self = Self(1 << 7);
    /// Answered out of the response cache: nothing was sent, nothing is used, and it costs nothing.
    pub const RECALLED: Self = Self(1 << 8);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all marks of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Whose request it is: the part of a row that stays the same from intent to settlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The key.
    pub key: KeyId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its owner.
    pub owner: OwnerId,
    /// Live or test.
    pub class: KeyClass,
}

/// Of an answer out of the response cache: whose it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// The request by whose call it was made.
    pub call: RequestId,
    /// What that call cost, and this one did not.
    pub saved: PicoUsd,
}

/// Where a call went; nowhere, if its answer came out of the response cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The upstream; `None`: the built-in simulator.
    pub upstream: Option<UpstreamId>,
    /// The credential; `None`: the built-in simulator.
    pub credential: Option<CredentialId>,
}

/// Which item of which batch a row bills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchItem {
    /// The provider's batch id.
    pub batch: String,
    /// The item's id, unique in its batch.
    pub custom_id: String,
}

/// One request, as kept (row A4). Written once, in the group commit before its last byte leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The id that the client saw in `request-id`.
    pub request_id: RequestId,
    /// The intent that this row settles; `None`: nothing was sent, or a batch item.
    pub intent: Option<IntentId>,
    /// Whose it is.
    pub party: Party,
    /// Where it went.
    pub route: Route,
    /// The batch item that it bills.
    pub batch: Option<BatchItem>,
    /// When the request arrived.
    pub at: Timestamp,
    /// Which group of routes.
    pub endpoint: Endpoint,
    /// Method and path without its query, at most 200 bytes.
    pub api_endpoint: String,
    /// The model that was billed, or asked for when nothing was; empty: none.
    pub model: String,
    /// The status the client got; 0: none.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Marks.
    pub flags: RowFlags,
    /// What was used.
    pub usage: UsageCounts,
    /// What it costs.
    pub cost: PicoUsd,
    /// How many calls were sent for it.
    pub attempts: u32,
    /// The upstream's own id of the answer, at most 64 bytes.
    pub upstream_request_id: Option<String>,
    /// From arrival to the first byte of the answer, in microseconds.
    pub first_byte_us: i64,
    /// From arrival to the end, in microseconds.
    pub duration_us: i64,
    /// The client's address, as judged.
    pub client_ip: String,
    /// The client's program, at most 200 bytes.
    pub user_agent: String,
    /// The scopes of the key, as words joined by spaces.
    pub token_scope: String,
    /// The refusal's reason or the upstream's error type; empty: none.
    pub detail: String,
    /// The periods of budgets that it counts against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<Charge>,
    /// What its signature was made with; `None`: it was not signed, or the signature did not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedBy>,
    /// The call whose answer it was given; `None`: it had one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<Recalled>,
}

/// A call that is about to be sent, or already is: what a later start finds when the node dies in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its id.
    pub id: IntentId,
    /// The request that it belongs to.
    pub request_id: RequestId,
    /// Whose it is.
    pub party: Party,
    /// Where it goes.
    pub route: Route,
    /// When the request arrived.
    pub at: Timestamp,
    /// Which group of routes.
    pub endpoint: Endpoint,
    /// Method and path, as in [`LedgerRow::api_endpoint`].
    pub api_endpoint: String,
    /// The model that was asked for.
    pub model: String,
    /// The worst case of what the call can cost: charged if its end is never known.
    pub reservation: PicoUsd,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// The client's address, as judged.
    pub client_ip: String,
    /// The periods of budgets that it counts against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<Charge>,
}

/// One group commit of the data plane: everything in it becomes durable together or not at all.
#[derive(Debug, Clone)]
pub struct Group {
    /// The data chain it belongs to: this incarnation of this node.
    pub chain: NodeId,
    /// Its number in the chain, from 1, without gaps.
    pub number: i64,
    /// When it was put together.
    pub at: Timestamp,
    /// The chain's head before it.
    pub previous: crate::audit::Digest,
    /// Intents that must be durable before their answers leave.
    pub intents: Vec<Intent>,
    /// Rows that settle.
    pub rows: Vec<LedgerRow>,
    /// Intents that were superseded by a retry and need no row.
    pub released: Vec<IntentId>,
    /// What was made at the provider.
    pub resources: Vec<crate::tenancy::Resource>,
}
