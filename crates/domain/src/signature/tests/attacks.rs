//! Every attack that has a name, each refused for its own reason. What needs a memory (replays in every disguise) is
//! told by [`Disguise`]s: they verify, and it is the nonce that is the same.

use super::*;

/// What a refusal must say.
struct Attack {
    name: &'static str,
    profile: Profile,
    change: fn(&mut Sent),
    /// `error_code` and reason.
    refused: (&'static str, &'static str),
}

const INVALID: &str = "signature_invalid";
const MALFORMED: (&str, &str) = (INVALID, "signature_malformed");
const MISMATCH: (&str, &str) = (INVALID, "signature_mismatch");
const SKEWED: (&str, &str) = ("timestamp_skew", "timestamp_skew");

fn input(sent: &mut Sent, from: &str, to: &str) {
    sent.head.edit(MESSAGE_INPUT, from, to);
}

#[rustfmt::skip]
fn attacks() -> Vec<Attack> {
    use Profile::{Rfc9421 as M, V1, V2};
    let attack = |name, profile, change: fn(&mut Sent), refused| Attack { name, profile, change, refused };
    vec![
        attack("the body is changed", V1, |s| s.body[3] ^= 1, MISMATCH),
        attack("the body is cut", V1, |s| s.body.truncate(5), MISMATCH),
        attack("the body is emptied", V2, |s| s.body.clear(), MISMATCH),
        attack("the body is changed under its digest", M, |s| s.body[3] ^= 1, (INVALID, "digest_mismatch")),
        attack("body and digest are changed", M, |s| {
            s.body = b"{}".to_vec();
            s.head.set(CONTENT_DIGEST, "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:");
        }, MISMATCH),
        attack("bytes move from the body into the time", V1, |s| {
            s.body.extend_from_slice(b"|1767225600|");
        }, MISMATCH),
        attack("the time is renewed", V1, |s| {
            s.now = NOW.plus_micros(600 * MICROS_PER_SEC);
            s.head.set(TIMESTAMP, "1767226200");
        }, MISMATCH),
        attack("the nonce is renewed", V1, |s| s.head.set(NONCE, "ffffffffffffffffffffffffffffffff"), MISMATCH),
        attack("a request is kept and sent later", V1, |s| s.now = NOW.plus_micros(301 * MICROS_PER_SEC), SKEWED),
        attack("a request is signed for later", M, |s| s.now = NOW.plus_micros(-301 * MICROS_PER_SEC), SKEWED),
        attack("the time is in milliseconds", V1, |s| s.head.set(TIMESTAMP, "1767225600000"), MALFORMED),
        attack("the time has a sign", V1, |s| s.head.set(TIMESTAMP, "+176722560"), MALFORMED),
        attack("the time has digits of another script", V1, |s| s.head.set(TIMESTAMP, "１７６"), MALFORMED),
        attack("the nonce is short", V1, |s| s.head.set(NONCE, "00"), MALFORMED),
        attack("the nonce is in capitals", V1, |s| s.head.set(NONCE, "000102030405060708090A0B0C0D0E0F"), MALFORMED),
        attack("the nonce is missing", V1, |s| s.head.drop(NONCE), MALFORMED),
        attack("the time is there twice", V1, |s| s.head.add(TIMESTAMP, "1767225600"), MALFORMED),
        attack("the signature is there twice", V1, |s| { let again = s.head.get(SIGNATURE); s.head.add(SIGNATURE, &again); }, MALFORMED),
        attack("both forms at once", V1, |s| {
            let mac = s.head.get(SIGNATURE).replacen("sha256=", "", 1);
            s.head.set(SIGNATURE, &format!("ts={NOW_SECS}&nonce={NONCE_TEXT}&sig={mac}"));
        }, MALFORMED),
        attack("the one string in another order", V1, |s| s.head.set(SIGNATURE, &format!("nonce={NONCE_TEXT}&ts={NOW_SECS}&sig=00")), MALFORMED),
        attack("the MAC is cut", V1, |s| { let mac = s.head.get(SIGNATURE); s.head.set(SIGNATURE, &mac[..40]); }, MALFORMED),
        attack("the MAC is empty", V1, |s| s.head.set(SIGNATURE, "sha256="), MALFORMED),
        attack("the MAC is in capitals", V1, |s| { let mac = s.head.get(SIGNATURE)[7..].to_uppercase(); s.head.set(SIGNATURE, &format!("sha256={mac}")); }, MALFORMED),
        attack("another hash is named", V1, |s| s.head.edit(SIGNATURE, "sha256=", "sha1="), MALFORMED),
        attack("the MAC is all zeros", V1, |s| s.head.set(SIGNATURE, &format!("sha256={}", "0".repeat(64))), MISMATCH),
        attack("v2 is sent as v1", V2, |s| s.head.drop(VERSION), MISMATCH),
        attack("v1 is sent as v2", V1, |s| s.head.set(VERSION, "2"), MISMATCH),
        attack("a version that does not exist", V2, |s| s.head.set(VERSION, "3"), MALFORMED),
        attack("sent to another path", V2, |s| s.url = "https://gw.example/v1/files?beta=true".into(), MISMATCH),
        attack("sent with another method", V2, |s| s.method = "PUT", MISMATCH),
        attack("sent to another gateway", V2, |s| s.url = "https://other.example/v1/messages?beta=true".into(), MISMATCH),
        attack("the query is taken away", V2, |s| s.url = "https://gw.example/v1/messages".into(), MISMATCH),
        attack("sent with another key", V2, |s| s.key = "9876543210", MISMATCH),
        attack("sent to another path (message)", M, |s| s.url = "https://gw.example/v1/files?beta=true".into(), MISMATCH),
        attack("sent with another method (message)", M, |s| s.method = "DELETE", MISMATCH),
        attack("sent with another key (message)", M, |s| s.key = "9876543210", (INVALID, "signature_other_key")),
        attack("the parameters in another order", M, |s| input(s, &format!("created={NOW_SECS};nonce=\"{NONCE_TEXT}\""), &format!("nonce=\"{NONCE_TEXT}\";created={NOW_SECS}")), MISMATCH),
        attack("the components in another order", M, |s| input(s, r#""@method" "@authority""#, r#""@authority" "@method""#), MISMATCH),
        attack("the method is not covered", M, |s| input(s, r#""@method" "#, ""), MALFORMED),
        attack("the query is not covered", M, |s| input(s, r#""@query" "#, ""), MALFORMED),
        attack("the digest is not covered", M, |s| input(s, r#" "content-digest""#, ""), MISMATCH),
        attack("the digest is taken away", M, |s| s.head.drop(CONTENT_DIGEST), MALFORMED),
        attack("the digest is there twice", M, |s| { let again = s.head.get(CONTENT_DIGEST); s.head.add(CONTENT_DIGEST, &again); }, MALFORMED),
        attack("the digest is of a broken hash", M, |s| s.head.set(CONTENT_DIGEST, "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:"), MALFORMED),
        attack("the digest comes in a trailer", M, |s| input(s, r#""content-digest""#, r#""content-digest";tr"#), MALFORMED),
        attack("a component is covered twice", M, |s| input(s, r#""@method" "#, r#""@method" "@method" "#), MALFORMED),
        attack("a component that does not exist", M, |s| input(s, r#""@method" "#, r#""@method" "@host" "#), MALFORMED),
        attack("part of the query", M, |s| input(s, r#""@method" "#, r#""@method" "@query-param";name="beta" "#), MALFORMED),
        attack("a field that is not there", M, |s| input(s, r#""@method" "#, r#""@method" "x-gone" "#), MALFORMED),
        attack("a field in capitals", M, |s| input(s, r#""@method" "#, r#""@method" "Host" "#), MALFORMED),
        attack("the signature covers itself", M, |s| input(s, r#""@method" "#, r#""@method" "signature" "#), MALFORMED),
        attack("a parameter that is not known", M, |s| input(s, ";alg=", ";admin;alg="), MALFORMED),
        attack("a parameter twice", M, |s| input(s, ";alg=", ";created=1;alg="), MALFORMED),
        attack("no time of its own", M, |s| input(s, &format!(";created={NOW_SECS}"), ""), MALFORMED),
        attack("no nonce", M, |s| input(s, &format!(";nonce=\"{NONCE_TEXT}\""), ""), MALFORMED),
        attack("no key id", M, |s| input(s, &format!(";keyid=\"{KEY_ID}\""), ""), MALFORMED),
        attack("an algorithm that verifies nothing", M, |s| input(s, "hmac-sha256", "none"), MALFORMED),
        attack("an algorithm for another kind of key", M, |s| input(s, "hmac-sha256", "ed25519"), (INVALID, "signature_no_secret")),
        attack("its own time is over", M, |s| input(s, ";alg=", ";expires=1767225599;alg="), ("timestamp_skew", "signature_expired")),
        attack("two labels", M, |s| { let one = s.head.get(MESSAGE_INPUT); s.head.set(MESSAGE_INPUT, &format!("{one}, x={}", &one[4..])); }, MALFORMED),
        attack("the labels differ", M, |s| s.head.edit(MESSAGE_SIGNATURE, "cvg=", "sig="), MALFORMED),
        attack("the signature is empty", M, |s| s.head.set(MESSAGE_SIGNATURE, "cvg=::"), MISMATCH),
        attack("the signature is text", M, |s| s.head.set(MESSAGE_SIGNATURE, r#"cvg="aGk=""#), MALFORMED),
        attack("the input is missing", M, |s| s.head.drop(MESSAGE_INPUT), MALFORMED),
        attack("the signature is missing", M, |s| s.head.drop(MESSAGE_SIGNATURE), MALFORMED),
        attack("the input is a hundred kilobytes", M, |s| { let long = format!("cvg=({})", "\"a\" ".repeat(25_000)); s.head.set(MESSAGE_INPUT, &long); }, MALFORMED),
        attack("two profiles at once", M, |s| s.head.add(SIGNATURE, "sha256="), MALFORMED),
    ]
}

#[test]
fn every_named_attack_is_refused_for_its_own_reason() {
    let attacks = attacks();
    assert!(attacks.len() >= 20, "{}", attacks.len());
    for attack in attacks {
        let mut sent = Sent::signed(attack.profile);
        sent.verify(&signers()).unwrap();
        (attack.change)(&mut sent);
        let error = sent.verify(&signers()).expect_err(attack.name);
        assert_eq!((error.error_code(), error.reason()), attack.refused, "{}: {error}", attack.name);
        assert!(!error.to_string().contains("secret-32"), "{error}");
    }
}

/// A replay in another dress: it verifies, so that its nonce must give it away.
struct Disguise {
    name: &'static str,
    profile: Profile,
    change: fn(&mut Sent),
}

#[test]
fn replays_in_every_disguise_show_the_nonce_that_was_used() {
    let disguises = [
        Disguise { name: "as it was", profile: Profile::V1, change: |_| () },
        Disguise {
            name: "v1 on another route",
            profile: Profile::V1,
            change: |s| s.url = "https://gw.example/v1/files".into(),
        },
        Disguise {
            name: "in the other form",
            profile: Profile::V1,
            change: |s| {
                let mac = s.head.get(SIGNATURE).replacen("sha256=", "", 1);
                s.head.set(SIGNATURE, &format!("ts={NOW_SECS}&nonce={NONCE_TEXT}&sig={mac}"));
                s.head.drop(TIMESTAMP);
                s.head.drop(NONCE);
            },
        },
        Disguise {
            name: "under another label",
            profile: Profile::Rfc9421,
            change: |s| {
                s.head.edit(MESSAGE_INPUT, "cvg=", "other=");
                s.head.edit(MESSAGE_SIGNATURE, "cvg=", "other=");
            },
        },
        Disguise {
            name: "with other spaces",
            profile: Profile::Rfc9421,
            change: |s| s.head.edit(MESSAGE_INPUT, r#"("@method" "#, r#"( "@method"   "#),
        },
        Disguise {
            name: "at the last moment",
            profile: Profile::V2,
            change: |s| s.now = NOW.plus_micros(300 * MICROS_PER_SEC),
        },
    ];
    for disguise in disguises {
        let mut sent = Sent::signed(disguise.profile);
        let first = sent.verify(&signers()).unwrap().used;
        (disguise.change)(&mut sent);
        let again = sent.verify(&signers()).unwrap_or_else(|error| panic!("{}: {error}", disguise.name)).used;
        assert_eq!((first.key, first.nonce), (again.key, again.nonce), "{}", disguise.name);
        assert_eq!(first.kept_until_secs(), again.kept_until_secs(), "{}", disguise.name);
    }
}
