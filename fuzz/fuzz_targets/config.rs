//! Any text as a configuration file: it is read, or refused with a place inside the text.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the fields are what is read, and nobody asks for them here")]
#[path = "../../crates/server/src/config/file.rs"]
mod file;
#[expect(dead_code, reason = "likewise")]
#[path = "../../crates/server/src/config/value.rs"]
mod value;

fuzz_target!(|text: &str| {
    if let Err(file::FileError::Parse { place, .. }) = file::FileConfig::parse(Path::new("c"), text) {
        assert!(place.line >= 1 && place.line <= text.matches('\n').count() + 1);
        assert!(place.column >= 1);
    }
});
