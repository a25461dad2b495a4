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
    for round in 0..rounds {
        rotate(&mut ground, &SeededEntropy::new(seed + round));
    }
    assert_eq!(ground.node.cli(&["audit", "verify"]).code, 0, "after {rounds} rounds from seed {seed}");
}

/// One rotation from its begin to its end, killed three times.
fn rotate(ground: &mut Ground, dice: &SeededEntropy) {
    let old = ground.node.key(&["--expires-in", "never"]);
    let begun = ground.node.json(&["key", "rotate", &old.id, "--overlap", "1d"]);
    let text = |value: &Value, field: &str| value[field].as_str().expect(field).to_owned();
    let rotation = text(&begun, "rotation");
    let opened = ground.node.json(&["unwrap", &text(&begun, "wrapping_token")]);
    let new = Key { id: text(&opened, "id"), key: text(&opened, "key") };
    kill_within(ground, dice);
    ground.until(&rotation, "delivered");
    assert_eq!((ground.ask(&old).status, ground.ask(&new).status), (200, 200));
    ground.until(&rotation, "overlapping");
    ground.pass_hours(26);
    kill_within(ground, dice);
    ground.until(&rotation, "retiring");
    ground.pass_hours(80);
    kill_within(ground, dice);
    ground.until(&rotation, "finished");
    assert_eq!((ground.ask(&old).status, ground.ask(&new).status), (401, 200));
    ground.each_step_was_told_once(&old);
    ground.node.json(&["key", "revoke", &new.id]);
}

fn kill_within(ground: &mut Ground, dice: &SeededEntropy) {
    thread::sleep(up_to(dice, WINDOW));
    ground.restart();
}
