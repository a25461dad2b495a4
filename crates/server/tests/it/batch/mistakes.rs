//! What is refused before anything is sent.

use std::fs;

use serde_json::{Value, json};

use super::{Desk, entry, ids, request};

#[test]
fn bad_lines_are_refused_with_their_numbers_before_anything_is_sent() {
    let desk = Desk::new(&[]);
    desk.write(&[entry("a", ""), entry("a", ""), json!({"custom_id": "b"}), request("plain", "")]);
    let done = desk.run(&["--json"]);
    assert_eq!(done.code, 4, "{}", done.stderr);
    let last: Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["bad_lines_count"], 2);
    assert_eq!(last["bad_lines"][0], json!({"line": 2, "why": "`custom_id` a is that of line 1, too"}));
    assert_eq!(last["bad_lines"][1], json!({"line": 3, "why": "`custom_id` without `params`"}));
    assert!(done.stderr.contains("in.jsonl, line 2: "), "{}", done.stderr);
    assert!(!desk.output().exists() && !desk.journal().exists());
    assert_eq!(desk.calls().len(), 0);

    let (code, said) = desk.told(&["--skip-bad"]);
    assert_eq!((code, &said["requests"]), (0, &json!(2)), "{said}");
    assert_eq!(ids(&desk.answers()), ["a", "line-4"]);
}

#[test]
fn files_of_something_else_are_not_written_over() {
    let desk = Desk::new(&[]);
    desk.write(&[entry("a", "")]);
    fs::write(desk.output(), "a letter\n").unwrap();
    for arguments in [&[][..], &["--start-over"]] {
        let done = desk.run(arguments);
        assert_eq!(done.code, 4, "{}", done.stderr);
        assert!(done.stderr.contains("not written by `claviger batch run`"), "{}", done.stderr);
        assert_eq!(fs::read_to_string(desk.output()).unwrap(), "a letter\n");
        assert!(!desk.journal().exists());
    }
    let mut command = desk.node.command();
    command.args(["batch", "run"]).arg(desk.input()).arg("-o").arg(desk.input());
    let done = crate::house::run(command, "", super::RUN);
    assert_eq!(done.code, 2, "{}", done.stderr);
    assert_eq!(desk.calls().len(), 0);
}

#[test]
fn without_a_good_key_or_a_gateway_nothing_begins() {
    let mut desk = Desk::new(&[]);
    desk.write(&[entry("a", "")]);
    desk.node.json(&["key", "revoke", &desk.key.id]);
    let done = desk.run(&[]);
    assert_eq!(done.code, 4, "{}", done.stderr);
    assert!(done.stderr.contains("does not take the key"), "{}", done.stderr);
    let command = desk.command(&[]);
    desk.node.stop();
    let done = crate::house::run(command, "", super::RUN);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(!desk.output().exists());
}

#[test]
fn a_key_that_dies_on_the_way_ends_it() {
    let desk = Desk::new(&[]);
    desk.write(&[entry("a", ""), entry("b", "status=401; type=authentication_error"), entry("c", "")]);
    let (code, said) = desk.told(&["--concurrency", "1"]);
    assert_eq!((code, &said["stopped"]["why"]), (4, &json!("refused")), "{said}");
    assert_eq!((&said["succeeded"], &said["left"]), (&json!(1), &json!(2)), "{said}");
}
