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

/// Reads the command line, runs its command, and says how it went by the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // rustls and the database driver take the process's default provider: name it before either can ask.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = cli::Cli::parse();
    let json = cli.json;
    match cli::run(cli) {
        Ok(code) => code,
        Err(error) => {
            cli::output::report(&error, json);
            ExitCode::from(error.code)
        }
    }
}
