//! Ceilings on money, and limits: where a run ends, and where it only goes slower.

use std::time::Duration;

use claviger_claude_sim::SimConfig;
use serde_json::json;

use super::{Desk, entry, ids, kinds};

#[test]
fn a_budget_ends_it_and_the_same_command_goes_on() {
    let desk = Desk::with(&["--budget", "1.20/life"], |config| SimConfig {
        latency: Duration::from_millis(5),
        ..config
    });
    desk.write(
        &(0..60).map(|n| entry(&format!("n{n}"), "usage={\"input_tokens\":6000}")).collect::<Vec<_>>(),
    );
    let done = desk.run(&["--json"]);
    assert_eq!(done.code, 7, "{}{}", done.stdout, done.stderr);
    let said: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(said["stopped"]["why"], "ceiling", "{said}");
    assert!(done.stderr.contains("are left: the same command goes on with them"), "{}", done.stderr);
    let first = said["succeeded"].as_u64().unwrap();
    assert!(first > 0 && said["errored"] == 0 && said["left"] == 60 - first, "{said}");
    assert!(desk.journal().exists());
    // What was answered can be had already, in the order of the input.
    let order: Vec<String> = (0..60).map(|n| format!("n{n}")).collect();
    let had = desk.answers();
    assert_eq!(had.len() as u64, first);
    let places: Vec<usize> =
        ids(&had).iter().map(|id| order.iter().position(|one| one == id).unwrap()).collect();
    assert!(places.is_sorted() && kinds(&had).iter().all(|kind| *kind == "succeeded"), "{places:?}");

    // It ended when nothing more fitted: not because others held back what they did not need.
    let budget = desk.node.json(&["budget", "show", "--key", &desk.key.id]);
    let row = budget.get(0).unwrap_or(&budget);
    let number = |name: &str| row[name].as_str().unwrap().parse::<i128>().unwrap();
    assert_eq!(number("settled_pusd").to_string(), said["cost_pusd"].as_str().unwrap());
    // What one call can cost at most.
    let needed = 190_000_000_000;
    assert!(number("left_pusd") < needed, "{row}: {}", done.stderr);

    // Without more money the same command changes nothing.
    let (code, again) = desk.told(&[]);
    assert_eq!((code, &again["succeeded"]), (7, &said["succeeded"]), "{again}");
    desk.node.json(&["budget", "set", "--key", &desk.key.id, "--usd", "5", "--per", "life"]);
    let (code, said) = desk.told(&[]);
    assert_eq!(
        (code, said["answered_before"].as_u64(), &said["succeeded"]),
        (0, Some(first), &json!(60)),
        "{said}"
    );
    let answers = desk.answers();
    assert!(kinds(&answers).iter().all(|kind| *kind == "succeeded") && ids(&answers) == order);
    assert!(!desk.journal().exists() && had.iter().all(|answer| answers.contains(answer)));
    assert_eq!((desk.calls().len(), desk.booked().0), (60, 60), "nothing was asked twice");
}

#[test]
fn a_limit_with_a_long_window_ends_it_unless_it_is_to_be_waited_for() {
    // A day's would lift soon in the last minutes before midnight.
    let desk = Desk::new(&["--rph", "5", "--rpm", "1000"]);
    desk.write(&(0..15).map(|n| entry(&format!("n{n}"), "")).collect::<Vec<_>>());
    let (code, said) = desk.told(&["--wait", "1s"]);
    assert_eq!((code, &said["succeeded"], &said["left"]), (7, &json!(5), &json!(10)), "{said}");
    assert!(said["stopped"]["lifts_in_secs"].as_u64().unwrap() > 60, "{said}");
    assert!(said["stopped"]["message"].as_str().unwrap().contains("it lifts in "), "{said}");
}

#[test]
fn a_ceiling_that_lifts_soon_is_waited_for_when_asked() {
    let desk = Desk::new(&[]);
    let told = "first=1; status=429; type=rate_limit_error; should-retry=false; retry-after=1";
    desk.write(&[entry("a", told)]);
    let (code, said) = desk.told(&[]);
    assert_eq!((code, &said["stopped"]["lifts_in_secs"]), (7, &json!(1)), "{said}");
    desk.write(&[entry("b", told)]);
    let (code, said) = desk.told(&["--wait", "5s"]);
    assert_eq!((code, &said["succeeded"]), (0, &json!(1)), "{said}");
}

#[test]
fn a_limit_that_frees_itself_makes_it_slower() {
    let desk = Desk::with(&["--concurrency", "2", "--rps", "40"], |config| SimConfig {
        latency: Duration::from_millis(20),
        ..config
    });
    desk.write(&(0..100).map(|n| entry(&format!("n{n}"), "")).collect::<Vec<_>>());
    let (code, said) = desk.told(&["--concurrency", "30", "--tries", "1"]);
    assert_eq!((code, &said["succeeded"]), (0, &json!(100)), "{said}");
    assert_eq!(desk.calls().len(), 100);
}
