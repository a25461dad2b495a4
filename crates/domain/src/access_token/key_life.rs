//! The life of the keys that sign access tokens: `next → active → retiring → gone`.
//!
//! A key is published for longer than verifiers keep the key set before anything is signed with it, and stays published
//! until the last token that it signed has expired, with leeway. There is never more than one active key, and never
//! more than one next.

use crate::{
    access_token::{LEEWAY_SECS, TTL_SECS},
    clock::{MICROS_PER_SEC, Timestamp},
    jose::Algorithm,
};

/// How long verifiers may keep the key set, in seconds (`Cache-Control: max-age`).
pub const JWKS_MAX_AGE_SECS: i64 = 3_600;
/// How long a key is published before it signs, in seconds: the key set's age, and some time for clocks and feeds.
pub const LEAD_SECS: i64 = JWKS_MAX_AGE_SECS + 300;
/// How long a key signs unless something else is set, in seconds: 30 days.
pub const PERIOD_SECS: i64 = 30 * 86_400;
/// How long a key is kept after it signed for the last time, in seconds.
pub const KEEP_SECS: i64 = TTL_SECS + 2 * LEEWAY_SECS + 60;

/// Where a signing key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKeyState {
    /// Published; signs nothing yet.
    Next,
    /// Signs.
    Active,
    /// Signs nothing more; what it signed is still verified.
    Retiring,
    /// Its secret is gone. Nothing that it signed is accepted.
    Gone,
}

impl TokenKeyState {
    const ALL: [Self; 4] = [Self::Next, Self::Active, Self::Retiring, Self::Gone];

    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Gone => "gone",
        }
    }

    /// The reverse of [`TokenKeyState::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A signing key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKeyRecord {
    /// The thumbprint of its public half (RFC 7638).
    pub kid: String,
    /// What it is for.
    pub algorithm: Algorithm,
    /// Its public half, as JSON.
    pub public_jwk: String,
    /// Its secret, sealed; empty once it is gone.
    pub sealed: Vec<u8>,
    /// Where it stands.
    pub state: TokenKeyState,
    /// Since when it is published.
    pub published_at: Timestamp,
    /// Since when it signs, or signed.
    pub active_at: Option<Timestamp>,
    /// Since when it signs no more.
    pub retiring_at: Option<Timestamp>,
    /// Row version.
    pub version: i64,
}

/// What is demanded of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPlan {
    /// What is signed with.
    pub algorithm: Algorithm,
    /// How long a key signs, in seconds.
    pub period_secs: i64,
}

impl Default for KeyPlan {
    fn default() -> Self {
        Self { algorithm: Algorithm::EdDsa, period_secs: PERIOD_SECS }
    }
}

/// What is to be done. Steps are taken in order, all of one plan in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStep {
    /// Make a key that signs at once: there is none, so that nobody can have kept an older key set.
    MakeActive,
    /// Make a key and publish it.
    MakeNext,
    /// This key's secret goes.
    Drop(String),
    /// This key signs no more.
    Retire(String),
    /// This key signs from now on.
    Activate(String),
}

/// What is due now.
#[must_use]
pub fn due(keys: &[TokenKeyRecord], plan: KeyPlan, now: Timestamp) -> Vec<KeyStep> {
    let mut steps = Vec::new();
    for key in keys.iter().filter(|k| k.state == TokenKeyState::Retiring) {
        if key.retiring_at.is_none_or(|since| is_over(since, KEEP_SECS, now)) {
            steps.push(KeyStep::Drop(key.kid.clone()));
        }
    }
    let in_state = |state| keys.iter().find(move |k| k.state == state);
    let Some(active) = in_state(TokenKeyState::Active) else {
        steps.push(KeyStep::MakeActive);
        return steps;
    };
    let since = active.active_at.unwrap_or(active.published_at);
    let unfit = active.algorithm != plan.algorithm;
    let next = in_state(TokenKeyState::Next).filter(|next| next.algorithm == plan.algorithm);
    // A next key of an algorithm that is not wanted any more has signed nothing.
    steps.extend(
        in_state(TokenKeyState::Next)
            .filter(|next| next.algorithm != plan.algorithm)
            .map(|next| KeyStep::Drop(next.kid.clone())),
    );
    match next {
        None if unfit || is_over(since, plan.period_secs - LEAD_SECS, now) => steps.push(KeyStep::MakeNext),
        None => {}
        Some(next) => {
            let known = is_over(next.published_at, LEAD_SECS, now);
            if known && (unfit || is_over(since, plan.period_secs, now)) {
                steps.push(KeyStep::Retire(active.kid.clone()));
                steps.push(KeyStep::Activate(next.kid.clone()));
            }
        }
    }
    steps
}

fn is_over(since: Timestamp, secs: i64, now: Timestamp) -> bool {
    now >= since.plus_micros(secs.saturating_mul(MICROS_PER_SEC))
}

#[cfg(test)]
mod tests;
