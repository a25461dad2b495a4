//! The command line: one command a file. Every command takes `--json` and `--data`.

mod audit;
mod backup;
pub mod client;
mod completions;
mod credential;
mod env;
mod holder;
mod key;
mod limits;
mod openapi;
pub mod output;
mod owner;
mod scan;
mod serve;
mod status;
mod upstream;
mod usage;
mod workspace;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use client::Client;
use output::{CliError, Output};

/// Issues, guards, rotates and revokes API keys for the Claude API, and is the gateway that those keys open.
#[derive(Debug, Parser)]
#[command(
    name = "claviger",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 claviger is not running, 4 refused or invalid, \
                  5 verification failed or keys found."
)]
pub struct Cli {
    /// Data folder [default: $XDG_DATA_HOME/claviger or ~/.local/share/claviger]
    #[arg(long, global = true, env = "CLAVIGER_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order of a first day.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway and the control plane
    Serve(Box<crate::config::ServeArgs>),
    /// Where calls go
    #[command(subcommand)]
    Upstream(upstream::UpstreamCommand),
    /// Provider keys, sealed
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    /// Teams and their environments
    #[command(subcommand)]
    Workspace(workspace::WorkspaceCommand),
    /// People and services that keys belong to
    #[command(subcommand)]
    Owner(owner::OwnerCommand),
    /// Keys that open the gateway
    #[command(subcommand)]
    Key(Box<key::KeyCommand>),
    /// Limits and what is left of them
    #[command(subcommand)]
    Limits(limits::LimitsCommand),
    /// Requests, tokens and cost
    Usage(usage::UsageArgs),
    /// The record of what happened, and its proof
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Write a key into a program's .env file, or check what the program misses
    Env(Box<env::EnvArgs>),
    /// Find keys that stand in files
    Scan(scan::ScanArgs),
    /// Copy the database and the master key to a folder
    Backup(backup::BackupArgs),
    /// How the running claviger does
    Status,
    /// Print a completion script
    Completions(completions::CompletionsArgs),
    /// Print the document that describes the admin API (OpenAPI 3.1)
    Openapi,
}

/// What every command gets.
pub struct Context {
    /// Where to print.
    pub out: Output,
    /// The data folder, as given.
    pub data: Option<PathBuf>,
}

impl Context {
    /// A client of the running process.
    ///
    /// # Errors
    /// [`CliError`] when no data folder can be named.
    pub fn client(&self) -> Result<Client, CliError> {
        Ok(Client::new(&self.data_folder()?))
    }

    /// The data folder.
    ///
    /// # Errors
    /// [`CliError`] when no variable names a home.
    pub fn data_folder(&self) -> Result<PathBuf, CliError> {
        crate::config::data_folder(self.data.clone()).map_err(|e| CliError::usage(e.to_string()))
    }
}

/// Runs one command.
///
/// # Errors
/// [`CliError`] with its exit code.
pub fn run(cli: Cli) -> Result<(), CliError> {
    let context = Context { out: Output::new(cli.json), data: cli.data };
    match cli.command {
        Command::Serve(args) => serve::run(&context, &args),
        Command::Upstream(command) => upstream::run(&context, command),
        Command::Credential(command) => credential::run(&context, command),
        Command::Workspace(command) => workspace::run(&context, command),
        Command::Owner(command) => owner::run(&context, command),
        Command::Key(command) => key::run(&context, *command),
        Command::Limits(command) => limits::run(&context, command),
        Command::Usage(args) => usage::run(&context, &args),
        Command::Audit(command) => audit::run(&context, command),
        Command::Env(args) => env::run(&context, *args),
        Command::Scan(args) => scan::run(&context, &args),
        Command::Backup(args) => backup::run(&context, &args),
        Command::Status => status::run(&context),
        Command::Completions(args) => completions::run(&args),
        Command::Openapi => openapi::run(&context),
    }
}
