//! Any bytes as a signed token: reading never panics, and what nobody signed is never believed.
#![no_main]

use std::sync::LazyLock;

use claviger_domain::jose::{Algorithm, Jws, Profile, SigningKey};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| match SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]) {
    Ok(key) => key,
    Err(error) => panic!("{error}"),
});

fuzz_target!(|data: &[u8]| {
    for profile in [Profile::AccessToken, Profile::Dpop, Profile::Subject] {
        if let Ok(jws) = Jws::parse(data, profile) {
            assert_eq!(data.iter().filter(|byte| **byte == b'.').count(), 2);
            assert!(jws.verify(KEY.public()).is_err());
        }
    }
});
