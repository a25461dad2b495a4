//! `claviger env`

mod check;

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use claviger_domain::{
    tenancy::Environment,
    token::{KeyClass, Token},
};
use serde_json::json;

use super::{
    Context,
    gateway::Gateway,
    holder::{DEFAULT_BASE_URL, HolderArgs, is_providers, text},
    output::CliError,
};
use crate::{
    dotenv::{replace, variables, with_variables, write_private},
    git::WorkTree,
};

/// The file that is written when none is named: frameworks read it, and by convention nobody commits it.
const DEFAULT_FILE: &str = ".env.local";
/// The file that says which variables a program wants, without their values.
const EXAMPLE: &str = ".env.example";
/// The line that keeps such files out of git.
const IGNORED: &str = ".env*";
/// No such file is longer.
const MAX_FILE: u64 = 1 << 20;

/// `env`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EnvArgs {
    #[command(subcommand)]
    command: Option<EnvCommand>,
    #[command(flatten)]
    write: WriteArgs,
}

/// What else can be done with a program's variables.
#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// Say which variables a program still misses
    Check(check::CheckArgs),
}

/// `env [PATH]`
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// The file to write, or the folder for it [default: .env.local]
    path: Option<PathBuf>,
    /// Write CLAUDE_API_KEY, CLAUDE_API_URL and CLAUDE_BASE_URL, too; without it they are written where the file or its
    /// .env.example has them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    holder: HolderArgs,
}

/// Writes a key into a program's `.env` file, or checks one.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: EnvArgs) -> Result<(), CliError> {
    match args.command {
        Some(EnvCommand::Check(args)) => check::run(context, &args),
        None => write(context, &args.write),
    }
}

fn write(context: &Context, args: &WriteArgs) -> Result<(), CliError> {
    let key = args.holder.key(context)?;
    let named = args.holder.named_base_url()?;
    let path = place(args.path.as_deref())?;
    let before = read(&path)?;
    refuse_tracked(&path)?;

    let base = named.or_else(|| present_base_url(&before)).unwrap_or_else(|| DEFAULT_BASE_URL.to_owned());
    refuse_strict(context, &base, &key)?;
    let versioned = format!("{base}/v1");
    let own = [("ANTHROPIC_API_KEY", text(&key)), ("ANTHROPIC_BASE_URL", base.as_str())];
    let others = [
        ("CLAUDE_API_KEY", text(&key)),
        ("CLAUDE_API_URL", versioned.as_str()),
        ("CLAUDE_BASE_URL", versioned.as_str()),
    ];
    let example = read(&path.with_file_name(EXAMPLE))?;
    let wanted_here =
        |name: &str| args.all || variables(&before).chain(variables(&example)).any(|(n, _)| n == name);
    let wanted: Vec<_> =
        own.into_iter().chain(others.into_iter().filter(|(name, _)| wanted_here(name))).collect();

    // First the line that keeps the file out of git, then what must be kept out.
    let ignored_in = ignore(&path, !example.is_empty())?;
    let after = zeroize::Zeroizing::new(with_variables(&before, &wanted));
    write_private(&path, after.as_bytes())
        .map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;

    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    if context.out.json {
        context.out.value(&json!({
            "path": path, "variables": names, "key": key.hint(), "base_url": base, "gitignore": ignored_in,
        }));
        return Ok(());
    }
    context.out.line(&format!("{}: {} ({}, {base})", path.display(), names.join(", "), key.hint()));
    if let Some(file) = ignored_in {
        context.out.line(&format!("{}: {IGNORED}", file.display()));
    }
    Ok(())
}

/// The file's own path, absolute, with its folder's links resolved so that it can be compared with a work tree's.
fn place(path: Option<&Path>) -> Result<PathBuf, CliError> {
    let path = path.unwrap_or(Path::new(DEFAULT_FILE));
    let path = if path.is_dir() { path.join(DEFAULT_FILE) } else { path.to_owned() };
    let name = path.file_name().ok_or_else(|| CliError::usage("expected the path of a file"))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|e| CliError::usage(format!("{}: {e}", folder.display())))?;
    let path = folder.join(name);
    if fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_file()) {
        return Err(CliError::refused(format!(
            "{} is not a plain file: nothing was written",
            path.display()
        )));
    }
    Ok(path)
}

/// A file's text; nothing for one that is not there.
fn read(path: &Path) -> Result<String, CliError> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE => {
            return Err(CliError::refused(format!("{} is too long for such a file", path.display())));
        }
        Ok(_) | Err(_) => {}
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(CliError::failed(format!("{}: {e}", path.display()))),
    }
}

/// Files of variables are for development: a key of a stricter environment does not come into one. Only the gateway
/// knows; one that cannot be reached keeps nobody from writing a file, and that is said.
fn refuse_strict(context: &Context, base: &str, key: &Token) -> Result<(), CliError> {
    if key.class() == KeyClass::Test {
        return Ok(());
    }
    let gateway = Gateway::without_key(base.to_owned(), context.ca_file.clone())?.opened_by(key)?;
    match gateway.me() {
        Ok(me) => match me["workspace"]["environment"].as_str() {
            Some(class) if class != Environment::Development.as_str() => Err(CliError::refused(format!(
                "{} belongs to a {class} workspace, whose keys are not put into files of variables: use \
                     `claviger exec`, `token`, `seal-key` or `store-key`",
                key.hint()
            ))),
            Some(_) | None => Ok(()),
        },
        Err(_) => {
            context.out.note(&format!(
                "{base} was not reached, or does not know the key: whether it may lie in a file was not asked."
            ));
            Ok(())
        }
    }
}

/// The next commit must not carry a key.
fn refuse_tracked(path: &Path) -> Result<(), CliError> {
    let Some(tree) = path.parent().and_then(WorkTree::around) else { return Ok(()) };
    let shown = path.display();
    match tree.tracks(path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(CliError::refused(format!(
            "{shown} is tracked by git: the next commit would carry the key. Nothing was written. Take it out with `git \
             rm --cached {shown}`, or name another file"
        ))),
        Err(error) => Err(CliError::refused(format!(
            "it cannot be known whether git tracks {shown} ({error}): nothing was written"
        ))),
    }
}

/// Where the file says that the gateway is.
fn present_base_url(text: &str) -> Option<String> {
    let last = variables(text).filter(|(name, _)| *name == "ANTHROPIC_BASE_URL").last();
    last.map(|(_, url)| url.trim_end_matches('/').to_owned())
        .filter(|url| !url.is_empty() && !is_providers(url))
}

/// Sees to it that git passes the file over; the `.gitignore` that was changed for it.
fn ignore(path: &Path, keeps_example: bool) -> Result<Option<PathBuf>, CliError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let Some(tree) = WorkTree::around(folder) else {
        // There may be a repository one day.
        return add_rules(&folder.join(".gitignore"), path, keeps_example);
    };
    let mut changed = None;
    // A rule nearer to the file may let it in, in spite of the one at the top.
    for file in [tree.top.join(".gitignore"), folder.join(".gitignore")] {
        if !tree.ignores(path) {
            changed = add_rules(&file, path, keeps_example)?.or(changed);
        }
    }
    Ok(changed)
}

/// Adds what is not the last word of a `.gitignore` yet.
fn add_rules(file: &Path, path: &Path, keeps_example: bool) -> Result<Option<PathBuf>, CliError> {
    let before = read(file)?;
    let inside =
        file.parent().and_then(|top| path.strip_prefix(top).ok()).unwrap_or(path).display().to_string();
    let mut rules = vec![IGNORED.to_owned()];
    if keeps_example {
        rules.push(format!("!{EXAMPLE}"));
    }
    if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".env")) {
        rules.push(format!("/{inside}"));
    }
    rules.retain(|rule| !before.lines().any(|line| line.trim_end() == rule));
    if rules.is_empty() {
        return Ok(None);
    }
    let ending = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let after = format!("{before}{ending}{}\n", rules.join("\n"));
    replace(file, after.as_bytes(), mode_of(file))
        .map_err(|e| CliError::failed(format!("{}: {e}", file.display())))?;
    Ok(Some(file.to_owned()))
}

fn mode_of(file: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(file).map_or(0o644, |meta| meta.mode() & 0o777)
}
