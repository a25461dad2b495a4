//! Alipay's asynchronous notices: a form, signed with RSA2 over its decoded fields in the order of their names, `sign` and
//! `sign_type` left out. Amounts are yuan.

use std::collections::BTreeMap;

use super::{Decimal, Notice, NoticeError, Payment, account_in, payment_id, rsa::ProviderKey};

/// What is known of the merchant.
#[derive(Debug, Clone)]
pub struct Merchant {
    /// Alipay's public key.
    pub key: ProviderKey,
    /// The application that the notices are for.
    pub app_id: String,
    /// The seller that was paid; `None`: any of the application's.
    pub seller_id: Option<String>,
}

/// Fields of one notice, at most.
const MAX_FIELDS: usize = 100;

/// What the notice says.
///
/// # Errors
/// [`NoticeError`]: nothing in it is to be believed.
pub fn read(merchant: &Merchant, body: &[u8]) -> Result<Notice, NoticeError> {
    let fields = fields(body)?;
    let field = |name: &'static str| fields.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let signature = field("sign").ok_or(NoticeError::Unsigned("sign"))?;
    if field("sign_type") != Some("RSA2") {
        return Err(NoticeError::Unsigned("sign_type=RSA2"));
    }
    let signed = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "sign" | "sign_type"));
    let signed: Vec<String> = signed.map(|(name, value)| format!("{name}={value}")).collect();
    merchant.key.verify(signed.join("&").as_bytes(), signature)?;
    if field("charset").is_some_and(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
        return Err(NoticeError::Unreadable("its charset is not utf-8"));
    }
    if field("app_id") != Some(&merchant.app_id) {
        return Err(NoticeError::NotOurs("app_id"));
    }
    if merchant.seller_id.is_some() && field("seller_id") != merchant.seller_id.as_deref() {
        return Err(NoticeError::NotOurs("seller_id"));
    }
    if !matches!(field("trade_status"), Some("TRADE_SUCCESS" | "TRADE_FINISHED")) {
        return Ok(Notice::Other);
    }
    let named = ["passback_params", "out_trade_no"].into_iter().filter_map(field).find_map(account_in);
    let amount = field("total_amount").and_then(|text| Decimal::amount(text).ok());
    Ok(Notice::Paid(Payment {
        id: payment_id(field("trade_no").unwrap_or_default())?,
        account: named.ok_or(NoticeError::Unreadable("no account in passback_params or out_trade_no"))?,
        amount: amount.ok_or(NoticeError::Unreadable("total_amount"))?,
        currency: "CNY".to_owned(),
    }))
}

/// The fields of a form, each once.
fn fields(body: &[u8]) -> Result<BTreeMap<String, String>, NoticeError> {
    let mut fields = BTreeMap::new();
    for pair in body.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let name = decode(&pair[..at])?;
        let value = decode(pair.get(at + 1..).unwrap_or_default())?;
        if fields.len() == MAX_FIELDS || fields.insert(name, value).is_some() {
            return Err(NoticeError::Unreadable("a field that stands twice, or too many of them"));
        }
    }
    Ok(fields)
}

/// As forms are encoded (WHATWG URL, application/x-www-form-urlencoded).
fn decode(text: &[u8]) -> Result<String, NoticeError> {
    let wrong = NoticeError::Unreadable("its form");
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_at_checked(2).ok_or(wrong)?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).map_err(|_| wrong)?;
                out.extend(byte);
                rest = after;
            }
            other => out.push(*other),
        }
    }
    String::from_utf8(out).map_err(|_| wrong)
}
