//! kill -9 of a run, again and again: every request is answered once, and hardly any is asked twice.

use std::{
    fs::File,
    io::Read,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use claviger_claude_sim::SimConfig;
use claviger_domain::clock::Entropy;
use claviger_testkit::{SeededEntropy, eventually};
use serde_json::{Value, json};

use super::{Desk, RUN, ids, kinds, request};
use crate::house::{Process, START};

/// How many runs to do: one small one in a test, large ones in a soak.
const ROUNDS: &str = "CLAVIGER_TEST_ROUNDS";
/// From which seed the times of the kills are drawn.
const SEED: &str = "CLAVIGER_TEST_SEED";
/// How large: requests, and kills, of a run.
const REQUESTS: &str = "CLAVIGER_TEST_REQUESTS";
const CONCURRENCY: usize = 10;

#[test]
fn every_request_is_answered_once() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().expect(name));
    let (rounds, size) = match number(ROUNDS) {
        Some(rounds) => (rounds, (10_000, 20)),
        None => (1, (500, 3)),
    };
    let (_, kills) = size;
    let requests = number(REQUESTS).unwrap_or(size.0);
    let seed = number(SEED).unwrap_or(1) as u64;
    for round in 0..rounds as u64 {
        killed(requests, kills, seed + round);
    }
}

fn killed(requests: usize, kills: usize, seed: u64) {
    let begun = Instant::now();
    let desk = Desk::with(&["--on-disconnect", "drain"], |config| SimConfig {
        latency: Duration::from_millis(10),
        ..config
    });
    let line = |n: usize| {
        let tokens = 100 + 7 * n;
        json!({"custom_id": format!("id-{n}"), "params": request(&format!("{n}"), &format!("usage={{\"input_tokens\":{tokens}}}"))})
    };
    let lines: Vec<Value> = (0..requests).map(line).collect();
    desk.write(&lines);
    let dice = SeededEntropy::new(seed);
    let up_to = |most: usize| {
        let mut bytes = [0; 8];
        dice.fill(&mut bytes).unwrap();
        usize::try_from(u64::from_le_bytes(bytes) % most as u64).unwrap()
    };
    // Never so late that nothing would be left to kill.
    let mut targets: Vec<usize> = (0..kills).map(|_| up_to(requests * 9 / 10)).collect();
    targets.sort_unstable();
    let mut journal = Journal { path: desk.journal(), read: 0, answers: 0 };
    for target in targets {
        let mut process = Process::start(desk.command(&[]));
        eventually("answers", RUN, || {
            assert!(process.is_running(), "{:?}", process.errors());
            (journal.answers() >= target).then_some(())
        });
        thread::sleep(Duration::from_millis(up_to(40) as u64));
        process.kill();
    }
    let (code, said) = desk.told(&[]);
    let when = format!("seed {seed}: {said}");
    assert_eq!(code, 0, "{when}");
    let answers = desk.answers();
    assert_eq!(ids(&answers), (0..requests).map(|n| format!("id-{n}")).collect::<Vec<_>>(), "{when}");
    assert!(kinds(&answers).iter().all(|kind| *kind == "succeeded"), "{when}");
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer["result"]["message"]["usage"]["input_tokens"], 100 + 7 * n, "{when}");
    }
    assert!(said["answered_before"].as_u64().unwrap() > 0, "{when}");

    let bills = desk.sim.bills();
    assert!(bills.len() >= requests, "{when}: {} calls", bills.len());
    let beyond = bills.len() - requests;
    assert!(beyond <= kills * CONCURRENCY, "{when}: {beyond} calls beyond {requests}");
    let billed: i128 = bills.iter().map(|bill| bill.cost).sum();
    let (booked_calls, booked) = eventually("all calls to be booked", START, || {
        let booked = desk.booked();
        (booked.0 >= bills.len() as u64).then_some(booked)
    });
    assert_eq!((booked_calls, booked), (bills.len() as u64, billed), "{when}");
    eprintln!(
        "{requests} requests, {kills} kills, seed {seed}: {beyond} calls beyond, {billed} pico-dollars billed and \
         booked, {:?}",
        begun.elapsed()
    );
}

/// A journal that is being written, read as it grows.
struct Journal {
    path: PathBuf,
    read: u64,
    answers: usize,
}

impl Journal {
    fn answers(&mut self) -> usize {
        use std::io::Seek;
        let Ok(mut file) = File::open(&self.path) else { return self.answers };
        file.seek(std::io::SeekFrom::Start(self.read)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        // The last line may still be torn, and is then written anew.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        self.answers += bytes[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| line.starts_with(b"{\"custom_id\""))
            .count();
        self.answers
    }
}
