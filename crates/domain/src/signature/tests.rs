//! Vectors of the project and of the standards, and every attack that has a name.

mod attacks;
mod vectors;

use proptest::prelude::*;

use super::{
    secret::{SigningKind, SigningRecord},
    sign::{Hand, Stamp, sign},
    *,
};
use crate::{
    clock::MICROS_PER_SEC,
    id::{KeyId, SigningId},
    token::PublicId,
};

pub(super) const NOW_SECS: i64 = 1_767_225_600;
pub(super) const NOW: Timestamp = Timestamp::from_secs(NOW_SECS);
pub(super) const NONCE_TEXT: &str = "000102030405060708090a0b0c0d0e0f";
pub(super) const SECRET: &[u8] = b"test-signing-secret-32-bytes-lon";
pub(super) const KEY_ID: &str = "0123456789";
pub(super) const URL: &str = "https://gw.example/v1/messages?beta=true";
pub(super) const BODY: &[u8] = br#"{"model":"m","messages":[]}"#;

/// Headers as a request has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Head(pub(super) Vec<(String, Vec<u8>)>);

impl Fields for Head {
    fn values(&self, name: &str) -> SmallVec<[&[u8]; 2]> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice()).collect()
    }
}

impl Head {
    pub(super) fn of(pairs: &[(&str, String)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes())).collect())
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.add(name, value);
    }

    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    pub(super) fn drop(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(super) fn get(&self, name: &str) -> String {
        String::from_utf8(self.0.iter().find(|(known, _)| known == name).unwrap().1.clone()).unwrap()
    }

    pub(super) fn edit(&mut self, name: &str, from: &str, to: &str) {
        let text = self.get(name);
        assert!(text.contains(from), "{name}: {text}");
        self.set(name, &text.replacen(from, to, 1));
    }
}

/// A request on its way.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) head: Head,
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) body: Vec<u8>,
    pub(super) key: &'static str,
    pub(super) now: Timestamp,
}

impl Sent {
    pub(super) fn signed(profile: Profile) -> Self {
        let target = Target::of_url("POST", URL).unwrap();
        let stamp = Stamp { key_id: KEY_ID, at_secs: NOW_SECS, nonce: NONCE_TEXT, expires_secs: None };
        let headers = sign(profile, &Hand::Secret(SECRET), stamp, &target, BODY).unwrap();
        let (url, body) = (URL.to_owned(), BODY.to_vec());
        Self { head: Head::of(&headers), method: "POST", url, body, key: KEY_ID, now: NOW }
    }

    pub(super) fn verify(&self, signers: &Signers) -> Result<Proven, SignatureError> {
        let claim = Claim::read(&self.head, self.now)?.expect("it is signed");
        let target = Target::of_url(self.method, &self.url).unwrap();
        let against =
            Against { key: PublicId::parse(self.key).unwrap(), signers, target: &target, fields: &self.head };
        let at_once = Check::begin(claim.clone(), against, self.now)?.finish_with(&self.body);
        let mut check = Check::begin(claim, against, self.now)?;
        self.body.chunks(7).for_each(|piece| check.update(piece));
        let in_pieces = check.finish();
        assert_eq!(in_pieces, at_once, "a body is the same in pieces and whole");
        in_pieces
    }
}

pub(super) fn record(kind: SigningKind, valid_from: Timestamp, until: Option<Timestamp>) -> SigningRecord {
    SigningRecord {
        id: SigningId::parse("sgn_a").unwrap(),
        key: KeyId::parse("key_0123456789").unwrap(),
        kind,
        material: Vec::new(),
        hint: String::new(),
        created_at: valid_from,
        valid_from,
        until,
        version: 1,
    }
}

pub(super) fn signers() -> Signers {
    let record = record(SigningKind::Hmac, Timestamp::from_secs(1), None);
    Signers::new(vec![Signer::new(&record, SECRET).unwrap()])
}

#[test]
fn what_is_signed_verifies_in_every_profile() {
    for profile in Profile::ALL {
        let proven = Sent::signed(profile).verify(&signers()).unwrap();
        assert_eq!((proven.profile, proven.role), (profile, Role::Current));
        assert_eq!(format!("{:?}", proven.used.nonce), NONCE_TEXT);
        assert_eq!(proven.used.made_at_secs, NOW_SECS);
    }
}

#[test]
fn the_one_string_form_is_the_same_signature() {
    for profile in [Profile::V1, Profile::V2] {
        let mut sent = Sent::signed(profile);
        let mac = sent.head.get(SIGNATURE).replacen("sha256=", "", 1);
        sent.head.set(SIGNATURE, &format!("ts={NOW_SECS}&nonce={NONCE_TEXT}&sig={mac}"));
        sent.head.drop(TIMESTAMP);
        sent.head.drop(NONCE);
        assert_eq!(sent.verify(&signers()).unwrap().profile, profile);
    }
}

#[test]
fn a_request_without_a_signature_claims_nothing() {
    let mut head = Head::default();
    assert!(Claim::read(&head, NOW).unwrap().is_none());
    // Other people's headers are theirs.
    head.add(TIMESTAMP, "yesterday");
    assert!(Claim::read(&head, NOW).unwrap().is_none());
}

#[test]
fn the_clock_is_judged_to_the_second_at_both_edges() {
    for profile in Profile::ALL {
        let at = |offset_micros: i64| {
            let sent = Sent { now: NOW.plus_micros(offset_micros), ..Sent::signed(profile) };
            sent.verify(&signers()).map(drop)
        };
        let edge = SKEW_SECS * MICROS_PER_SEC;
        assert_eq!(at(edge + MICROS_PER_SEC - 1), Ok(()));
        assert_eq!(at(edge + MICROS_PER_SEC), Err(SignatureError::Skew { ahead_secs: -301 }));
        assert_eq!(at(-edge), Ok(()));
        assert_eq!(at(-edge - 1), Err(SignatureError::Skew { ahead_secs: 301 }));
    }
}

#[test]
fn next_current_and_previous_secrets_verify_and_say_which_they_are() {
    let hour = 3_600 * MICROS_PER_SEC;
    let old = record(SigningKind::Hmac, Timestamp::from_secs(1), Some(NOW.plus_micros(hour)));
    let new = record(SigningKind::Hmac, NOW.plus_micros(-hour), None);
    let both = |signing: &[u8], now: Timestamp| {
        let signers = Signers::new(vec![
            Signer::new(&old, signing).unwrap(),
            Signer::new(&new, b"the other one").unwrap(),
        ]);
        let sent = Sent { now, ..Sent::signed(Profile::V1) };
        sent.verify(&signers).map(|proven| proven.role)
    };
    assert_eq!(both(SECRET, NOW), Ok(Role::Previous));
    assert_eq!(both(b"neither", NOW), Err(SignatureError::Mismatch));
    let signers = Signers::new(vec![
        Signer::new(&new, b"the other one").unwrap(),
        Signer::new(&record(SigningKind::Hmac, NOW.plus_micros(hour), None), SECRET).unwrap(),
    ]);
    assert_eq!(Sent::signed(Profile::V2).verify(&signers).unwrap().role, Role::Next);
    let told = |role| signers.rotates_at(role, NOW);
    assert_eq!(told(None), Some(NOW.plus_micros(hour)));
    assert_eq!(told(Some(Role::Current)), Some(NOW.plus_micros(hour)));
    // Who has the successor already need not be told, and who missed it is told what took its place.
    assert_eq!(told(Some(Role::Next)), None);
    assert_eq!(told(Some(Role::Previous)), Some(NOW.plus_micros(-hour)));
    // From the first moment after its grace the old one is nothing.
    let over = Signers::new(vec![
        Signer::new(&record(SigningKind::Hmac, Timestamp::from_secs(1), Some(NOW)), SECRET).unwrap(),
        Signer::new(&new, b"the other one").unwrap(),
    ]);
    assert_eq!(Sent::signed(Profile::V1).verify(&over).unwrap_err(), SignatureError::Mismatch);
}

proptest! {
    #[test]
    fn whatever_the_headers_hold_reading_them_ends(
        signature in "[ -~]{0,140}", input in "[ -~]{0,200}", timestamp in "[ -~]{0,12}", nonce in "[ -~]{0,34}",
    ) {
        let mut head = Head::default();
        head.add(SIGNATURE, &signature);
        head.add(TIMESTAMP, &timestamp);
        head.add(NONCE, &nonce);
        prop_assert!(Claim::read(&head, NOW).is_err());
        let mut head = Head::default();
        head.add(MESSAGE_INPUT, &input);
        head.add(MESSAGE_SIGNATURE, "cvg=:aGk=:");
        prop_assert!(Claim::read(&head, NOW).is_err());
    }

    #[test]
    fn a_changed_body_never_verifies(at in 0..BODY.len(), bit in 0..8_u8) {
        for profile in Profile::ALL {
            let mut sent = Sent::signed(profile);
            sent.body[at] ^= 1 << bit;
            prop_assert!(sent.verify(&signers()).is_err());
        }
    }
}
