//! kill -9 wherever a rotation may be: it is resumed, each step is taken once, and it comes to its end.

use std::{thread, time::Duration};

use claviger_testkit::SeededEntropy;
use serde_json::Value;

use super::ground::Ground;
use crate::{house::Key, kill::rounds::up_to};

/// How many rotations to do: 4 in a test, which are 12 kills, many more in a soak.
const ROUNDS: &str = "CLAVIGER_TEST_ROUNDS";
/// From which seed the times of the kills are drawn.
const SEED: &str = "CLAVIGER_TEST_SEED";
/// Within this time of what makes a step due, it is taken.
const WINDOW: Duration = Duration::from_millis(2_500);
/// With many to do, so many go on at once, and a kill meets each of them elsewhere.
const TOGETHER: u64 = 25;

#[test]
fn sqlite() {
    if let Some(ground) = Ground::sqlite() {
        run(ground);
    }
}

#[test]
fn postgres() {
    if let Some(ground) = Ground::postgres() {
        run(ground);
    }
}

fn run(mut ground: Ground) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let (rounds, seed) = (number(ROUNDS).unwrap_or(4), number(SEED).unwrap_or(1));
    let together = if rounds < TOGETHER { 1 } else { TOGETHER };
    for round in (0..rounds).step_by(usize::try_from(together).unwrap()) {
        rotate(&mut ground, together.min(rounds - round), &SeededEntropy::new(seed + round));
    }
    assert_eq!(ground.node.cli(&["audit", "verify"]).code, 0, "after {rounds} rounds from seed {seed}");
}

/// A key that is replaced, its successor, and the rotation's id.
struct Replaced {
    old: Key,
    new: Key,
    rotation: String,
}

impl Replaced {
    fn begin(ground: &Ground) -> Self {
        let old = ground.node.key(&["--expires-in", "never"]);
        let begun = ground.node.json(&["key", "rotate", &old.id, "--overlap", "1d"]);
        let text = |value: &Value, field: &str| value[field].as_str().expect(field).to_owned();
        let opened = ground.node.json(&["unwrap", &text(&begun, "wrapping_token")]);
        let new = Key { id: text(&opened, "id"), key: text(&opened, "key") };
        Self { old, new, rotation: text(&begun, "rotation") }
    }

    /// What the old and the new key are answered.
    fn statuses(&self, ground: &Ground) -> (u16, u16) {
        (ground.ask(&self.old).status, ground.ask(&self.new).status)
    }
}

/// Some rotations from their begin to their end, killed three times.
fn rotate(ground: &mut Ground, count: u64, dice: &SeededEntropy) {
    let all: Vec<Replaced> = (0..count).map(|_| Replaced::begin(ground)).collect();
    kill_within(ground, dice);
    for one in &all {
        ground.until(&one.rotation, "delivered");
        assert_eq!(one.statuses(ground), (200, 200));
    }
    for one in &all {
        ground.until(&one.rotation, "overlapping");
    }
    for (hours, state) in [(26, "retiring"), (80, "finished")] {
        ground.pass_hours(hours);
        kill_within(ground, dice);
        for one in &all {
            ground.until(&one.rotation, state);
        }
    }
    for one in &all {
        assert_eq!(one.statuses(ground), (401, 200));
        ground.each_step_was_told_once(&one.old);
        ground.node.json(&["key", "revoke", &one.new.id]);
    }
}

fn kill_within(ground: &mut Ground, dice: &SeededEntropy) {
    thread::sleep(up_to(dice, WINDOW));
    ground.restart();
}
