//! The vectors that the Python, TypeScript, Go and Rust clients all replay: `clients/conformance`.

mod dpop;
mod limiter;
mod retry;
mod sealed;
mod signing;
mod statistics;
mod succession;
mod texts;
mod tokens;

use std::{collections::BTreeMap, fs, path::Path};

use serde::de::DeserializeOwned;

type Headers = BTreeMap<String, String>;

/// Reads a file of vectors. The types that it is read into refuse fields that they do not know: a client must not pass
/// by overlooking one.
fn vectors<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/conformance").join(name);
    let text = fs::read_to_string(&path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_price_table_is_the_shared_one() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/conformance/prices.json");
    assert_eq!(
        fs::read_to_string(shared).unwrap(),
        include_str!("prices.json"),
        "copy it to src/prices.json"
    );
    crate::prices::Prices::parse(include_str!("prices.json")).unwrap();
}
