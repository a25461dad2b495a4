//! One key's whole life under a strict policy, as its operator and its holder live it.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use serde_json::Value;

use super::ground::{Ground, on_both};
use crate::house::Key;

on_both!(one_key_lives_from_its_birth_to_its_certificate);

const PASSWORD: &str = "correct horse battery staple";
/// A code holds for so many seconds.
const CODE_SECS: u64 = 30;

/// An operator who logs in anew whenever time has passed.
struct Ann {
    secret: Vec<u8>,
    password_file: String,
}

impl Ann {
    /// The code of the period that is `away` periods from now, by the gateway's clock.
    fn code(&self, ground: &Ground, away: i64) -> String {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let moved = wall + ground.hours() * 3_600;
        let counter = (moved / CODE_SECS).checked_add_signed(away).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let tag = hmac::sign(&key, &counter.to_be_bytes());
        let at = usize::from(tag.as_ref()[19] & 15);
        let word = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", word % 1_000_000)
    }

    /// With the code of the period before, so that the present one is left for what comes next.
    fn log_in(&self, ground: &Ground) {
        // Close to its end, the period before would be two periods ago by the time the code is looked at.
        let gone = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % CODE_SECS;
        if gone >= CODE_SECS - 10 {
            std::thread::sleep(std::time::Duration::from_secs(CODE_SECS - gone));
        }
        let code = self.code(ground, -1);
        ground.node.json(&[
            "login",
            "--name",
            "Ann",
            "--password-file",
            &self.password_file,
            "--totp",
            &code,
        ]);
    }

    /// Logs in and does something that needs a fresh second factor.
    fn prove(&self, ground: &Ground, arguments: &[&str]) -> Value {
        self.log_in(ground);
        let code = self.code(ground, 0);
        ground.node.json(&[arguments, &["--totp", &code]].concat())
    }
}

fn enrol(ground: &Ground) -> Ann {
    let password_file = ground.node.write("password", PASSWORD).display().to_string();
    let add = ["operator", "add", "ann", "--role", "owner", "--password-file", &password_file];
    let added = ground.node.json(&add);
    let secret = base32(added["totp_secret"].as_str().unwrap());
    Ann { secret, password_file }
}

/// RFC 4648, section 6, without padding.
fn base32(text: &str) -> Vec<u8> {
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for digit in text.bytes().filter(|b| *b != b'=') {
        let value =
            if digit.is_ascii_digit() { digit - b'2' + 26 } else { digit.to_ascii_uppercase() - b'A' };
        held = (held << 5) | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from((held >> bits) & 255).unwrap());
        }
    }
    out
}

fn open(ground: &Ground, id: &str, token: &str) -> Key {
    let out = ground.node.json(&["unwrap", token]);
    assert_eq!(out["id"], id);
    Key { id: id.to_owned(), key: out["key"].as_str().unwrap().to_owned() }
}

fn word(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

/// How often somebody was told that a key runs out.
fn warnings(ground: &Ground, key: &Key) -> usize {
    let notices = ground.node.json(&["notice", "list", "--limit", "1000"]);
    let is = |n: &&Value| n["kind"] == "key.expiring" && n["key"] == key.id.as_str();
    notices.as_array().unwrap().iter().filter(is).count()
}

fn one_key_lives_from_its_birth_to_its_certificate(mut ground: Ground) {
    // A strict policy, and the first operator: from now on nobody administers without having logged in.
    ground.node.json(&["policy", "set", "--max-keys", "3", "--require-ip", "--require-mfa"]);
    let ann = enrol(&ground);
    assert_eq!(ground.node.cli(&["key", "list"]).code, 4, "the socket is closed to strangers");
    ann.log_in(&ground);
    let create = ["key", "create", "--name", "build", "--wrapped", "--rpm", "0", "--allow-ip", "127.0.0.0/8"];
    let refused = ground.node.cli(&create);
    assert_eq!(refused.code, 4, "{}", refused.stdout);
    assert!(refused.stderr.contains("second factor"), "{}", refused.stderr);
    let code = ann.code(&ground, 0);
    let made = ground.node.json(&[&create[..], &["--totp", &code]].concat());
    assert!(made.get("key").is_none_or(Value::is_null), "delivered wrapped: {made}");
    let old = open(&ground, &word(&made, "id"), &word(&made, "wrapping_token"));
    assert_eq!(ground.ask(&old).status, 200);

    // It is used, and its owner hears of its end in time: at each threshold once.
    let mut told = 0;
    for days in [77, 6, 5, 1] {
        ground.pass_hours(days * 24);
        ann.log_in(&ground);
        ground.check_daily();
        told += 1;
        assert_eq!(warnings(&ground, &old), told, "after {days} more days");
        ground.check_daily();
    }
    assert_eq!(warnings(&ground, &old), 4, "no other day, and none twice");
    ground.pass_hours(1);
    ann.prove(&ground, &["key", "update", &old.id, "--expires-in", "30d"]);

    // It is replaced: both work, the old one is left alone and walks down the ladder.
    ground.pass_hours(1);
    let begun = ann.prove(&ground, &["key", "rotate", &old.id, "--overlap", "7d"]);
    let rotation = word(&begun, "rotation");
    let new = open(&ground, &word(&begun, "successor"), &word(&begun, "wrapping_token"));
    assert_eq!((ground.ask(&old).status, ground.ask(&new).status), (200, 200));
    let status = ground.until(&rotation, "overlapping");
    assert_eq!(status["share_old"], 0.5, "{status}");
    assert!(status["last_use_old"].is_string() && status["deadline"].is_string(), "{status}");
    ground.restart();
    let walk = [(26, "warned"), (2, "limited"), (23, "final_warning"), (24, "refused")];
    for (hours, stage) in walk {
        ground.pass_hours(hours);
        ann.log_in(&ground);
        ground.until_stage(&rotation, stage);
        let expected = if stage == "refused" { 401 } else { 200 };
        assert_eq!(ground.ask(&old).status, expected, "{stage}");
    }
    ground.pass_hours(25);
    ann.log_in(&ground);
    ground.until(&rotation, "finished");
    assert_eq!((ground.ask(&old).status, ground.ask(&new).status), (401, 200));

    // What is left of it is proof.
    let certificate =
        claviger_testkit::eventually("a certificate", std::time::Duration::from_secs(30), || {
            let shown = ground.node.cli(&["certificate", "show", &old.id, "--json"]);
            (shown.code == 0).then_some(shown.stdout)
        });
    let public = ground.node.cli(&["certificate", "public-key"]).stdout;
    let public = ground.node.write("public.pem", &public).display().to_string();
    let file = ground.node.write("certificate.json", &certificate).display().to_string();
    assert_eq!(ground.node.cli(&["audit", "verify"]).code, 0);
    assert!(ground.node.stop().success());
    let folder = ground.node.folder().join("elsewhere");
    fs::create_dir(&folder).unwrap();
    let offline = [
        "certificate",
        "verify",
        &file,
        "--public-key",
        &public,
        "--data",
        folder.to_str().unwrap(),
        "--json",
    ];
    let verified = ground.node.cli(&offline);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((&verified["valid"], &verified["reason"]), (&true.into(), &"ROTATION".into()));
}
