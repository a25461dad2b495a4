//! Any bytes as a signed token: reading never panics, and what nobody signed is never believed.
#![no_main]

use std::sync::LazyLock;

use claviger_domain::jose::{Algorithm, Jws, Profile, SigningKey};
use libfuzzer_sys::fuzz_target;

/// Whose signature nothing in the corpus bears.
static KEY: LazyLock<Option<SigningKey>> =
    LazyLock::new(|| SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]));

fuzz_target!(|data: &[u8]| {
    let Some(key) = KEY.as_ref() else { panic!("a key that can be made") };
    for profile in [Profile::AccessToken, Profile::Dpop, Profile::Subject] {
        if let Ok(jws) = Jws::parse(data, profile) {
            assert_eq!(data.iter().filter(|byte| **byte == b'.').count(), 2);
            assert!(jws.verify(key.public()).is_err());
        }
    }
});
