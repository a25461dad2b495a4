//! The headers of v1 and v2, in both forms.

use super::{
    Claim, Fields, NONCE, Profile, Proof, SIGNATURE, SignatureError, TIMESTAMP, VERSION, lower_hex,
    nonce::Nonce, once,
};

const SIGNATURE_SHAPE: &str =
    "sha256= and 64 lower-case hex digits, or ts=<10 digits>&nonce=<32 hex>&sig=<64 hex>";
const TIMESTAMP_SHAPE: &str = "seconds since the epoch, ten digits";
const NONCE_SHAPE: &str = "32 lower-case hex digits";

/// The parts that go into the MAC as text, and the MAC that was sent.
#[derive(Debug, Clone)]
pub(super) struct Simple {
    pub(super) timestamp: [u8; 10],
    pub(super) nonce: [u8; 32],
    pub(super) mac: [u8; 32],
}

impl Simple {
    /// What ends the text that is signed: time and nonce.
    pub(super) fn ending(&self) -> [u8; 44] {
        let mut ending = [b'|'; 44];
        ending[1..11].copy_from_slice(&self.timestamp);
        ending[12..].copy_from_slice(&self.nonce);
        ending
    }
}

pub(super) fn read(fields: &dyn Fields, text: &[u8]) -> Result<Claim, SignatureError> {
    let profile = match once(fields, VERSION)? {
        None | Some(b"1") => Profile::V1,
        Some(b"2") => Profile::V2,
        Some(_) => return Err(SignatureError::Version),
    };
    let (timestamp, nonce) = (once(fields, TIMESTAMP)?, once(fields, NONCE)?);
    let (timestamp, nonce, mac) = if let Some(mac) = text.strip_prefix(b"sha256=") {
        (
            timestamp.ok_or(SignatureError::Incomplete(TIMESTAMP))?,
            nonce.ok_or(SignatureError::Incomplete(NONCE))?,
            mac,
        )
    } else {
        let parts = one_string(text).ok_or(SignatureError::Shape(SIGNATURE, SIGNATURE_SHAPE))?;
        if timestamp.is_some() || nonce.is_some() {
            return Err(SignatureError::Mixed);
        }
        parts
    };
    let timestamp = digits(timestamp).ok_or(SignatureError::Shape(TIMESTAMP, TIMESTAMP_SHAPE))?;
    let read = nonce.try_into().ok().zip(lower_hex::decoded(nonce));
    let (text, nonce) = read.ok_or(SignatureError::Shape(NONCE, NONCE_SHAPE))?;
    let mac = lower_hex::decoded(mac).ok_or(SignatureError::Shape(SIGNATURE, SIGNATURE_SHAPE))?;
    let made_at_secs = timestamp.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (simple, nonce) = (Simple { timestamp, nonce: text, mac }, Nonce::from_bytes(nonce));
    Ok(Claim { profile, made_at_secs, nonce, proof: Proof::Simple(simple) })
}

/// `ts=…&nonce=…&sig=…`, in this order and with nothing else.
fn one_string(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let rest = text.strip_prefix(b"ts=")?;
    let (timestamp, rest) = rest.split_at_checked(10)?;
    let rest = rest.strip_prefix(b"&nonce=")?;
    let (nonce, rest) = rest.split_at_checked(32)?;
    Some((timestamp, nonce, rest.strip_prefix(b"&sig=")?))
}

fn digits(text: &[u8]) -> Option<[u8; 10]> {
    let text: [u8; 10] = text.try_into().ok()?;
    text.iter().all(u8::is_ascii_digit).then_some(text)
}
