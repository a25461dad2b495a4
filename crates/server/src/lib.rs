//! The binary's inside: command line, configuration, wiring, telemetry, clock, start and stop. No rules live here.

pub mod cli;
mod clock;
pub mod config;
mod csv;
mod data_dir;
mod dotenv;
mod entropy;
mod first_start;
mod git;
mod process;
mod reload;
mod scan;
mod simulator;
mod tasks;
mod telemetry;
mod wiring;
mod workers;

use std::process::ExitCode;

use clap::Parser;
use claviger_domain::token::Brand;
use telemetry::scrub::Scrubber;

/// Reads the command line, runs its command, and says how it went by the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // rustls and the database driver take the process's default provider: name it before either can ask.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // What ends up in a message by mistake is masked by its form; a server learns its own secrets later.
    let scrubber = Scrubber::new(Brand::DEFAULT);
    telemetry::guard_panics(scrubber.clone());
    if !process::hide_memory() {
        cli::output::warn("secrets of this process may be in a core dump: dumps could not be switched off");
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::output::usage(&error, &scrubber),
    };
    let json = cli.json;
    match cli::run(cli) {
        Ok(code) => code,
        Err(error) => {
            cli::output::report(&error, json, &scrubber);
            ExitCode::from(error.code)
        }
    }
}
