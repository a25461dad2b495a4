//! What a refusal's time tells of a secret: nothing that 10 000 samples can tell.
//!
//! Compared are refusals of the same request that differ in what a guesser would learn from: a MAC that is wrong in its
//! first byte and one that is wrong in its last; a token of a key that there is, wrongly signed, and one of a key that
//! there is not. As in dudect, the classes are interleaved by chance, the slowest tenth is cropped, and Welch's t must stay
//! under 4.5. Another process can disturb any one trial, so there are some, and the best one counts; a difference that is
//! there shows in all of them, as a comparison that ends early does.
//!
//! Not compared is what depends on nothing secret: signatures by a public key, and refusals by shape and clock.
#![expect(clippy::unwrap_used, reason = "a test that fails shall stop where it stands and say so")]

use std::{cell::RefCell, hint::black_box, time::Instant};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use claviger_domain::{
    access_token::{KeySet, TokenError},
    clock::Timestamp,
    id::{KeyId, SigningId},
    jose::{Algorithm, JoseError, SigningKey},
    signature::{
        Against, Check, Claim, Fields, MESSAGE_SIGNATURE, Profile, SIGNATURE, SignatureError, Signer,
        Signers, Target,
        secret::{SigningKind, SigningRecord},
        sign::{Hand, Stamp, sign},
    },
    token::PublicId,
};
use smallvec::SmallVec;

const SAMPLES: usize = 10_000;
const TOLD_APART: f64 = 4.5;
const TRIALS: usize = 8;
/// So many different texts are compared in a trial.
const TEXTS: usize = SAMPLES / 5;
const KEY: &str = "0123456789";
const SECRET: &[u8] = b"a signing secret of this test";
const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const URL: &str = "https://gw.example/v1/messages";
const BODY: &[u8] = &[b'x'; 1_024];

#[expect(clippy::disallowed_methods, reason = "time is what is measured")]
fn nanos(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_nanos() as f64
}

/// Welch's t of the same work on two kinds of what was prepared for it, sampled in an order of chance. What is prepared lies
/// at the same place for both: where something lies takes time of its own.
fn t(prepare: &dyn Fn(usize, usize), work: &dyn Fn(usize, usize)) -> f64 {
    let mut samples = [Vec::with_capacity(SAMPLES), Vec::with_capacity(SAMPLES)];
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for at in 0..SAMPLES {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let first = usize::from(dice & 1 == 1);
        for class in [first, 1 - first] {
            prepare(class, at);
            let took = nanos(|| work(class, at));
            samples[class].push(took);
        }
    }
    let mut all = samples.concat();
    all.sort_by(f64::total_cmp);
    let most = all[all.len() * 9 / 10];
    let [one, other] = samples.map(|of| moments(of.into_iter().filter(|took| *took <= most)));
    (one.0 - other.0) / (one.1 / one.2 + other.1 / other.2).sqrt()
}

/// Mean, variance and number.
fn moments(of: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let of: Vec<f64> = of.collect();
    let number = of.len() as f64;
    let mean = of.iter().sum::<f64>() / number;
    let variance = of.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (number - 1.0);
    (mean, variance, number)
}

/// The smallest of several trials; none follows one that cannot tell the classes apart. Each is told its number, so that
/// what it takes is fresh: what some texts cost more than others by chance is then not the same in all.
fn best(trial: &dyn Fn(usize) -> f64) -> f64 {
    let mut best = f64::INFINITY;
    for at in 0..TRIALS {
        best = best.min(trial(at).abs());
        if best < TOLD_APART {
            break;
        }
    }
    best
}

struct Head(Vec<(&'static str, String)>);

impl Fields for Head {
    fn values(&self, name: &str) -> SmallVec<[&[u8]; 2]> {
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_bytes()).collect()
    }
}

impl Head {
    /// The same headers with other values, in place.
    fn copy_from(&mut self, other: &Self) {
        for ((_, mine), (_, theirs)) in self.0.iter_mut().zip(&other.0) {
            mine.clear();
            mine.push_str(theirs);
        }
    }
}

/// The nth signed request, whose MAC is wrong in one byte.
fn signed(profile: Profile, n: usize, wrong: usize) -> Head {
    let target = Target::of_url("POST", URL).unwrap();
    let nonce = format!("{n:032x}");
    let stamp = Stamp { key_id: KEY, at_secs: NOW.as_secs(), nonce: &nonce, expires_secs: None };
    let mut headers = sign(profile, &Hand::Secret(SECRET), stamp, &target, BODY).unwrap();
    for (name, value) in &mut headers {
        if *name == SIGNATURE {
            let mut mac = hex::decode(value.strip_prefix("sha256=").unwrap()).unwrap();
            mac[wrong] ^= 1;
            *value = format!("sha256={}", hex::encode(mac));
        } else if *name == MESSAGE_SIGNATURE {
            let text = value.strip_prefix("cvg=:").unwrap().strip_suffix(':').unwrap();
            let mut mac = STANDARD.decode(text).unwrap();
            mac[wrong] ^= 1;
            *value = format!("cvg=:{}:", STANDARD.encode(mac));
        }
    }
    Head(headers)
}

fn signers() -> Signers {
    let record = SigningRecord {
        id: SigningId::parse("sgn_a").unwrap(),
        key: KeyId::parse("key_0123456789").unwrap(),
        kind: SigningKind::Hmac,
        material: Vec::new(),
        hint: String::new(),
        created_at: Timestamp::from_secs(1),
        valid_from: Timestamp::from_secs(1),
        until: None,
        version: 1,
    };
    Signers::new(vec![Signer::new(&record, SECRET).unwrap()])
}

fn verify(head: &Head, signers: &Signers) -> Result<(), SignatureError> {
    let claim = Claim::read(head, NOW)?.unwrap();
    let target = Target::of_url("POST", URL).unwrap();
    let against = Against { key: PublicId::parse(KEY).unwrap(), signers, target: &target, fields: head };
    let mut check = Check::begin(claim, against, NOW)?;
    check.update(BODY);
    check.finish().map(drop)
}

#[test]
fn where_a_mac_is_wrong_cannot_be_told_from_the_time_of_its_refusal() {
    let signers = signers();
    for profile in Profile::ALL {
        let told = best(&|trial| {
            // What is sent takes longer to read for some texts than for others, and who sends it knows them: many are taken.
            let wrong: Vec<[Head; 2]> = (0..TEXTS)
                .map(|n| n + trial * TEXTS)
                .map(|n| [signed(profile, n, 0), signed(profile, n, 31)])
                .collect();
            let sent = RefCell::new(signed(profile, 0, 0));
            let prepare = |class: usize, at: usize| sent.borrow_mut().copy_from(&wrong[at % TEXTS][class]);
            t(&prepare, &|_, _| {
                assert_eq!(verify(&sent.borrow(), &signers), Err(SignatureError::Mismatch));
            })
        });
        assert!(told < TOLD_APART, "{}: t = {told}", profile.as_str());
    }
}

#[test]
fn a_comparison_that_ends_early_is_told_apart() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let right = hmac::sign(&key, BODY).as_ref().to_vec();
    let wrong_at = |at: usize| {
        let mut mac = right.clone();
        mac[at] ^= 1;
        mac
    };
    let wrong = [wrong_at(0), wrong_at(31)];
    let sent = RefCell::new(right.clone());
    let told = best(&|_| {
        t(&|class, _| sent.borrow_mut().copy_from_slice(&wrong[class]), &|_, _| {
            let right = hmac::sign(&key, BODY);
            for (one, other) in right.as_ref().iter().zip(&*sent.borrow()) {
                if black_box(one) != black_box(other) {
                    return;
                }
            }
        })
    });
    assert!(told > TOLD_APART, "t = {told}: this test cannot tell anything");
}

#[test]
fn whether_a_tokens_key_exists_cannot_be_told_from_the_time_of_its_refusal() {
    let [named, first, other, forger] =
        [1, 2, 3, 4].map(|seed| SigningKey::from_secret(Algorithm::EdDsa, &[seed; 32]).unwrap());
    let sets = [&named, &other].map(|second| KeySet::new(first.public().clone(), [second.public().clone()]));
    let said = [TokenError::Jose(JoseError::Signature), TokenError::KeyUnknown];
    let told = best(&|trial| {
        // Verification by a public key takes longer for some signatures than for others: many are taken, the same for both.
        let tokens: Vec<Vec<u8>> = (0..TEXTS).map(|n| forged(&named, &forger, n + trial * TEXTS)).collect();
        t(&|_, _| (), &|class, at| {
            assert_eq!(sets[class].verify(&tokens[at % TEXTS], URL), Err(said[class]));
        })
    });
    assert!(told < TOLD_APART, "t = {told}");
}

/// The nth token that names one key and is signed by another.
fn forged(named: &SigningKey, forger: &SigningKey, n: usize) -> Vec<u8> {
    let claims = serde_json::json!({ "sub": "key_0123456789", "jti": n });
    let [text, other] = [named, forger].map(|key| key.sign("at+jwt", &claims).unwrap());
    let [text, other] = [&text, &other].map(|token| token.rsplit_once('.').unwrap());
    format!("{}.{}", text.0, other.1).into_bytes()
}
