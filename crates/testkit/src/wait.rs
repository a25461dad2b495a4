//! Waiting for other processes, and leaving tests out by name.

use std::{
    fs::OpenOptions,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process,
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

const STEP: Duration = Duration::from_millis(5);

/// A port that was free a moment ago. Prefer port 0 where the program under test can be asked what it got.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A free port that stays free: below those that the system gives out by itself, to listeners and to clients. For a
/// server that is killed and must come back at the same address.
#[must_use]
pub fn steady_port() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let from = u16::try_from(process::id() % 1_000).expect("a small number") * 12;
    (0..12_000)
        .map(|_| 20_000 + (from + COUNT.fetch_add(1, Ordering::Relaxed)) % 12_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}

/// Asks every 5 ms until the answer is something.
///
/// # Panics
/// With `what` when it is nothing still after `within`.
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..=within.as_millis() / STEP.as_millis() {
        if let Some(answer) = ask() {
            return answer;
        }
        thread::sleep(STEP);
    }
    unanswered(what, within)
}

fn unanswered(what: &str, within: Duration) -> ! {
    panic!("not within {within:?}: {what}")
}

/// Names a file to which every test that is left out adds a line: what passing tests print is not shown.
const SKIPPED: &str = "CLAVIGER_TEST_SKIPPED";

/// Says that a test is left out and why. Where nothing may be left out (`CI=true`), fails it instead.
///
/// # Panics
/// When `CI` is `true`.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true leaves nothing out, but: {why}");
    impossible(why);
}

/// Says that a test is left out because no setup could make it possible on this machine: listed, and never a failure.
pub fn impossible(why: &str) {
    eprintln!("skipped: {why}");
    let Some(list) = std::env::var_os(SKIPPED) else { return };
    let added = OpenOptions::new().create(true).append(true).open(&list);
    let added = added.and_then(|mut list| list.write_all(format!("{why}\n").as_bytes()));
    added.unwrap_or_else(|e| panic!("{}: {e}", Path::new(&list).display()));
}
