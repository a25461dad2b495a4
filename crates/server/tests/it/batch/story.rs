//! A run from its beginning to its end, with what may go wrong on the way.

use std::{collections::HashSet, thread, time::Duration};

use claviger_claude_sim::SimConfig;
use claviger_testkit::eventually;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Desk, RUN, entry, ids, kinds, lines, request};
use crate::house::Process;

#[test]
fn answers_stand_in_the_order_of_the_requests() {
    let desk = Desk::new(&[]);
    let mut requests: Vec<Value> = (0..40)
        .map(|n| entry(&format!("id-{n}"), &format!("latency={}; text=answer {n}", 80 - 2 * n)))
        .collect();
    requests[7] = request("plain", "text=answer 7");
    desk.write(&requests);
    let (code, said) = desk.told(&["--concurrency", "8"]);
    assert_eq!(code, 0, "{said}");
    let fields: Vec<&str> = said.as_object().unwrap().keys().map(String::as_str).collect();
    insta::assert_snapshot!(fields.join(" "), @"answered_before attempts canceled cost_pusd cost_usd errored expired left output requests stopped succeeded took_secs");
    let answers = desk.answers();
    let mut expected: Vec<String> = (0..40).map(|n| format!("id-{n}")).collect();
    expected[7] = "line-8".to_owned();
    assert_eq!(ids(&answers), expected);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer["result"]["type"], "succeeded");
        assert_eq!(answer["result"]["message"]["content"][0]["text"], format!("answer {n}"), "{answer}");
        let attempts = answer["claviger"]["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["status"]), (1, &json!(200)), "{answer}");
    }
    assert!(!desk.journal().exists());

    // What it cost is what was booked, and what was booked is what the provider bills.
    let cost = |answer: &Value| answer["claviger"]["cost_pusd"].as_str().unwrap().parse::<i128>().unwrap();
    let total: i128 = answers.iter().map(cost).sum();
    assert_eq!(said["cost_pusd"], total.to_string());
    assert_eq!(desk.booked(), (40, total));
    assert_eq!(desk.sim.bills().iter().map(|bill| bill.cost).sum::<i128>(), total);
    // Each call went under an id of its own, and the answer's is the provider's.
    let calls = desk.calls();
    let theirs: HashSet<&str> = calls.iter().map(|call| call["request_id"].as_str().unwrap()).collect();
    let ours: HashSet<&str> =
        answers.iter().map(|a| a["claviger"]["attempts"][0]["request_id"].as_str().unwrap()).collect();
    assert_eq!((theirs.len(), &ours), (40, &theirs));

    let (code, said) = desk.told(&[]);
    assert_eq!((code, &said["answered_before"], &said["attempts"]), (0, &json!(40), &json!(0)), "{said}");
    assert_eq!((desk.calls().len(), desk.answers()), (40, answers));
    assert!(!desk.journal().exists());
}

#[test]
fn requests_that_are_added_later_are_the_only_ones_asked() {
    let desk = Desk::new(&[]);
    desk.write(&[entry("a", ""), entry("c", "")]);
    assert_eq!(desk.run(&[]).code, 0);
    desk.write(&[entry("a", ""), entry("b", ""), entry("c", "")]);
    let (code, said) = desk.told(&[]);
    assert_eq!((code, &said["answered_before"], &said["attempts"]), (0, &json!(2), &json!(1)), "{said}");
    assert_eq!(ids(&desk.answers()), ["a", "b", "c"]);
    // Another request under a name that was answered is nobody's answer.
    desk.write(&[entry("a", "text=other")]);
    let refused = desk.run(&[]);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("line 1: `a` was answered for another request"), "{}", refused.stderr);
    assert_eq!(ids(&desk.answers()), ["a", "b", "c"]);
    let (code, said) = desk.told(&["--start-over"]);
    assert_eq!((code, &said["attempts"]), (0, &json!(1)), "{said}");
    assert_eq!(ids(&desk.answers()), ["a"]);
    assert_eq!(desk.calls().len(), 4);
}

#[test]
fn what_is_worth_another_try_gets_it_and_the_rest_is_an_error_of_its_own() {
    let desk = Desk::new(&[]);
    desk.write(&[
        entry("good", ""),
        // The gateway tries three times itself.
        entry("busy", "first=4; status=529; retry-after=0"),
        entry("slow", "first=4; status=429; retry-after-ms=100"),
        entry("lost", "first=1; cut=1"),
        entry("bad", "status=400; type=invalid_request_error; message=no such thing"),
        entry("dead", "status=529; retry-after-ms=10"),
        entry("no", "status=500; should-retry=false"),
    ]);
    let (code, said) = desk.told(&["--tries", "3"]);
    let answers = desk.answers();
    assert_eq!(ids(&answers), ["good", "busy", "slow", "lost", "bad", "dead", "no"]);
    let expected = ["succeeded", "succeeded", "succeeded", "succeeded", "errored", "errored", "errored"];
    assert_eq!(kinds(&answers), expected, "{answers:#?}");
    assert_eq!((code, &said["errored"], &said["left"]), (1, &json!(3), &json!(0)), "{said}");
    let error = |n: usize| {
        (&answers[n]["result"]["error"]["error"]["type"], answers[n]["claviger"]["attempts_count"].clone())
    };
    assert_eq!(error(4), (&json!("invalid_request_error"), json!(1)));
    assert_eq!(answers[4]["result"]["error"]["error"]["message"], "no such thing");
    assert_eq!(answers[4]["result"]["error"]["type"], "error");
    assert_eq!(error(5), (&json!("overloaded_error"), json!(3)));
    assert_eq!(error(6), (&json!("api_error"), json!(1)));
    let tried = answers[1]["claviger"]["attempts"].as_array().unwrap();
    assert!(
        tried.len() > 1 && tried[0]["reason"].as_str().unwrap().starts_with("overloaded_error"),
        "{tried:?}"
    );
    let sent: HashSet<&str> = tried.iter().map(|attempt| attempt["id"].as_str().unwrap()).collect();
    assert_eq!(sent.len(), tried.len());

    // Asked again, with half as many at once, is only what failed.
    let (code, said) = desk.told(&["--tries", "1", "--retry-errors"]);
    assert_eq!((code, &said["answered_before"], &said["attempts"]), (1, &json!(4), &json!(3)), "{said}");
    assert_eq!(kinds(&desk.answers()), expected);
    assert_eq!(desk.run(&[]).code, 1);
}

#[test]
fn a_gateway_that_is_away_for_a_while_is_waited_for() {
    let mut desk = Desk::with(&[], |config| SimConfig { latency: Duration::from_millis(30), ..config });
    desk.write(&(0..60).map(|n| entry(&format!("n{n}"), "")).collect::<Vec<_>>());
    let process = Process::start(desk.command(&["--concurrency", "3", "--json"]));
    answered(&desk, 5);
    desk.node.kill();
    thread::sleep(Duration::from_millis(500));
    desk.node.start();
    let said = ended(process, 0);
    assert_eq!(said["succeeded"], 60, "{said}");
    assert!(desk.calls().len() <= 63, "{}", desk.calls().len());
}

#[test]
fn an_interrupt_lets_what_is_in_flight_come_to_its_end() {
    let desk = Desk::with(&[], |config| SimConfig { latency: Duration::from_millis(150), ..config });
    desk.write(&(0..100).map(|n| entry(&format!("n{n}"), "")).collect::<Vec<_>>());
    let process = Process::start(desk.command(&["--concurrency", "4", "--json"]));
    answered(&desk, 4);
    process.signal(Signal::INT);
    let said = ended(process, 130);
    assert_eq!(said["stopped"]["why"], "interrupted", "{said}");
    let done = said["succeeded"].as_u64().unwrap();
    assert_eq!(said["left"].as_u64().unwrap() + done, 100, "{said}");
    assert_eq!(desk.calls().len() as u64, done, "every call that was begun is answered and kept");
    assert_eq!(desk.answers().len() as u64, done, "they are in the output");
    let (code, said) = desk.told(&["--concurrency", "40"]);
    assert_eq!((code, said["answered_before"].as_u64()), (0, Some(done)), "{said}");
    assert_eq!(desk.calls().len(), 100);
    assert_eq!(desk.answers().len(), 100);
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let desk = Desk::new(&[]);
    desk.write(&[entry("quick", ""), entry("slow", "latency=60000")]);
    let mut process = Process::start(desk.command(&[]));
    answered(&desk, 1);
    process.signal(Signal::INT);
    eventually("a word about it", RUN, || {
        process.errors().iter().any(|line| line.contains("waiting for 1 in flight")).then_some(())
    });
    process.signal(Signal::TERM);
    let status = process.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(130));
    assert_eq!(lines(&desk.journal()).iter().filter(|line| line["custom_id"] == "quick").count(), 1);
}

#[test]
fn a_terminal_sees_a_bar_with_rate_cost_and_time_left() {
    let desk = Desk::with(&[], |config| SimConfig { latency: Duration::from_millis(100), ..config });
    desk.write(&(0..40).map(|n| entry(&format!("n{n}"), "")).collect::<Vec<_>>());
    let mut line = format!("{} batch run", env!("CARGO_BIN_EXE_claviger"));
    line.push_str(&format!(" {} -o {} --concurrency 2", desk.input().display(), desk.output().display()));
    let mut command = desk.command(&[]);
    let envs: Vec<_> = command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
    command = std::process::Command::new("script");
    command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]).envs(envs);
    command.env("TERM", "xterm");
    let Some(mut process) = Process::at_terminal(command) else {
        return claviger_testkit::skip("no `script` on PATH");
    };
    assert!(process.wait(RUN).success());
    let seen = process.lines().join("\n");
    assert!(seen.contains("/40 ") && seen.contains("/s · $0.") && seen.contains(" s left"), "{seen:?}");
    assert!(seen.contains("40 of 40 answered: 40 succeeded, 0 failed; $0."), "{seen:?}");
}

/// Waits until so many answers are in the journal.
fn answered(desk: &Desk, count: usize) {
    eventually("answers in the journal", RUN, || {
        let text = std::fs::read_to_string(desk.journal()).unwrap_or_default();
        (text.lines().filter(|line| line.starts_with("{\"custom_id\"")).count() >= count).then_some(())
    });
}

/// Waits for the end; what it said.
fn ended(mut process: Process, code: i32) -> Value {
    let status = process.wait(RUN);
    assert_eq!(status.code(), Some(code), "{:?}", process.errors());
    serde_json::from_str(&process.lines().join("\n")).unwrap()
}
