//! Limits as a caller meets them: counted exactly, named, and told in Anthropic's headers.

use std::{thread, time::Duration};

use claviger_testkit::eventually;

use crate::{
    house::{Claviger, Key, Sim},
    wire::{self, Answer, Wire, post, post_with, say, say_streamed},
};

fn ask(node: &Claviger, key: &Key) -> Answer {
    wire::message(node.gateway(), &key.key, &say("hello"))
}

fn number(answer: &Answer, header: &str) -> u64 {
    let value = answer.header(header).unwrap_or_else(|| panic!("no {header} in {:?}", answer.headers));
    value.parse().unwrap_or_else(|_| panic!("{header}: {value}"))
}

#[test]
fn the_sixth_request_of_five_a_minute_waits() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--rpm", "5"]);
    for used in 1..=5 {
        let answer = ask(&node, &key);
        assert_eq!(answer.status, 200, "request {used}: {}", answer.text());
        assert_eq!(number(&answer, "anthropic-ratelimit-requests-limit"), 5);
        assert!(number(&answer, "anthropic-ratelimit-requests-remaining") <= 5 - used);
        let reset = answer.header("anthropic-ratelimit-requests-reset").unwrap();
        assert!(reset.ends_with('Z') && reset.len() == 20, "{reset}");
    }
    let refused = ask(&node, &key);
    assert_eq!(refused.status, 429);
    let (kind, message) = refused.error();
    assert_eq!(kind, "rate_limit_error");
    assert!(message.contains("5 requests per minute"), "{message}");
    assert!((1..=12).contains(&number(&refused, "retry-after")), "{:?}", refused.headers);
    assert_eq!(number(&refused, "anthropic-ratelimit-requests-limit"), 5);
    assert_eq!(number(&refused, "anthropic-ratelimit-requests-remaining"), 0);
    assert_eq!(refused.header("x-should-retry"), None, "waiting helps, and the SDKs know how");
    assert_eq!(sim.log().len(), 5, "what is refused costs nothing");

    let looked = wire::ask(node.gateway(), &wire::get("/v1/models", &key.key));
    assert_eq!(looked.status, 200, "looking has a bucket of its own: {}", looked.text());
    let shown = node.json(&["limits", "show", &key.id]);
    assert_eq!(shown["limits"]["rpm"], 5, "{shown}");
    let left = |bucket: &str| {
        let all = shown["counters"].as_array().unwrap();
        all.iter().find(|c| c["kind"] == "requests_per_minute" && c["bucket"] == bucket).unwrap()["remaining"]
            .clone()
    };
    assert_eq!((left("work"), left("look")), (0.into(), 4.into()), "{shown}");
}

#[test]
fn a_days_quota_survives_a_restart_and_is_not_waited_for() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&["--rpd", "4"]);
    for _ in 0..3 {
        assert_eq!(ask(&node, &key).status, 200);
    }
    assert!(node.stop().success());
    node.start();
    assert_eq!(ask(&node, &key).status, 200);
    let refused = ask(&node, &key);
    assert_eq!((refused.status, refused.header("x-should-retry")), (429, Some("false")));
    assert!(refused.error().1.contains("4 requests per day"), "{}", refused.text());
    assert!(number(&refused, "retry-after") <= 86_400);
    node.kill();
    node.start();
    assert_eq!(ask(&node, &key).status, 429, "a crash gives no quota back");
}

#[test]
fn a_limit_that_is_changed_holds_at_once() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--rpd", "1"]);
    assert_eq!(ask(&node, &key).status, 200);
    assert_eq!(ask(&node, &key).status, 429);
    node.json(&["key", "update", &key.id, "--rpd", "2"]);
    assert_eq!(ask(&node, &key).status, 200);
    assert_eq!(ask(&node, &key).status, 429);
    node.json(&["key", "update", &key.id, "--rpd", "0"]);
    assert_eq!(ask(&node, &key).status, 200);
}

#[test]
fn total_uses_are_counted_over_restarts() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    let key = node.key(&["--max-uses", "2"]);
    assert_eq!(ask(&node, &key).status, 200);
    assert!(node.stop().success());
    node.start();
    assert_eq!(ask(&node, &key).status, 200);
    let refused = ask(&node, &key);
    assert_eq!((refused.status, refused.header("x-should-retry")), (429, Some("false")));
    assert!(refused.error().1.contains("total uses"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), None, "no wait helps");
    assert_eq!(node.json(&["key", "show", &key.id])["usage_count"], 2);
}

#[test]
fn no_more_calls_are_in_flight_than_allowed() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--concurrency", "1"]);
    let mut first = Wire::to(node.gateway());
    first.send(post("/v1/messages", &key.key, &say_streamed("[[sim: gap=300; deltas=20]]").to_string()));
    assert_eq!(first.head().status, 200);

    let refused = ask(&node, &key);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.error().1.contains("1 concurrent request"), "{}", refused.text());
    first.leave();
    let answer = eventually("the place to be free", Duration::from_secs(10), || {
        Some(ask(&node, &key)).filter(|a| a.status == 200)
    });
    assert!(answer.clean);
}

#[test]
fn a_short_wait_for_a_place_is_waited() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--concurrency", "1"]);
    let (address, token) = (node.gateway(), key.key.clone());
    let slow = thread::spawn(move || wire::message(address, &token, &say("[[sim: latency=200]]")));
    eventually("the first call upstream", Duration::from_secs(10), || {
        let shown = wire::fetch(sim.address(), "/__sim/counters").text();
        shown.contains("\"in_flight\":1").then_some(())
    });
    assert_eq!(ask(&node, &key).status, 200);
    assert_eq!(slow.join().unwrap().status, 200);
}

#[test]
fn a_key_works_from_its_addresses_only_and_the_answer_shows_what_was_seen() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let here = node.key(&["--allow-ip", "127.0.0.0/8,::1/128"]);
    let elsewhere = node.key(&["--allow-ip", "203.0.113.0/24"]);
    assert_eq!(ask(&node, &here).status, 200);
    let refused = ask(&node, &elsewhere);
    assert_eq!((refused.status, refused.header("x-should-retry")), (403, Some("false")));
    let (kind, message) = refused.error();
    assert_eq!(kind, "permission_error");
    assert!(message.contains("127.0.0.1"), "{message}");

    // Anyone can write the header; nobody is believed who was not named.
    let body = say("hello").to_string();
    let forged = [("x-api-key", elsewhere.key.as_str()), ("x-forwarded-for", "203.0.113.9")];
    let refused = wire::ask(node.gateway(), &post_with("/v1/messages", &forged, &body));
    assert_eq!(refused.status, 403);
    assert!(refused.error().1.contains("127.0.0.1"), "{}", refused.text());
}

#[test]
fn forwarded_addresses_are_believed_of_trusted_proxies_from_the_right() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &["--trusted-proxies", "127.0.0.1/32,10.0.0.0/8"]);
    let key = node.key(&["--allow-ip", "203.0.113.0/24"]);
    let from = |forwarded: &str| {
        let headers = [("x-api-key", key.key.as_str()), ("x-forwarded-for", forwarded)];
        wire::ask(node.gateway(), &post_with("/v1/messages", &headers, &say("hello").to_string()))
    };
    assert_eq!(from("203.0.113.9").status, 200);
    assert_eq!(
        from("198.51.100.1, 203.0.113.9, 10.1.2.3").status,
        200,
        "the nearest that is no proxy counts"
    );
    let refused = from("203.0.113.9, 198.51.100.1");
    assert_eq!(refused.status, 403, "what a client wrote itself stands to the left");
    assert!(refused.error().1.contains("198.51.100.1"), "{}", refused.text());
    assert_eq!(from("not an address").status, 403);
}

#[test]
fn a_key_uses_its_models_only() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--models", "claude-haiku-*,claude-sonnet-5"]);
    let with = |model: &str| {
        let mut body = say("hello");
        body["model"] = model.into();
        wire::message(node.gateway(), &key.key, &body)
    };
    assert_eq!(with("claude-haiku-5-5").status, 200);
    assert_eq!(with("claude-sonnet-5").status, 200);
    let refused = with("claude-sonnet-5-5");
    assert_eq!((refused.status, refused.error().0.as_str()), (400, "invalid_request_error"));
    assert!(refused.error().1.contains("claude-sonnet-5-5"), "{}", refused.text());
    let listed = wire::ask(node.gateway(), &wire::get("/v1/models?limit=1000", &key.key)).json();
    let ids: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert!(!ids.is_empty());
    assert!(ids.iter().all(|id| id.starts_with("claude-haiku-") || *id == "claude-sonnet-5"), "{ids:?}");
    assert!(sim.log().iter().all(|l| !l.to_string().contains("claude-sonnet-5-5")), "nothing was sent");
}

#[test]
fn a_key_does_what_its_scopes_and_endpoints_say() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let reader = node.key(&["--scopes", "read"]);
    let writer = node.key(&["--endpoints", "messages"]);
    let models = |key: &Key| wire::ask(node.gateway(), &wire::get("/v1/models", &key.key)).status;
    assert_eq!((models(&reader), models(&writer)), (200, 403));
    let refused = ask(&node, &reader);
    assert_eq!((refused.status, refused.error().0.as_str()), (403, "permission_error"));
    assert!(refused.error().1.contains("messages"), "{}", refused.text());
    assert_eq!(ask(&node, &writer).status, 200);
    let count = post("/v1/messages/count_tokens", &reader.key, &say("hello").to_string());
    assert_eq!(wire::ask(node.gateway(), &count).status, 200, "counting only looks");
}

#[test]
fn a_key_that_is_not_valid_yet_waits_for_its_time() {
    let node = Claviger::started();
    let key = node.key(&["--test", "--not-before", "2999-01-01T00:00:00Z", "--expires-in", "never"]);
    assert_eq!(ask(&node, &key).status, 401);
    assert_eq!(node.json(&["key", "show", &key.id])["status"], "pending");
    let hours = node.key(&["--test", "--hours", "Mon-Sun 00-24 UTC"]);
    assert_eq!(ask(&node, &hours).status, 200);
}

fn tokens(answer: &Answer) -> (u64, u64) {
    let usage = &answer.json()["usage"];
    (usage["input_tokens"].as_u64().unwrap(), usage["output_tokens"].as_u64().unwrap())
}

fn with_most(most: u64) -> serde_json::Value {
    let mut body = say("hello");
    body["max_tokens"] = most.into();
    body
}

#[test]
fn tokens_are_held_before_a_call_counted_by_what_it_took_and_told_in_headers() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--itpm", "50000", "--otpm", "1000", "--tpd", "1000000"]);
    let first = wire::message(node.gateway(), &key.key, &with_most(400));
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(number(&first, "anthropic-ratelimit-input-tokens-limit"), 50_000);
    assert_eq!(
        number(&first, "anthropic-ratelimit-output-tokens-remaining"),
        600,
        "what it may take is held"
    );
    assert_eq!(number(&first, "anthropic-ratelimit-tokens-limit"), 1_000_000);
    assert!(first.header("anthropic-ratelimit-tokens-reset").unwrap().ends_with("T00:00:00Z"));
    let (input, output) = tokens(&first);
    let shown = node.json(&["limits", "show", &key.id]);
    let counter = |shown: &serde_json::Value, kind: &str| {
        shown["counters"].as_array().unwrap().iter().find(|c| c["kind"] == kind).unwrap().clone()
    };
    let day = counter(&shown, "tokens_per_day");
    assert_eq!(
        (&day["remaining"], &day["held"]),
        (&(1_000_000 - input - output).into(), &0.into()),
        "{shown}"
    );
    let again = node.json(&["limits", "show", &key.id]);
    assert_eq!(counter(&again, "tokens_per_day"), day, "looking changes nothing");
}

#[test]
fn a_spent_token_limit_is_named_with_when_it_frees_and_takes_no_request() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--otpd", "1", "--rpd", "3"]);
    let first = wire::message(node.gateway(), &key.key, &with_most(400));
    assert_eq!(first.status, 200, "it runs by itself: {}", first.text());
    for _ in 0..5 {
        let refused = wire::message(node.gateway(), &key.key, &with_most(400));
        assert_eq!((refused.status, refused.header("x-should-retry")), (429, Some("false")));
        let (kind, message) = refused.error();
        assert_eq!(kind, "rate_limit_error");
        assert!(message.contains("your key's limit: the limit of 1 output tokens per day"), "{message}");
        assert!(number(&refused, "retry-after") <= 86_400);
        assert_eq!(number(&refused, "anthropic-ratelimit-output-tokens-remaining"), 0);
        assert_eq!(number(&refused, "anthropic-ratelimit-requests-remaining"), 2, "refusals take nothing");
    }
    assert_eq!(sim.log().len(), 1);
    let looked = wire::ask(node.gateway(), &wire::get("/v1/models", &key.key));
    assert_eq!(looked.status, 200, "looking takes no tokens");
}

/// gateways.md, 3.19: streams escaped the limits that whole answers were held to, and cached tokens were counted twice.
#[test]
fn streams_count_as_whole_answers_do_and_cache_reads_do_not_count() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    let key = node.key(&["--itpd", "100000", "--otpd", "100000"]);
    let prompt = "[[sim: usage={\"input_tokens\":1000,\"output_tokens\":100,\"cache_read_input_tokens\":50000,\"cache_creation_input_tokens\":30}]]";
    let left = |calls: u64| {
        eventually("the call to be counted", Duration::from_secs(5), || {
            let shown = node.json(&["limits", "show", &key.id]);
            let day = |kind: &str| {
                let all = shown["counters"].as_array().unwrap();
                let found = all.iter().find(|c| c["kind"] == kind).unwrap();
                (found["held"].as_u64().unwrap(), found["remaining"].as_u64().unwrap())
            };
            let now = (day("input_tokens_per_day"), day("output_tokens_per_day"));
            (now == ((0, 100_000 - calls * 1_030), (0, 100_000 - calls * 100))).then_some(())
        });
    };
    assert_eq!(wire::message(node.gateway(), &key.key, &say(prompt)).status, 200);
    left(1);
    let mut client = Wire::to(node.gateway());
    client.send(post("/v1/messages", &key.key, &say_streamed(prompt).to_string()));
    assert_eq!(client.answer().status, 200);
    left(2);
}

#[test]
fn a_days_tokens_go_on_after_a_restart_for_the_key_and_its_workspace() {
    let sim = Sim::start();
    let mut node = Claviger::before(&sim, &[]);
    node.json(&["workspace", "create", "team", "--itpd", "1000000"]);
    let key = node.key(&["--workspace", "team", "--otpd", "100000"]);
    let (input, output) = tokens(&ask(&node, &key));
    assert!(node.stop().success());
    node.start();
    let shown = node.json(&["limits", "show", &key.id]);
    let left = |subject: &str, kind: &str| {
        let all = shown["counters"].as_array().unwrap();
        let found = all.iter().find(|c| c["subject"] == subject && c["kind"] == kind);
        found.unwrap_or_else(|| panic!("{shown}"))["remaining"].as_u64().unwrap()
    };
    assert_eq!(left("key", "output_tokens_per_day"), 100_000 - output);
    assert_eq!(left("workspace", "input_tokens_per_day"), 1_000_000 - input);
}

#[test]
fn the_places_of_an_owner_are_shared_by_its_keys() {
    let sim = Sim::start();
    let node = Claviger::before(&sim, &[]);
    node.json(&["owner", "create", "ada", "--concurrency", "1"]);
    let (one, other) = (node.key(&["--owner", "ada"]), node.key(&["--owner", "ada"]));
    let mut first = Wire::to(node.gateway());
    first.send(post("/v1/messages", &one.key, &say_streamed("[[sim: gap=300; deltas=20]]").to_string()));
    assert_eq!(first.head().status, 200);
    let refused = ask(&node, &other);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(
        refused.error().1.contains("your key's owner's limit: the limit of 1 concurrent"),
        "{}",
        refused.text()
    );
    node.json(&["owner", "update", "ada", "--concurrency", "2"]);
    assert_eq!(ask(&node, &other).status, 200, "a limit that is raised holds at once");
    first.leave();
}
