//! `claviger token`

pub mod access;

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use clap::Args;
use claviger_domain::{
    clock::{Clock, MICROS_PER_SEC},
    token::Token,
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Context,
    gateway::{Gateway, NotDone, field},
    holder::{HolderArgs, ours, text},
    output::CliError,
};
use crate::{clock::SystemClock, config::value::Span, dotenv::write_private};

/// How long a child lives that is not asked to live otherwise.
const DEFAULT_TTL: &str = "15m";

/// `token`
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// How long it lives: 10s to 24h; the same one is printed again until four fifths of it are over
    #[arg(long, value_name = "SPAN", default_value = DEFAULT_TTL)]
    ttl: Span,
    /// Models it may use, within what the key may
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    models: Vec<String>,
    /// Address blocks it may be used from, within those of the key
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    allow_ip: Vec<String>,
    /// Mint or buy a new one in any case
    #[arg(long)]
    fresh: bool,
    /// Print an access token (two hours) instead of a child key
    #[arg(long, conflicts_with_all = ["ttl", "models", "allow_ip"])]
    access: bool,
    /// What the access token may be used for, within what the key may: messages:write, models:read …
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',', requires = "access")]
    scope: Vec<String>,
    #[command(flatten)]
    holder: HolderArgs,
}

/// A child that was minted before. It holds a secret, so it has no `Debug`.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: String,
    id: String,
    expires_at: String,
    /// When another one is to be minted, in microseconds since 1970 by this machine's clock.
    renew_us: i64,
}

/// Prints a short-lived child of the key, or an access token that it buys, and nothing else.
///
/// # Errors
/// [`CliError`]; nothing was printed.
pub fn run(context: &Context, args: &TokenArgs) -> Result<(), CliError> {
    if args.access {
        return access::run(context, &args.holder, &args.scope, args.fresh);
    }
    let (gateway, parent) = Gateway::find(context, &args.holder)?;
    let wish = json!({"ttl_secs": args.ttl.secs(), "models": args.models, "allow_ip": args.allow_ip});
    let place = place(&gateway, &parent, &wish);
    // Many who ask at once get one key: the first mints it, the others wait for that.
    let _turn = place.as_deref().and_then(|path| turn(path).ok());
    let kept: Option<Kept> = place.as_deref().filter(|_| !args.fresh).and_then(read);
    let kept = match kept.filter(|kept| SystemClock.now().as_micros() < kept.renew_us) {
        Some(kept) if still_works(&gateway, &kept) => kept,
        Some(_) | None => mint(&gateway, &wish, place.as_deref(), context)?,
    };
    if context.out.json {
        context.out.value(&json!({"id": kept.id, "key": kept.key, "expires_at": kept.expires_at}));
    } else {
        context.out.line(&kept.key);
    }
    Ok(())
}

fn mint(gateway: &Gateway, wish: &Value, place: Option<&Path>, context: &Context) -> Result<Kept, CliError> {
    let minted = gateway.mint(wish)?;
    let life = minted["expires_in_secs"].as_i64().unwrap_or_default();
    let kept = Kept {
        key: field(&minted, "key")?.to_owned(),
        id: field(&minted, "id")?.to_owned(),
        expires_at: field(&minted, "expires_at")?.to_owned(),
        renew_us: SystemClock.now().plus_micros(life * MICROS_PER_SEC / 5 * 4).as_micros(),
    };
    let text = serde_json::to_vec(&kept).map_err(|e| CliError::failed(e.to_string()))?;
    // Who cannot keep it mints the next one sooner.
    if let Some(path) = place
        && let Err(error) = write_private(path, &text)
    {
        context.out.note(&format!("{}: {error}", path.display()));
    }
    Ok(kept)
}

/// Whether a key that was kept is still taken: its parent may have been revoked, or the gateway begun anew. A gateway
/// that does not answer has refused nothing.
fn still_works(gateway: &Gateway, kept: &Kept) -> bool {
    let Ok(key) = ours(&kept.key, "the kept key") else { return false };
    let Ok(gateway) = gateway.opened_by(&key) else { return false };
    match gateway.me() {
        Ok(_) | Err(NotDone::Failed(_)) => true,
        Err(NotDone::Refused { status, .. }) => status != http::StatusCode::UNAUTHORIZED,
    }
}

/// Where the child of this key, for this gateway and of these rights is kept. Names tell nothing.
fn place(gateway: &Gateway, parent: &Token, wish: &Value) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let folder = absolute("XDG_RUNTIME_DIR")
        .or_else(|| absolute("XDG_CACHE_HOME"))
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?
        .join("claviger");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    // A folder that others may write to is none of ours.
    let about = std::fs::metadata(&folder).ok()?;
    let is_ours = about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o022 == 0;
    let named = digest(&SHA256, format!("{}\n{}\n{wish}", gateway.base_url(), text(parent)).as_bytes());
    is_ours.then(|| folder.join(format!("token-{}.json", hex(&named.as_ref()[..16]))))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Waits for its turn; over when the file is closed.
fn turn(path: &Path) -> std::io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path.with_extension("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// What was kept; what cannot be read, or others can, was not.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(_) => return None,
    };
    if file.metadata().ok()?.mode() & 0o077 != 0 {
        return None;
    }
    let mut text = String::new();
    file.take(64 * 1024).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
