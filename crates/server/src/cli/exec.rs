//! `claviger exec`

mod signals;

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitCode, ExitStatus},
    time::Duration,
};

use clap::Args;
use claviger_domain::token::Token;
use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use self::signals::Signals;
use super::{
    Context,
    gateway::{Gateway, NotDone, field},
    holder::{HolderArgs, ours, text},
    output::CliError,
};
use crate::config::value::Span;

/// How long the key lives from one heartbeat to the next at most; when this process dies, it dies after that.
const LEASE_SECS: u64 = 85;
/// How soon a heartbeat that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the end waits for the key's end to be confirmed.
const FAREWELL: Duration = Duration::from_secs(5);
/// As shells say it: found, but it cannot be run.
const NOT_RUNNABLE: u8 = 126;
/// As shells say it: not found.
const NOT_FOUND: u8 = 127;
/// The program's variables that hold the parent, or would stand in the child's way.
const TAKEN_AWAY: [&str; 3] = ["ANTHROPIC_AUTH_TOKEN", "CLAVIGER_KEY", "CLAVIGER_KEY_FILE"];

/// `exec`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: the command's own, 128 + N when signal N ended it, 126 when it cannot be run, 127 \
                        when it is not found."
)]
pub struct ExecArgs {
    /// No longer than this: 10s to years; without it as long as the command runs
    #[arg(long, value_name = "SPAN")]
    ttl: Option<Span>,
    /// Models the command may use, within what the key may
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    models: Vec<String>,
    /// Address blocks it may be used from, within those of the key
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    allow_ip: Vec<String>,
    /// Give the command an access token of the child key instead of the key: for keys that demand one, and for at most
    /// two hours
    #[arg(long)]
    access: bool,
    #[command(flatten)]
    holder: HolderArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A child key, and where it opens.
struct Lent {
    gateway: Gateway,
    id: String,
    key: Token,
    /// What the command is shown instead of the key.
    access_token: Option<String>,
    beat_every: Duration,
}

/// Runs a command with a child key of its own that lives no longer than the command.
///
/// # Errors
/// [`CliError`] when the command was not begun.
pub fn run(context: &Context, args: &ExecArgs) -> Result<ExitCode, CliError> {
    let (gateway, _) = Gateway::find(context, &args.holder)?;
    // The command runs as the same user, and must not read the parent out of this process.
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        context.out.note("the key in this process cannot be hidden from other processes of this user");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|e| CliError::failed(e.to_string()))?;
    let lent = lend(gateway, args)?;
    let code = runtime.block_on(accompany(context, args, &lent));
    // A beat that hangs does not hold the end up.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}

fn lend(gateway: Gateway, args: &ExecArgs) -> Result<Lent, CliError> {
    let name = args.command.first().map(|c| c.to_string_lossy().chars().take(100).collect::<String>());
    let ttl = args.ttl.map_or(LEASE_SECS, |ttl| ttl.secs().min(LEASE_SECS));
    let minted = gateway.mint(&json!({
        "name": format!("exec {}", name.unwrap_or_default()).replace(char::is_control, " "),
        "ttl_secs": ttl,
        "models": args.models,
        "allow_ip": args.allow_ip,
    }))?;
    let key = ours(field(&minted, "key")?, "the gateway's answer")?;
    let access_token = if args.access { Some(buy(&gateway, &key)?) } else { None };
    Ok(Lent {
        id: field(&minted, "id")?.to_owned(),
        key,
        access_token,
        beat_every: Duration::from_secs(
            minted["heartbeat_secs"].as_u64().unwrap_or(30).clamp(1, LEASE_SECS / 3),
        ),
        gateway,
    })
}

/// It dies with the child key, and so with the command.
fn buy(gateway: &Gateway, key: &Token) -> Result<String, CliError> {
    let bought = gateway.opened_by(key)?.auth("/token", &json!({"grant_type": "client_credentials"}))?;
    field(&bought, "access_token").map(str::to_owned)
}

/// From the command's begin to the key's end.
async fn accompany(context: &Context, args: &ExecArgs, lent: &Lent) -> u8 {
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return give_up(context, lent, &format!("signals: {error}"), 1).await,
    };
    let code = match begin(args, lent) {
        Ok(child) => attend(context, args, lent, child, signals).await,
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
            let name = args.command.first().map(|c| c.to_string_lossy().into_owned());
            return give_up(context, lent, &format!("{}: {error}", name.unwrap_or_default()), code).await;
        }
    };
    end(context, lent).await;
    code
}

async fn give_up(context: &Context, lent: &Lent, why: &str, code: u8) -> u8 {
    context.out.note(&format!("error: {why}"));
    end(context, lent).await;
    code
}

fn begin(args: &ExecArgs, lent: &Lent) -> std::io::Result<Child> {
    let (program, rest) = args.command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(rest);
    for name in TAKEN_AWAY {
        command.env_remove(name);
    }
    let base = lent.gateway.base_url();
    let shown = lent.access_token.as_deref().unwrap_or(text(&lent.key));
    command.env("ANTHROPIC_API_KEY", shown).env("ANTHROPIC_BASE_URL", base);
    // Where the program looks for the other names, they must not lead past the gateway.
    let others = [
        ("CLAUDE_API_KEY", shown.to_owned()),
        ("CLAUDE_API_URL", format!("{base}/v1")),
        ("CLAUDE_BASE_URL", format!("{base}/v1")),
    ];
    for (name, value) in others {
        if std::env::var_os(name).is_some() {
            command.env(name, value);
        }
    }
    command.spawn()
}

/// Waits for the command's end; meanwhile passes signals on and keeps the key alive.
async fn attend(
    context: &Context,
    args: &ExecArgs,
    lent: &Lent,
    mut child: Child,
    mut signals: Signals,
) -> u8 {
    let process = Pid::from_child(&child);
    let mut waiting = tokio::task::spawn_blocking(move || child.wait());
    let begun = Instant::now();
    let mut beats = interval_at(begun + lent.beat_every, lent.beat_every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Far enough away to be never.
    let last =
        begun + args.ttl.map_or(Duration::from_secs(86_400 * 3_650), |ttl| Duration::from_secs(ttl.secs()));
    let mut alive = true;
    loop {
        tokio::select! {
            ended = &mut waiting => return ended.map_or(1, |status| status.map_or(1, code_of)),
            signal = signals.next() => signals::pass_on(signal, process),
            () = sleep_until(last), if alive => {
                alive = false;
                context.out.note("claviger exec: the key's time is over; the command goes on without it");
                end(context, lent).await;
            }
            _ = beats.tick(), if alive => match beat(lent).await {
                Ok(()) => {}
                Err(NotDone::Refused { message, .. }) => {
                    alive = false;
                    context.out.note(&format!("claviger exec: the key is not kept alive any more: {message}"));
                }
                // It may be back before the lease is over.
                Err(NotDone::Failed(_)) => beats.reset_after(RETRY),
            }
        }
    }
}

async fn beat(lent: &Lent) -> Result<(), NotDone> {
    let (gateway, id) = (lent.gateway.clone(), lent.id.clone());
    let beating = tokio::task::spawn_blocking(move || gateway.beat(&id).map(drop));
    let slow = || NotDone::Failed(CliError::failed("it took too long"));
    timeout(RETRY, beating).await.map_or_else(|_| Err(slow()), |done| done.unwrap_or_else(|_| Err(slow())))
}

/// Ends the key; what cannot be told ends by itself.
async fn end(context: &Context, lent: &Lent) {
    let (gateway, id) = (lent.gateway.clone(), lent.id.clone());
    let ending = tokio::task::spawn_blocking(move || gateway.end(&id).map(drop));
    if !matches!(timeout(FAREWELL, ending).await, Ok(Ok(Ok(()) | Err(NotDone::Refused { .. })))) {
        context.out.note(&format!(
            "claviger exec: the gateway did not confirm the end of {}: it ends by itself within {LEASE_SECS} s",
            lent.id
        ));
    }
}

/// As shells say it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
