//! Notices as Standard Webhooks 1.0 signs them: HMAC-SHA-256 over `id.timestamp.body`.
//!
//! The body is `{"id": "…", "account": "acct_…", "amount": "12.50", "currency": "USD"}`. A `type` other than
//! `payment.succeeded` says that there is nothing to book.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{Decimal, Notice, NoticeError, Payment, check_time, payment_id};
use crate::{clock::Timestamp, id::CreditAccountId};

/// The type of a notice that somebody has paid.
pub const PAID: &str = "payment.succeeded";

/// The secret that both sides know.
#[derive(Clone)]
pub struct Secret(hmac::Key);

/// Not such a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected whsec_ and 24 to 64 bytes in base64")]
pub struct SecretError;

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// From `whsec_…`.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim().strip_prefix("whsec_").ok_or(SecretError)?;
        let bytes = STANDARD.decode(text).map_err(|_| SecretError)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(SecretError);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

/// The headers that sign.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`
    pub timestamp: &'a str,
    /// `webhook-signature`: one or more of `v1,…`, with spaces between them.
    pub signature: &'a str,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: String,
    account: String,
    amount: String,
    currency: String,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What the notice says.
///
/// # Errors
/// [`NoticeError`]: nothing in it is to be believed.
pub fn read(
    secret: &Secret,
    headers: Headers<'_>,
    body: &[u8],
    now: Timestamp,
) -> Result<Notice, NoticeError> {
    let Headers { id, timestamp, signature } = headers;
    if id.is_empty() {
        return Err(NoticeError::Unsigned("webhook-id"));
    }
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let is_ours = |one: &str| {
        let mac = one.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
        mac.is_some_and(|mac| hmac::verify(&secret.0, &signed, &mac).is_ok())
    };
    if !signature.split(' ').take(8).any(is_ours) {
        return Err(NoticeError::Signature);
    }
    check_time(timestamp, now)?;
    let kind: Kind = serde_json::from_slice(body).map_err(|_| NoticeError::Unreadable("its JSON"))?;
    if kind.kind.is_some_and(|kind| kind != PAID) {
        return Ok(Notice::Other);
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| NoticeError::Unreadable("a field"))?;
    debug_assert!(body.kind.is_none_or(|kind| kind == PAID));
    Ok(Notice::Paid(Payment {
        id: payment_id(&body.id)?,
        account: CreditAccountId::parse(&body.account).map_err(|_| NoticeError::Unreadable("the account"))?,
        amount: Decimal::amount(&body.amount).map_err(|_| NoticeError::Unreadable("the amount"))?,
        currency: body.currency,
    }))
}
