//! Payment notices: what payment providers send when somebody has paid. Each is verified over the bytes that came, before
//! anything in it is believed.
//!
//! - [`webhook`]: Standard Webhooks 1.0, HMAC-SHA-256;
//! - [`alipay`]: Alipay's asynchronous notices, RSA2;
//! - [`wechat`]: WeChat Pay's notices of API v3, RSA-SHA-256 around AES-256-GCM.

pub mod alipay;
pub mod rate;
pub mod rsa;
pub mod webhook;
pub mod wechat;

use crate::{clock::Timestamp, id::CreditAccountId};
pub use rate::{Decimal, DecimalError};

/// How far the time in a notice may be from ours, in seconds.
pub const SKEW_SECS: i64 = 300;
/// The largest notice, in bytes.
pub const MAX_NOTICE: usize = 64 * 1024;
/// The longest id of a payment.
const MAX_ID: usize = 128;

/// Somebody has paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The provider's id of the payment.
    pub id: String,
    /// For which account.
    pub account: CreditAccountId,
    /// How much, in units of the currency.
    pub amount: Decimal,
    /// In which currency (ISO 4217).
    pub currency: String,
}

/// What a verified notice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Somebody has paid.
    Paid(Payment),
    /// Something else: there is nothing to book.
    Other,
}

/// Why a notice is not believed. Nothing of it is in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// There is no signature, or not a whole one.
    #[error("the notice is not signed: {0} is missing")]
    Unsigned(&'static str),
    /// It is not the provider's.
    #[error("the notice's signature is wrong")]
    Signature,
    /// It is too old, or from the future.
    #[error("the notice's time is more than five minutes away")]
    Stale,
    /// It is signed and cannot be understood.
    #[error("the notice cannot be read: {0}")]
    Unreadable(&'static str),
    /// It is signed and meant for somebody else.
    #[error("the notice is for another {0}")]
    NotOurs(&'static str),
}

/// Whether a time in seconds, as a notice has it, is near enough.
fn check_time(text: &str, now: Timestamp) -> Result<(), NoticeError> {
    let is_plain = !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
    let secs: i64 = text.parse().ok().filter(|_| is_plain).ok_or(NoticeError::Unsigned("a time"))?;
    let now = now.as_micros().div_euclid(crate::clock::MICROS_PER_SEC);
    if (now - secs).abs() <= SKEW_SECS { Ok(()) } else { Err(NoticeError::Stale) }
}

/// The account that a merchant has given with an order: the whole text, or what stands before its second `_` or a `-`.
fn account_in(text: &str) -> Option<CreditAccountId> {
    let rest = text.strip_prefix(CreditAccountId::PREFIX)?;
    let end = rest.find(['_', '-']).unwrap_or(rest.len());
    CreditAccountId::parse(text.get(..CreditAccountId::PREFIX.len() + end)?).ok()
}

/// A payment's id, as it can stand in a reference.
fn payment_id(text: &str) -> Result<String, NoticeError> {
    let legal = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if legal { Ok(text.to_owned()) } else { Err(NoticeError::Unreadable("the payment's id")) }
}

#[cfg(test)]
mod tests;
