//! A PostgreSQL cluster of our own for one run: made under `target/`, on a free loopback port, gone afterwards.
//!
//! PostgreSQL refuses to run as root; where we are root (CI is), it runs as `postgres` or `nobody`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::output;
use crate::process::{self, Deadline};
use crate::workspace::Workspace;

/// Where tests look for a server; they make their own databases in it.
pub const URL_VARIABLE: &str = "CLAVIGER_TEST_POSTGRES_URL";

const SUPERUSER: &str = "claviger";
const TRIES: usize = 3;
/// Accounts that may own the cluster when we are root, in order.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
log_min_messages = warning
";

/// A running server; dropping it stops it and removes its files.
pub struct Cluster {
    programs: PathBuf,
    home: PathBuf,
    account: Option<Account>,
    port: u16,
}

/// Whom the server runs as when we are root.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

/// The folder with `initdb` and `pg_ctl`: from PATH, else Debian's newest version.
pub fn programs() -> Option<PathBuf> {
    if let Some(initdb) = process::find("initdb") {
        return initdb.parent().map(Path::to_owned);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.flatten().map(|version| version.path().join("bin"));
    folders.filter(|folder| folder.join("initdb").is_file()).max_by_key(|folder| version_in(folder))
}

impl Cluster {
    /// Makes and starts a cluster; `None` when PostgreSQL is not installed.
    pub fn start(workspace: &Workspace, deadline: Deadline) -> anyhow::Result<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let account = if process::is_root() { Some(Account::choose()?) } else { None };
        sweep(&workspace.target().join("pg"), &programs);
        let home = home(workspace, account)?;
        let mut cluster = Self { programs, home, account, port: 0 };
        cluster.initialise(deadline)?;
        for _ in 0..TRIES {
            cluster.port = free_port()?;
            match cluster.launch(deadline) {
                Ok(()) => return Ok(Some(cluster)),
                Err(error) => output::problem(&format!("postgres on port {}: {error:#}", cluster.port)),
            }
        }
        let log = fs::read_to_string(cluster.home.join("log")).unwrap_or_default();
        bail!("PostgreSQL did not start:\n{log}")
    }

    /// A superuser's URL of the maintenance database.
    pub fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/postgres", self.port)
    }

    fn initialise(&self, deadline: Deadline) -> anyhow::Result<()> {
        let mut initdb = self.command("initdb");
        initdb.args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]);
        initdb.args(["--username", SUPERUSER, "--pgdata"]).arg(self.data());
        initdb.stdout(std::process::Stdio::null());
        process::must(&mut initdb, deadline)?;
        let file = self.data().join("postgresql.conf");
        let settings = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        fs::write(&file, settings + SETTINGS).with_context(|| format!("write {}", file.display()))
    }

    fn launch(&self, deadline: Deadline) -> anyhow::Result<()> {
        let mut start = self.command("pg_ctl");
        start.args(["start", "--silent", "--wait", "--timeout=60", "--pgdata"]).arg(self.data());
        // With a log file of its own the server does not hold our stdout open.
        start.arg("--log").arg(self.home.join("log")).arg(format!("--options=-p {}", self.port));
        process::must(&mut start, deadline.at_most(Duration::from_secs(90)))
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.home);
        run_as(&mut command, self.account);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--silent", "--mode=immediate", "--pgdata"]).arg(self.data());
        if let Err(error) = process::must(&mut stop, Deadline::after(Duration::from_secs(60))) {
            output::problem(&format!("stop PostgreSQL: {error:#}"));
        }
        // Nothing in it is worth keeping, and the next run sweeps what stays.
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl Account {
    fn choose() -> anyhow::Result<Self> {
        let users = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        let account = ACCOUNTS.iter().find_map(|name| Self::find(&users, name));
        account.context("PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody`")
    }

    /// Reads one line of passwd(5): `name:password:uid:gid:…`.
    fn find(users: &str, name: &str) -> Option<Self> {
        let mut lines = users.lines().map(|line| line.split(':'));
        let mut fields = lines.find(|fields| fields.clone().next() == Some(name))?.skip(2);
        Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }
}

fn run_as(command: &mut Command, account: Option<Account>) {
    if let Some(Account { uid, gid }) = account {
        // Also drops our supplementary groups.
        command.uid(uid).gid(gid);
    }
}

/// A folder that the server's account can reach: under `target/`, else a temporary one.
fn home(workspace: &Workspace, account: Option<Account>) -> anyhow::Result<PathBuf> {
    let name = std::process::id().to_string();
    let places = [workspace.target().join("pg"), std::env::temp_dir().join("claviger-pg")];
    for place in places {
        let home = place.join(&name);
        fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        let Some(Account { uid, gid }) = account else { return Ok(home) };
        std::os::unix::fs::chown(&home, Some(uid), Some(gid))?;
        let mut probe = Command::new("test");
        run_as(probe.arg("-w").arg(&home), account);
        if probe.status().is_ok_and(|status| status.success()) {
            return Ok(home);
        }
        fs::remove_dir_all(&home)?;
    }
    bail!("no folder that PostgreSQL's account can write to")
}

/// Stops and removes clusters whose run is gone (killed before it could clean up).
fn sweep(folder: &Path, programs: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for home in entries.flatten().map(|entry| entry.path()) {
        let owner = home.file_name().map(|name| Path::new("/proc").join(name));
        if owner.is_some_and(|process| process.exists()) {
            continue;
        }
        let account = Account::choose().ok().filter(|_| process::is_root());
        let mut stop = Command::new(programs.join("pg_ctl"));
        stop.args(["stop", "--silent", "--mode=immediate", "--pgdata"]).arg(home.join("data"));
        stop.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        run_as(&mut stop, account);
        // It fails when the server is gone too: then only the files remain.
        let _ = process::run(&mut stop, Deadline::after(Duration::from_secs(60)));
        let _ = fs::remove_dir_all(&home);
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn version_in(folder: &Path) -> u32 {
    let version = folder.parent().and_then(Path::file_name);
    version.and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_the_right_fields() {
        let users = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        let account = Account::find(users, "nobody").unwrap();
        assert_eq!((account.uid, account.gid), (65534, 65533));
        assert!(Account::find(users, "postgres").is_none());
    }

    #[test]
    fn the_newest_installed_version_wins() {
        assert!(version_in(Path::new("/x/15/bin")) > version_in(Path::new("/x/9/bin")));
    }
}
