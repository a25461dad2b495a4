//! Child processes with an end: every one is stopped when the run's time is up.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal};

const POLL: Duration = Duration::from_millis(50);
/// How long a child may take to obey SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// The monotonic clock of the run.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask times real processes; nothing here is under test by a moved clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The moment at which everything that still runs is stopped.
#[derive(Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(span: Duration) -> Self {
        Self(now() + span)
    }

    pub fn is_over(self) -> bool {
        now() >= self.0
    }

    /// The earlier of this deadline and `span` from now.
    pub fn at_most(self, span: Duration) -> Self {
        Self(self.0.min(now() + span))
    }
}

/// How a child ended.
pub enum Ended {
    Success,
    Failure(ExitStatus),
    TimedOut,
}

/// Runs `command` with our stdout and stderr and no stdin.
pub fn run(command: &mut Command, deadline: Deadline) -> anyhow::Result<Ended> {
    let grouped = !std::io::stdin().is_terminal();
    if grouped {
        // Its own group, so that a stop reaches grandchildren; at a terminal ^C must reach them instead.
        command.process_group(0);
    }
    command.stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("start {}", shown(command)))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Ended::Success } else { Ended::Failure(status) });
        }
        if deadline.is_over() {
            stop(&mut child, grouped)?;
            return Ok(Ended::TimedOut);
        }
        std::thread::sleep(POLL);
    }
}

/// Runs `command` and fails unless it succeeds.
pub fn must(command: &mut Command, deadline: Deadline) -> anyhow::Result<()> {
    match run(command, deadline)? {
        Ended::Success => Ok(()),
        Ended::Failure(status) => bail!("{}: {status}", shown(command)),
        Ended::TimedOut => bail!("{}: stopped, its time was up", shown(command)),
    }
}

/// What a short `command` prints on stdout; its stderr belongs to the error.
pub fn capture(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("start {}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", shown(command), output.status, said.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Looks `program` up on PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// True when we run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn stop(child: &mut Child, grouped: bool) -> anyhow::Result<()> {
    signal(child, grouped, Signal::TERM);
    let patience = Deadline::after(GRACE);
    while !patience.is_over() {
        if child.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(POLL);
    }
    // Also after an obedient exit: what it started may have stayed behind in the group.
    signal(child, grouped, Signal::KILL);
    child.wait()?;
    Ok(())
}

fn signal(child: &Child, grouped: bool, signal: Signal) {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    // The only error possible is that it is gone already.
    let _ = if grouped {
        rustix::process::kill_process_group(pid, signal)
    } else {
        rustix::process::kill_process(pid, signal)
    };
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_past_the_deadline_is_stopped() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let ended = run(&mut command, Deadline::after(Duration::from_millis(10))).unwrap();
        assert!(matches!(ended, Ended::TimedOut));
    }

    #[test]
    fn a_failing_child_is_named_in_the_error() {
        let mut command = Command::new("false");
        let error = must(&mut command, Deadline::after(Duration::from_secs(60))).unwrap_err();
        assert!(error.to_string().starts_with("false: exit status: 1"), "{error}");
    }
}
