//! Any header fields, an empty line and any body as a signed request: it is read or refused, and never verified, for nobody
//! here knows the secret.
#![no_main]

use std::sync::LazyLock;

use claviger_domain::{
    clock::Timestamp,
    id::{KeyId, SigningId},
    signature::{
        Against, Check, Claim, Fields, Signer, Signers, Target,
        secret::{SigningKind, SigningRecord},
    },
    token::PublicId,
};
use libfuzzer_sys::fuzz_target;
use smallvec::SmallVec;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const KEY: &str = "0123456789";

/// What a request is verified with.
struct Ground {
    signers: Signers,
    target: Target<'static>,
    key: PublicId,
}

static GROUND: LazyLock<Ground> =
    LazyLock::new(|| ground().unwrap_or_else(|| panic!("the ground is not well made")));

fn ground() -> Option<Ground> {
    let record = SigningRecord {
        id: SigningId::parse("sgn_a").ok()?,
        key: KeyId::parse("key_0123456789").ok()?,
        kind: SigningKind::Hmac,
        material: Vec::new(),
        hint: String::new(),
        created_at: Timestamp::from_secs(1),
        valid_from: Timestamp::from_secs(1),
        until: None,
        version: 1,
    };
    Some(Ground {
        signers: Signers::new(vec![Signer::new(&record, b"a secret that is nowhere in the seeds")?]),
        target: Target::of_url("POST", "https://gw.example/v1/messages?beta=true")?,
        key: PublicId::parse(KEY)?,
    })
}

/// Lines of `name: value`.
struct Head<'a>(Vec<(&'a [u8], &'a [u8])>);

impl Fields for Head<'_> {
    fn values(&self, name: &str) -> SmallVec<[&[u8]; 2]> {
        self.0.iter().filter(|(known, _)| *known == name.as_bytes()).map(|(_, value)| *value).collect()
    }
}

fuzz_target!(|data: &[u8]| {
    let end = data.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 2..]));
    let fields = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.windows(2).position(|two| two == b": ")?;
        Some((&line[..at], &line[at + 2..]))
    });
    let head = Head(fields.collect());
    let Ok(Some(claim)) = Claim::read(&head, NOW) else { return };
    let Ground { signers, target, key } = &*GROUND;
    let against = Against { key: *key, signers, target, fields: &head };
    let Ok(mut check) = Check::begin(claim, against, NOW) else { return };
    check.update(body);
    assert!(check.finish().is_err());
});
