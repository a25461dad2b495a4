//! Child processes whose output is read as it comes, so that their pipes never fill.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use claviger_testkit::eventually;

/// The end of a command.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A `claviger` that knows nothing of the tester's own environment.
pub fn claviger() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    for (name, _) in std::env::vars_os() {
        let foreign = name.to_str().is_none_or(|n| {
            ["CLAVIGER_", "ANTHROPIC_", "XDG_", "HTTP_", "HTTPS_", "http_", "https_"]
                .iter()
                .any(|p| n.starts_with(p))
        });
        if foreign {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command, input: &str, within: Duration) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let (stdout, stderr) = (whole(child.stdout.take()), whole(child.stderr.take()));
    // A program that does not read its input may have closed it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let status = end_of(&mut child, within);
    let status = status.unwrap_or_else(|| panic!("still running after {within:?}: {command:?}"));
    let text = |reader: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&reader.join().unwrap()).into_owned();
    Done { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

fn whole(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut from = from.unwrap();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(from.read_to_end(&mut bytes));
        bytes
    })
}

/// Waits for the end; when there is none, kills.
fn end_of(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < within {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(3));
    }
    drop(child.kill());
    drop(child.wait());
    None
}

/// A process that goes on until it is told to stop.
pub struct Process {
    child: Child,
    out: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
    /// Kept open, or printing would fail.
    #[expect(dead_code, reason = "it is there to be held")]
    unread: Option<std::io::PipeReader>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (out, errors) = (gather(child.stdout.take()), gather(child.stderr.take()));
        Self { child, out, errors, unread: None }
    }

    /// The same with its standard input open; `None` when there is no such program.
    pub fn at_terminal(mut command: Command) -> Option<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let (out, errors) = (gather(child.stdout.take()), gather(child.stderr.take()));
        Some(Self { child, out, errors, unread: None })
    }

    /// The same with a standard output that takes nothing: whoever prints waits for ever.
    pub fn unread(mut command: Command) -> Self {
        let (reader, mut full) = std::io::pipe().unwrap();
        let flags = rustix::fs::fcntl_getfl(&full).unwrap();
        rustix::fs::fcntl_setfl(&full, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        for size in [4096, 1] {
            while full.write_all(&vec![b'.'; size]).is_ok() {}
        }
        rustix::fs::fcntl_setfl(&full, flags).unwrap();
        command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let errors = gather(child.stderr.take());
        Self { child, out: Arc::default(), errors, unread: Some(reader) }
    }

    pub fn type_in(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Lines of standard output so far.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.out).clone()
    }

    /// Lines of standard error so far: the logs.
    pub fn errors(&self) -> Vec<String> {
        lock(&self.errors).clone()
    }

    pub fn wait_for_line(&self, beginning: &str, within: Duration) -> String {
        eventually(&format!("a line `{beginning}…`"), within, || {
            let found = lock(&self.out).iter().find(|l| l.starts_with(beginning)).cloned();
            assert!(found.is_some() || self.is_running(), "it ended: {:?}", self.errors());
            found
        })
    }

    pub fn is_running(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // The state follows the program's name in brackets; Z is a process that has ended.
        stat.is_ok_and(|s| s.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z')))
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("a process that can be told");
    }

    /// SIGTERM, then its end.
    pub fn terminate(mut self, within: Duration) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait(within)
    }

    /// Its end, with all that it printed gathered.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let ended = end_of(&mut self.child, within);
        let ended = ended.unwrap_or_else(|| panic!("still running after {within:?}: {:?}", self.errors()));
        let gathered = || [&self.out, &self.errors].iter().all(|lines| Arc::strong_count(lines) == 1);
        eventually("all that it printed", within, || gathered().then_some(()));
        ended
    }

    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let errors = lock(&self.errors);
            let newest = errors.len().saturating_sub(30);
            eprintln!("--- the last lines that claviger logged:\n{}", errors[newest..].join("\n"));
        }
    }
}

fn gather(from: Option<impl Read + Send + 'static>) -> Arc<Mutex<Vec<String>>> {
    let (from, lines) = (from.unwrap(), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lock(&kept).push(line);
        }
    });
    lines
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
