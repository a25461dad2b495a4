//! Streams of any bytes: the law is `claviger_claude_wire::laws::sse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| claviger_claude_wire::laws::sse(data));
