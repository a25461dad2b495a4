//! Bodies of any bytes: the law is `claviger_claude_wire::laws::request_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| claviger_claude_wire::laws::request_head(data));
