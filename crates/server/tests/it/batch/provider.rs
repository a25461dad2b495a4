//! `--message-batches`: the provider's own batches, at half the price.

use std::{fs, time::Duration};

use claviger_claude_sim::SimConfig;
use claviger_testkit::eventually;
use serde_json::{Value, json};

use super::{Desk, RUN, entry, ids, kinds};
use crate::{
    house::{Process, START},
    wire,
};

const BATCHES: [&str; 5] = ["--message-batches", "--portion", "20", "--poll", "100ms"];

fn desk(delay: Duration) -> Desk {
    Desk::with(&[], |config| SimConfig { batch_delay: delay, ..config })
}

fn fifty(desk: &Desk) {
    desk.write(&(0..50).map(|n| entry(&format!("n{n}"), &format!("text=answer {n}"))).collect::<Vec<_>>());
}

/// Batches that were made at the provider.
fn made(desk: &Desk) -> usize {
    let log = desk.sim.log();
    log.iter().filter(|line| line["path"] == "/v1/messages/batches" && line["method"] == "POST").count()
}

fn is_whole(desk: &Desk) {
    let answers = desk.answers();
    assert_eq!(ids(&answers), (0..50).map(|n| format!("n{n}")).collect::<Vec<_>>());
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer["result"]["message"]["content"][0]["text"], format!("answer {n}"), "{answer}");
    }
    assert!(!desk.journal().exists());
    let names = fs::read_dir(desk.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 2, "input and output");
}

#[test]
fn results_stand_in_the_order_of_the_requests_at_half_the_price() {
    let desk = desk(Duration::from_millis(300));
    fifty(&desk);
    let (code, said) = desk.told(&BATCHES);
    assert_eq!((code, &said["succeeded"], &said["attempts"]), (0, &json!(50), &json!(3)), "{said}");
    is_whole(&desk);
    assert_eq!((made(&desk), desk.calls().len()), (3, 0));
    let half: i128 = said["cost_pusd"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        eventually("the batches to be booked", START, || {
            let (_, booked) = desk.booked();
            (booked > 0).then_some(booked)
        }),
        half
    );
    // The same one by one costs twice as much.
    let (code, said) = desk.told(&["--start-over", "--concurrency", "20"]);
    assert_eq!((code, said["cost_pusd"].as_str().unwrap().parse::<i128>().unwrap()), (0, 2 * half), "{said}");
    is_whole(&desk);
}

#[test]
fn each_result_is_what_the_provider_said_and_failures_are_asked_again() {
    let desk = desk(Duration::from_millis(100));
    let kinds_of = ["succeeded", "errored", "expired", "canceled"];
    desk.write(&kinds_of.map(|kind| entry(kind, &format!("outcome={kind}"))));
    let (code, said) = desk.told(&BATCHES);
    assert_eq!(
        (code, &said["errored"], &said["expired"], &said["canceled"]),
        (1, &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(kinds(&desk.answers()), kinds_of);
    let answer = &desk.answers()[1];
    assert_eq!(answer["result"]["error"]["error"]["type"], "overloaded_error", "{answer}");
    assert!(answer["claviger"]["batch"].as_str().unwrap().starts_with("msgbatch_"), "{answer}");
    let (code, said) = desk.told(&["--retry-errors"]);
    assert_eq!((code, &said["answered_before"], &said["succeeded"]), (0, &json!(1), &json!(4)), "{said}");
}

#[test]
fn a_killed_run_fetches_what_it_gave_away() {
    let desk = desk(Duration::from_millis(1_500));
    fifty(&desk);
    let mut process = Process::start(desk.command(&BATCHES));
    eventually("all batches to be made", RUN, || {
        (journal(&desk).matches("\"created\"").count() == 3).then_some(())
    });
    process.kill();
    // Not by another way, which would pay twice.
    let refused = desk.run(&[]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("go on with --message-batches"), "{}", refused.stderr);
    let (code, said) = desk.told(&BATCHES);
    assert_eq!((code, &said["attempts"]), (0, &json!(0)), "{said}");
    is_whole(&desk);
    assert_eq!(made(&desk), 3);
}

#[test]
fn runs_killed_anywhere_make_no_batch_twice() {
    let desk = desk(Duration::from_millis(400));
    fifty(&desk);
    for kill in 0..8_u64 {
        let mut process = Process::start(desk.command(&BATCHES));
        std::thread::sleep(Duration::from_millis(60 + 45 * kill));
        process.kill();
    }
    let (code, said) = desk.told(&BATCHES);
    assert_eq!((code, &said["succeeded"]), (0, &json!(50)), "{said}");
    is_whole(&desk);
    assert_eq!(made(&desk), 3, "{}", said);
}

#[test]
fn a_batch_whose_making_was_not_noted_is_found_in_the_list() {
    let desk = desk(Duration::from_millis(1_500));
    fifty(&desk);
    let mut process = Process::start(desk.command(&BATCHES));
    eventually("all batches to be made", RUN, || {
        (journal(&desk).matches("\"created\"").count() == 3).then_some(())
    });
    process.kill();
    // As if it had been killed before it heard the answer.
    let text = journal(&desk);
    let kept: String = text
        .lines()
        .filter(|l| !(l.contains("\"created\"") && l.contains("\"number\":2")))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_ne!(kept, text);
    fs::write(desk.journal(), kept).unwrap();
    // Another one that looks alike from outside, made later, and one made by somebody else's hand before it ends.
    let requests: Vec<Value> = (0..20).map(|n| entry(&format!("x{n}"), "")).collect();
    let body = json!({"requests": requests}).to_string();
    let other = wire::ask(desk.node.gateway(), &wire::post("/v1/messages/batches", &desk.key.key, &body));
    assert_eq!(other.status, 200, "{}", other.text());
    let (code, said) = desk.told(&BATCHES);
    assert_eq!((code, &said["succeeded"]), (0, &json!(50)), "{said}");
    is_whole(&desk);
    assert_eq!(made(&desk), 4, "three of the run's, and the other one");
}

#[test]
fn a_batch_that_only_looked_alike_is_given_up() {
    let desk = desk(Duration::from_millis(200));
    desk.write(&(0..3).map(|n| entry(&format!("n{n}"), "")).collect::<Vec<_>>());
    let mut process = Process::start(desk.command(&["--message-batches"]));
    eventually("the batch to be made", RUN, || journal(&desk).contains("\"created\"").then_some(()));
    process.kill();
    // The journal as it was before anything was sent, and a strange batch in place of the own one.
    let text = journal(&desk);
    let kept: String = text
        .lines()
        .filter(|l| !l.contains("\"created\"") && !l.starts_with("{\"custom_id\""))
        .map(|l| format!("{l}\n"))
        .collect();
    let batches = wire::ask(desk.node.gateway(), &wire::get("/v1/messages/batches", &desk.key.key)).json();
    let own = batches["data"][0]["id"].as_str().unwrap();
    eventually("its end", RUN, || {
        let path = format!("/v1/messages/batches/{own}");
        let seen = wire::ask(desk.node.gateway(), &wire::get(&path, &desk.key.key)).json();
        (seen["processing_status"] == "ended").then_some(())
    });
    let delete = format!(
        "DELETE /v1/messages/batches/{own} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\nanthropic-version: 2023-06-01\r\n\r\n",
        desk.key.key
    );
    assert_eq!(wire::ask(desk.node.gateway(), delete.as_bytes()).status, 200);
    let requests: Vec<Value> = (0..3).map(|n| entry(&format!("n{n}"), "text=strange")).collect();
    let body = json!({"requests": requests}).to_string();
    let strange = wire::ask(desk.node.gateway(), &wire::post("/v1/messages/batches", &desk.key.key, &body));
    assert_eq!(strange.status, 200, "{}", strange.text());
    fs::write(desk.journal(), kept).unwrap();
    let done = desk.run(&["--message-batches", "--poll", "100ms"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("portion 1: believed to be "), "{}", done.stderr);
    assert!(done.stderr.contains("portion 1: not taken"), "{}", done.stderr);
    assert!(!fs::read_to_string(desk.output()).unwrap().contains("strange"));
    assert_eq!(made(&desk), 3);
}

#[test]
fn a_ceiling_leaves_what_was_taken_to_its_end() {
    // Twenty hold back 1.81, and cost about 0.25.
    let desk = Desk::with(&["--budget", "2.30/life"], |config| SimConfig {
        batch_delay: Duration::from_millis(200),
        ..config
    });
    let told = "usage={\"input_tokens\":6000}";
    desk.write(&(0..200).map(|n| entry(&format!("n{n}"), told)).collect::<Vec<_>>());
    let (code, said) = desk.told(&BATCHES);
    let done = said["succeeded"].as_u64().unwrap();
    assert_eq!((code, &said["stopped"]["why"]), (7, &json!("ceiling")), "{said}");
    // The second had to wait for the first to be billed.
    assert!(done > 20 && done % 20 == 0 && said["left"] == 200 - done, "{said}");
    desk.node.json(&["budget", "set", "--key", &desk.key.id, "--usd", "50", "--per", "life"]);
    let (code, said) = desk.told(&BATCHES);
    assert_eq!(
        (code, said["answered_before"].as_u64(), &said["succeeded"]),
        (0, Some(done), &json!(200)),
        "{said}"
    );
}

fn journal(desk: &Desk) -> String {
    fs::read_to_string(desk.journal()).unwrap_or_default()
}
