//! Refresh tokens: families in which each token works once (RFC 9700, 4.14). Whoever shows a spent one has it from
//! somewhere else, or lost an answer: within ten seconds, once and from the same place, the answer is given again;
//! anything else ends the family and all that it bought.
//!
//! The store keeps MACs, never tokens. A rotation is decided here and committed by comparing the family's version, in
//! one transaction with the successor's row, of which there can be one for each generation: two successors cannot be.

use crate::{
    access_token::Confirmation,
    audit::Digest,
    clock::{MICROS_PER_DAY, MICROS_PER_SEC, Timestamp},
    id::{KeyId, TokenFamilyId, WorkspaceId},
    mac::{KeyMac, PepperVersion},
    permission::Scopes,
    token::PublicId,
};

/// How long a family lives, whatever is done with it: 30 days, in microseconds.
pub const LIFETIME_US: i64 = 30 * MICROS_PER_DAY;
/// How long a refresh token waits to be used: 7 days, in microseconds.
pub const IDLE_US: i64 = 7 * MICROS_PER_DAY;
/// How long a lost answer can be had again: 10 s, in microseconds.
pub const REPLAY_US: i64 = 10 * MICROS_PER_SEC;
/// Tokens a family can have; then the key must be shown again. A row is kept for each, so that every spent one is known.
pub const MAX_GENERATIONS: u32 = 10_000;
/// Living families a key can have; one more ends the one that was used least recently.
pub const MAX_FAMILIES: u32 = 1_000;

/// Why a family ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// A spent token was shown.
    Reused,
    /// Its holder revoked it.
    Revoked,
    /// An operator did.
    Operator,
    /// The key has too many.
    Superseded,
}

impl EndReason {
    const ALL: [Self; 4] = [Self::Reused, Self::Revoked, Self::Operator, Self::Superseded];

    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reused => "reused",
            Self::Revoked => "revoked",
            Self::Operator => "operator",
            Self::Superseded => "superseded",
        }
    }

    /// The reverse of [`EndReason::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }
}

/// The last answer, for whoever lost it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Where it went.
    pub place: Digest,
    /// The answer, sealed.
    pub sealed: Vec<u8>,
    /// Until then.
    pub until: Timestamp,
}

/// A family of refresh tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// `fam_…`
    pub id: TokenFamilyId,
    /// The key that began it.
    pub key: KeyId,
    /// The key's workspace.
    pub workspace: WorkspaceId,
    /// What its access tokens may be used for.
    pub scopes: Scopes,
    /// What of the sender its tokens are bound to.
    pub confirmation: Confirmation,
    /// The number of the token that works; counts from 1.
    pub generation: u32,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// When it ends if nobody uses it.
    pub idle_until: Timestamp,
    /// When its token was last used.
    pub used_at: Timestamp,
    /// The last answer, as long as it may be given again.
    pub replay: Option<Replay>,
    /// That and why it ended before its time.
    pub ended: Option<(Timestamp, EndReason)>,
    /// Row version.
    pub version: i64,
}

/// One token of a family, as it is kept.
#[derive(Debug, Clone)]
pub struct RefreshToken {
    /// By which it is found.
    pub public_id: PublicId,
    /// The family.
    pub family: TokenFamilyId,
    /// Its number.
    pub generation: u32,
    /// Its MAC.
    pub mac: KeyMac,
    /// The pepper of the MAC.
    pub pepper_version: PepperVersion,
}

/// What becomes of a genuine token that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It is spent and the family goes on so; whoever asked fills in the answer that may be had again.
    Rotate(Box<Family>),
    /// The last answer is given once more, and the family is kept so.
    Again(Box<Family>, Vec<u8>),
    /// It was spent before: the family is kept so, ended.
    Reused(Box<Family>),
}

/// Why a genuine token buys nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefreshError {
    /// The family has ended.
    #[error("these tokens were ended: {}", .0.as_str())]
    Ended(EndReason),
    /// Its time is over.
    #[error("the refresh token is expired")]
    Expired,
    /// All tokens that a family may have were used.
    #[error("the refresh token was renewed as often as it may be: show the key again")]
    UsedUp,
}

/// A family that begins.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Its id.
    pub id: TokenFamilyId,
    /// The key.
    pub key: KeyId,
    /// The key's workspace.
    pub workspace: WorkspaceId,
    /// What for.
    pub scopes: Scopes,
    /// The bond.
    pub confirmation: Confirmation,
    /// The key's own end, if it has one.
    pub key_expires_at: Option<Timestamp>,
}

impl Family {
    /// Begins with its first token.
    #[must_use]
    pub fn begin(new: Beginning, now: Timestamp) -> Self {
        let Beginning { id, key, workspace, scopes, confirmation, key_expires_at } = new;
        let latest = now.plus_micros(LIFETIME_US);
        let expires_at = key_expires_at.map_or(latest, |end| end.min(latest));
        Self {
            id,
            key,
            workspace,
            scopes,
            confirmation,
            generation: 1,
            created_at: now,
            expires_at,
            idle_until: now.plus_micros(IDLE_US).min(expires_at),
            used_at: now,
            replay: None,
            ended: None,
            version: 1,
        }
    }

    /// Whether its token works.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.idle_until && now < self.expires_at
    }

    /// Whether the token with this number was spent, and nobody may have its answer again.
    #[must_use]
    pub fn is_spent(&self, generation: u32, now: Timestamp) -> bool {
        let last = generation + 1 == self.generation;
        let answered = self.replay.as_ref().is_some_and(|replay| last && now < replay.until);
        generation < self.generation && !answered
    }

    /// The same, ended.
    #[must_use]
    pub fn end(&self, reason: EndReason, now: Timestamp) -> Self {
        let ended = Some(self.ended.unwrap_or((now, reason)));
        Self { ended, replay: None, ..self.clone() }
    }

    /// A genuine token of this family is shown, the one with this number, from this place.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub fn show(&self, generation: u32, place: Digest, now: Timestamp) -> Result<Turn, RefreshError> {
        if let Some((_, reason)) = self.ended {
            return Err(RefreshError::Ended(reason));
        }
        if !self.is_live(now) {
            return Err(RefreshError::Expired);
        }
        if generation == self.generation {
            if generation >= MAX_GENERATIONS {
                return Err(RefreshError::UsedUp);
            }
            return Ok(Turn::Rotate(Box::new(Self {
                generation: generation + 1,
                idle_until: now.plus_micros(IDLE_US).min(self.expires_at),
                used_at: now,
                replay: Some(Replay { place, sealed: Vec::new(), until: now.plus_micros(REPLAY_US) }),
                ..self.clone()
            })));
        }
        let last = generation + 1 == self.generation;
        match &self.replay {
            Some(replay) if last && now < replay.until && replay.place == place => {
                Ok(Turn::Again(Box::new(Self { replay: None, ..self.clone() }), replay.sealed.clone()))
            }
            Some(_) | None => Ok(Turn::Reused(Box::new(self.end(EndReason::Reused, now)))),
        }
    }
}

#[cfg(test)]
mod tests;
