//! Any bytes as a key: reading never panics, and agrees with the check-by-check inspection.
#![no_main]

use claviger_domain::token::{Brand, Token, inspect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let read = Token::parse(Brand::DEFAULT, data);
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(inspect(Brand::DEFAULT, text).valid, read.is_ok());
    }
    if let Ok(token) = read {
        assert_eq!(token.expose().as_slice(), data, "a key is read as it is, never trimmed or folded");
    }
});
