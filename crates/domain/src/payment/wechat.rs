//! WeChat Pay's notices of API v3: RSA-SHA-256 over `timestamp\nnonce\nbody\n`, and inside, what was paid, sealed with
//! AES-256-GCM under the merchant's API v3 key. Amounts are fen.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{Decimal, Notice, NoticeError, Payment, account_in, check_time, payment_id, rsa::ProviderKey};
use crate::clock::Timestamp;

/// The merchant's API v3 key.
pub struct ApiKey(LessSafeKey);

/// Not such a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the API v3 key: 32 characters")]
pub struct ApiKeyError;

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey")
    }
}

impl ApiKey {
    /// From its 32 characters.
    ///
    /// # Errors
    /// [`ApiKeyError`].
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        let key = UnboundKey::new(&AES_256_GCM, text.trim().as_bytes()).map_err(|_| ApiKeyError)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

/// What is known of the merchant.
#[derive(Debug)]
pub struct Merchant {
    /// WeChat Pay's public key, or that of its platform certificate.
    pub key: ProviderKey,
    /// Its serial number or id, as `Wechatpay-Serial` names it.
    pub serial: String,
    /// What notices are sealed with.
    pub api_key: ApiKey,
    /// The merchant that was paid.
    pub mchid: String,
    /// The application; `None`: any of the merchant's.
    pub appid: Option<String>,
}

/// The headers that sign.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    /// `Wechatpay-Timestamp`
    pub timestamp: &'a str,
    /// `Wechatpay-Nonce`
    pub nonce: &'a str,
    /// `Wechatpay-Signature`
    pub signature: &'a str,
    /// `Wechatpay-Serial`
    pub serial: &'a str,
}

#[derive(Deserialize)]
struct Envelope {
    event_type: String,
    resource: Resource,
}

#[derive(Deserialize)]
struct Resource {
    algorithm: String,
    ciphertext: String,
    #[serde(default)]
    associated_data: String,
    nonce: String,
}

#[derive(Deserialize)]
struct Transaction {
    mchid: String,
    appid: Option<String>,
    out_trade_no: String,
    transaction_id: String,
    trade_state: String,
    #[serde(default)]
    attach: String,
    amount: Amount,
}

#[derive(Deserialize)]
struct Amount {
    total: u32,
    #[serde(default)]
    currency: Option<String>,
}

/// What the notice says.
///
/// # Errors
/// [`NoticeError`]: nothing in it is to be believed.
pub fn read(
    merchant: &Merchant,
    headers: Headers<'_>,
    body: &[u8],
    now: Timestamp,
) -> Result<Notice, NoticeError> {
    let Headers { timestamp, nonce, signature, serial } = headers;
    if serial != merchant.serial {
        return Err(NoticeError::Signature);
    }
    let signed = [timestamp.as_bytes(), b"\n", nonce.as_bytes(), b"\n", body, b"\n"].concat();
    merchant.key.verify(&signed, signature)?;
    check_time(timestamp, now)?;
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| NoticeError::Unreadable("its JSON"))?;
    if envelope.event_type != "TRANSACTION.SUCCESS" {
        return Ok(Notice::Other);
    }
    let opened = open(&merchant.api_key, envelope.resource)?;
    let paid: Transaction =
        serde_json::from_slice(&opened).map_err(|_| NoticeError::Unreadable("a field of the transaction"))?;
    if paid.mchid != merchant.mchid {
        return Err(NoticeError::NotOurs("mchid"));
    }
    if merchant.appid.is_some() && paid.appid != merchant.appid {
        return Err(NoticeError::NotOurs("appid"));
    }
    if paid.trade_state != "SUCCESS" {
        return Ok(Notice::Other);
    }
    let named = [&paid.attach, &paid.out_trade_no].into_iter().find_map(|text| account_in(text));
    Ok(Notice::Paid(Payment {
        id: payment_id(&paid.transaction_id)?,
        account: named.ok_or(NoticeError::Unreadable("no account in attach or out_trade_no"))?,
        amount: Decimal::hundredths(paid.amount.total),
        currency: paid.amount.currency.unwrap_or_else(|| "CNY".to_owned()),
    }))
}

fn open(key: &ApiKey, resource: Resource) -> Result<Vec<u8>, NoticeError> {
    let wrong = NoticeError::Unreadable("its resource cannot be opened");
    if resource.algorithm != "AEAD_AES_256_GCM" {
        return Err(wrong);
    }
    let mut sealed = STANDARD.decode(&resource.ciphertext).map_err(|_| wrong)?;
    let nonce = Nonce::try_assume_unique_for_key(resource.nonce.as_bytes()).map_err(|_| wrong)?;
    let aad = Aad::from(resource.associated_data.as_bytes());
    let opened = key.0.open_in_place(nonce, aad, &mut sealed).map_err(|_| wrong)?;
    Ok(opened.to_vec())
}
