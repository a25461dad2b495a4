//! The command line: one command a file. Every command takes `--json` and `--data`.

mod apply;
mod approval;
mod ask;
mod audit;
mod backup;
mod batch;
mod budget;
mod cache;
mod calibrate;
mod cert;
mod certificate;
mod channel;
pub mod client;
mod completions;
mod credential;
mod credit;
mod env;
mod exec;
mod gateway;
mod holder;
mod import;
mod issuer;
mod job;
mod key;
mod limit_args;
mod limits;
mod login;
mod notice;
mod openapi;
mod operator;
pub mod output;
mod owner;
mod policy;
pub mod profile;
mod reconcile;
mod report;
mod review;
mod rotation;
mod savings;
mod scan;
mod seal_key;
mod sender;
mod serve;
mod settings;
mod sign;
mod signer;
mod status;
mod store_key;
mod token;
pub mod token_key;
pub mod transport;
mod trust;
mod unwrap;
mod upstream;
mod usage;
mod whoami;
mod workspace;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use client::{Client, Place};
use output::{CliError, Output};
use profile::Profile;

/// Issues, guards, rotates and revokes API keys for the Claude API, and is the gateway that those keys open.
#[derive(Debug, Parser)]
#[command(
    name = "claviger",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 claviger is not running, 4 refused or invalid, \
                  5 verification failed or keys found, 6 not done yet: it \
                  waits for a second person, or `apply --plan` found something to do, 7 a batch ended at a ceiling."
)]
pub struct Cli {
    /// Data folder [default: $XDG_DATA_HOME/claviger or ~/.local/share/claviger]
    #[arg(long, global = true, env = "CLAVIGER_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The control plane, such as https://claviger.example.com:8788 [default: where you are logged in, else the socket]
    #[arg(long, global = true, env = "CLAVIGER_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Believe this certificate authority, too (PEM), when the control plane is asked
    #[arg(long, global = true, env = "CLAVIGER_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A fresh code of your second factor, for what needs one
    #[arg(long, global = true, env = "CLAVIGER_TOTP", value_name = "CODE", hide_env_values = true)]
    pub totp: Option<String>,
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
    /// Who administers: people and machines
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// Log in as an operator
    Login(login::LoginArgs),
    /// Log out
    Logout,
    /// Your session
    #[command(subcommand)]
    Session(login::SessionCommand),
    /// Requests that wait for a second person
    #[command(subcommand)]
    Approval(approval::ApprovalCommand),
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
    /// Keys that are being replaced by successors
    #[command(subcommand)]
    Rotation(rotation::RotationCommand),
    /// Open a wrapped key, once
    Unwrap(unwrap::UnwrapArgs),
    /// What keys may do and do not use
    #[command(subcommand)]
    Review(review::ReviewCommand),
    /// What proves that a key was revoked
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// What workspaces demand of their keys
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Issuers of other platforms' identities
    #[command(subcommand)]
    Issuer(issuer::IssuerCommand),
    /// Which of their identities buy short-lived keys
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Ceilings on money: set, show, list, drop
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// Prepaid credit: accounts, payments, refunds, statements
    #[command(subcommand)]
    Credit(credit::CreditCommand),
    /// The response cache: show, flush
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Have the provider count tokens, and say how far estimates are off
    Calibrate(calibrate::CalibrateArgs),
    /// Limits and what is left of them
    #[command(subcommand)]
    Limits(limits::LimitsCommand),
    /// Requests, tokens and cost
    Usage(usage::UsageArgs),
    /// What prompt caching, batches and the response cache saved
    Savings(savings::SavingsArgs),
    /// Hold the provider's bill against the ledger
    Reconcile(reconcile::ReconcileArgs),
    /// The record of what happened, and its proof
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Compare what a file declares with what is there, and bring it about
    Apply(apply::ApplyArgs),
    /// Where notices go
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// What people were told, and whether it reached them
    #[command(subcommand)]
    Notice(notice::NoticeCommand),
    /// What is done again and again
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Keys that sign access tokens
    #[command(subcommand)]
    TokenKey(token_key::TokenKeyCommand),
    /// The weekly rotation report, and how fast and how well calls were answered
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Run a command with a short-lived key of its own
    Exec(Box<exec::ExecArgs>),
    /// Print a short-lived key, for programs that ask a helper for one
    Token(token::TokenArgs),
    /// Many requests from a file
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    /// Say what a key may do and what is left of its limits and budgets
    Whoami(whoami::WhoamiArgs),
    /// Write a key into a program's .env file, or check what the program misses
    Env(Box<env::EnvArgs>),
    /// Print the headers that sign a request, without asking anyone
    Sign(Box<sign::SignArgs>),
    /// Seal a key so that only a key management service opens it
    SealKey(seal_key::SealKeyArgs),
    /// Put a key into Vault or OpenBao, and print a wrapped token that reads it
    StoreKey(store_key::StoreKeyArgs),
    /// Find keys that stand in files
    Scan(scan::ScanArgs),
    /// A small certificate authority for trying mutual TLS; not for production
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Copy the database and the master key to a folder
    Backup(backup::BackupArgs),
    /// How the running claviger does
    Status,
    /// The settings that it runs with
    #[command(subcommand)]
    Settings(settings::SettingsCommand),
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
    /// The control plane's address, as given.
    pub url: Option<String>,
    /// The authority to be believed, as given.
    pub ca_file: Option<PathBuf>,
    /// A code of the second factor, as given.
    pub totp: Option<String>,
}

impl Context {
    /// A client of the control plane that is meant, for whoever is logged in there.
    ///
    /// # Errors
    /// [`CliError`] when no place can be named, or the login cannot be read.
    pub fn client(&self) -> Result<Client, CliError> {
        let client = Client::find(self.place(), Profile::load()?)?;
        match &self.totp {
            Some(code) => client.with_code(code),
            None => Ok(client),
        }
    }

    /// A code of the second factor: as given, else asked for.
    ///
    /// # Errors
    /// [`CliError`] when nobody can be asked.
    pub fn code(&self) -> Result<String, CliError> {
        self.totp.clone().map_or_else(|| ask::line("code of the second factor", "--totp"), Ok)
    }

    /// What was said about where the control plane is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            url: self.url.clone(),
            ca_file: self.ca_file.clone(),
            data: self.data.clone(),
            default_data: crate::config::data_folder(None).ok(),
            token: std::env::var("CLAVIGER_OPERATOR_TOKEN").ok().filter(|t| !t.trim().is_empty()),
        }
    }

    /// The data folder.
    ///
    /// # Errors
    /// [`CliError`] when no variable names a home.
    pub fn data_folder(&self) -> Result<PathBuf, CliError> {
        crate::config::data_folder(self.data.clone()).map_err(|e| CliError::usage(e.to_string()))
    }
}

/// Runs one command. The exit code is another than 0 only where a command passes on that of another program.
///
/// # Errors
/// [`CliError`] with its exit code.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let Cli { data, url, ca_file, totp, json, command } = cli;
    let context = Context { out: Output::new(json), data, url, ca_file, totp };
    let done = match command {
        Command::Serve(args) => serve::run(&context, &args),
        Command::Operator(command) => operator::run(&context, command),
        Command::Login(args) => login::run(&context, args),
        Command::Logout => login::logout(&context),
        Command::Session(command) => login::session(&context, command),
        Command::Approval(command) => approval::run(&context, command),
        Command::Upstream(command) => upstream::run(&context, command),
        Command::Credential(command) => credential::run(&context, command),
        Command::Workspace(command) => workspace::run(&context, command),
        Command::Owner(command) => owner::run(&context, command),
        Command::Key(command) => key::run(&context, *command),
        Command::Rotation(command) => rotation::run(&context, command),
        Command::Unwrap(args) => unwrap::run(&context, args),
        Command::Review(command) => review::run(&context, command),
        Command::Certificate(command) => certificate::run(&context, command),
        Command::Policy(command) => policy::run(&context, command),
        Command::Issuer(command) => issuer::run(&context, command),
        Command::Trust(command) => trust::run(&context, command),
        Command::Budget(command) => budget::run(&context, command),
        Command::Credit(command) => credit::run(&context, command),
        Command::Cache(command) => cache::run(&context, command),
        Command::Calibrate(args) => calibrate::run(&context, &args),
        Command::Limits(command) => limits::run(&context, command),
        Command::Usage(args) => usage::run(&context, &args),
        Command::Savings(args) => savings::run(&context, &args),
        Command::Reconcile(args) => reconcile::run(&context, &args),
        Command::Audit(command) => audit::run(&context, command),
        Command::Exec(args) => return exec::run(&context, &args),
        Command::Batch(command) => return batch::run(&context, command),
        Command::Token(args) => token::run(&context, &args),
        Command::Whoami(args) => whoami::run(&context, &args),
        Command::Env(args) => env::run(&context, *args),
        Command::SealKey(args) => seal_key::run(&context, &args),
        Command::StoreKey(args) => store_key::run(&context, &args),
        Command::Scan(args) => scan::run(&context, &args),
        Command::Apply(args) => return apply::run(&context, &args),
        Command::Channel(command) => channel::run(&context, command),
        Command::Notice(command) => notice::run(&context, command),
        Command::Job(command) => job::run(&context, command),
        Command::TokenKey(command) => token_key::run(&context, command),
        Command::Report(command) => report::run(&context, command),
        Command::Cert(command) => cert::run(&context, command),
        Command::Sign(args) => sign::run(&context, &args),
        Command::Backup(args) => backup::run(&context, &args),
        Command::Status => status::run(&context),
        Command::Settings(command) => settings::run(&context, &command),
        Command::Completions(args) => completions::run(&args),
        Command::Openapi => openapi::run(),
    };
    done.map(|()| ExitCode::SUCCESS)
}
