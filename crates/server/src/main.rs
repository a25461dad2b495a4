//! `claviger`: the guard of API keys for the Claude API, and the gateway that they open.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    claviger_server::main()
}
