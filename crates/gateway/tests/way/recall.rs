//! The response cache, on a request's way.

use std::{
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use claviger_domain::{
    key::OnDisconnect,
    ledger::{LedgerRow, Outcome, RowFlags, UsageCounts},
    limit::LimitsPatch,
    tenancy::Environment,
};
use claviger_service::{Caller, keys::NewKey};
use claviger_testkit::{Answer, RawServer, eventually};

use super::{COST, DELTA, END, JSON, SSE_HEAD, START, chunk, json_upstream, slow_stream};
use crate::{
    house::{Connection, House, Wish, body, post},
    ports::Commits,
};

fn cached() -> Wish {
    let mut wish = Wish::default();
    wish.key.cache = Some("5m".to_owned());
    wish.key.limits.rpm = Some(None);
    wish
}

fn word(answer: &str) -> Option<&str> {
    answer.split("\r\n").find_map(|line| line.strip_prefix("x-claviger-cache: "))
}

fn rows(house: &House, count: usize) -> Vec<LedgerRow> {
    eventually("the rows", Duration::from_secs(10), || Some(house.store.rows()).filter(|r| r.len() >= count))
}

/// Sends, reads to the end of a JSON answer, and says what the cache said.
fn told(house: &House, request: &str) -> Option<String> {
    let answer = house.send(request).until("}}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    word(&answer).map(str::to_owned)
}

fn with_header(request: &str, header: &str) -> String {
    request.replacen("X-Request-Id", &format!("{header}\r\nX-Request-Id"), 1)
}

/// Another key of the house, made as wished.
fn another_key(house: &House, key: NewKey) -> String {
    let (_, token, _) = house.control.block_on(house.services.keys.create(key, &Caller::system())).unwrap();
    String::from_utf8_lossy(token.expose()).into_owned()
}

#[test]
fn an_equal_request_is_answered_without_a_call_and_free_and_says_so() {
    let upstream = json_upstream();
    let house = House::with(&upstream.url(), cached());
    let first = house.send(&house.message(false)).until(JSON);
    assert_eq!(word(&first), Some("miss"), "{first}");
    house.clock.advance(Duration::from_secs(7));
    let other = r#"{ "stream":false, "max_tokens":9, "model":"claude-\u006fpus-5-5",
        "messages":[{"content":"hi","role":"user"}]}"#;
    let again = house.send(&post(&house.key, other)).until(JSON);
    assert_eq!(word(&again), Some("hit"), "{again}");
    for part in [
        "HTTP/1.1 200 OK\r\n",
        "age: 7\r\n",
        "content-type: application/json\r\n",
        "request-id: req_",
        "x-request-id: mine\r\n",
    ] {
        assert!(again.contains(part), "{part}: {again}");
    }
    assert!(again.contains(&format!("content-length: {}\r\n", JSON.len())), "{again}");
    assert_eq!(upstream.requests().len(), 1);
    let rows = rows(&house, 2);
    let (made, hit) = (&rows[0], &rows[1]);
    assert_eq!((made.cost.as_pico(), made.flags, &made.recalled), (COST, RowFlags::default(), &None));
    assert_eq!((hit.outcome, hit.status, hit.attempts), (Outcome::Completed, 200, 0));
    assert_eq!((hit.cost.as_pico(), hit.usage, hit.flags), (0, UsageCounts::default(), RowFlags::RECALLED));
    assert_eq!((&hit.route.credential, hit.model.as_str()), (&None, "claude-opus-5-5"));
    let recalled = hit.recalled.as_ref().unwrap();
    assert_eq!((&recalled.call, recalled.saved.as_pico()), (&made.request_id, COST));
    assert_ne!(hit.request_id, made.request_id);
    assert_eq!(house.store.open_intents(), 0);
    let stats = house.services.recall.stats();
    assert_eq!((stats.hits, stats.misses, stats.answers, stats.flights), (1, 1, 1, 0));
    let metrics = house.gateway.metrics_text();
    assert!(metrics.contains("claviger_cache_hits_total 1\n"), "{metrics}");
}

#[test]
fn a_stream_is_replayed_as_the_stream_that_it_was() {
    let upstream = slow_stream(Duration::from_millis(50));
    let house = House::with(&upstream.url(), cached());
    let whole = |answer: &str| -> String {
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        body.split("\r\n").skip(1).step_by(2).collect()
    };
    let first = house.send(&house.message(true)).until("0\r\n\r\n");
    let again = house.send(&house.message(true)).until("0\r\n\r\n");
    assert_eq!((word(&first), word(&again)), (Some("miss"), Some("hit")));
    assert!(
        again.contains("content-type: text/event-stream") && again.contains("transfer-encoding: chunked")
    );
    assert_eq!(whole(&again), [START, DELTA, END].concat());
    assert_eq!(whole(&first), whole(&again));
    assert_eq!(upstream.requests().len(), 1);
    let hit = rows(&house, 2).remove(1);
    assert_eq!(hit.flags, RowFlags::RECALLED.with(RowFlags::STREAM));
}

#[test]
fn a_stream_can_keep_its_pace() {
    let upstream = slow_stream(Duration::from_millis(700));
    let mut wish = cached();
    wish.config.cache.keep_pace = true;
    let house = House::with(&upstream.url(), wish);
    let mut first = house.send(&house.message(true));
    first.until("12345678");
    house.clock.advance(Duration::from_millis(400));
    first.until("0\r\n\r\n");
    let began = tokio::time::Instant::now();
    let mut again = house.send(&house.message(true));
    let start = again.until("12345678");
    assert!(word(&start) == Some("hit") && !start.contains("message_stop"), "{start}");
    again.until("0\r\n\r\n");
    let took = began.elapsed();
    assert!((Duration::from_millis(390)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

#[test]
fn a_paced_replay_to_a_revoked_key_is_cut() {
    let upstream = slow_stream(Duration::from_millis(500));
    let mut wish = cached();
    wish.config.cache.keep_pace = true;
    let house = House::with(&upstream.url(), wish);
    let mut first = house.send(&house.message(true));
    first.until("12345678");
    house.clock.advance(Duration::from_secs(9));
    first.until("0\r\n\r\n");
    let mut again = house.send(&house.message(true));
    again.until("12345678");
    house.revoke_now();
    let (rest, _) = again.rest();
    assert!(!rest.contains("message_stop") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    let refused = house.send(&house.message(true)).until("request_id\":\"req_");
    assert!(refused.starts_with("HTTP/1.1 401"), "a revoked key gets no hit: {refused}");
}

#[test]
fn a_key_that_does_not_ask_has_nothing_to_do_with_it() {
    let upstream = json_upstream();
    let house = House::with(&upstream.url(), cached());
    let plain = another_key(&house, NewKey { name: "plain".to_owned(), ..NewKey::default() });
    assert_eq!(told(&house, &post(&plain, &body(false))), None);
    assert_eq!(told(&house, &house.message(false)).as_deref(), Some("miss"), "its answer was not kept");
    assert_eq!(told(&house, &post(&plain, &body(false))), None, "nor is it given one");
    assert_eq!(upstream.requests().len(), 3);
    // Counting tokens is free already.
    let count = house.message(false).replacen("/v1/messages", "/v1/messages/count_tokens", 1);
    assert_eq!(told(&house, &count), None);
}

#[test]
fn nothing_is_shared_across_versions_betas_queries_or_workspaces() {
    let upstream = json_upstream();
    let house = House::with(&upstream.url(), cached());
    let plain = house.message(false);
    assert_eq!(told(&house, &plain).as_deref(), Some("miss"));
    for other in [
        with_header(&plain, "anthropic-version: 2023-06-01"),
        with_header(&plain, "anthropic-version: 2024-01-01"),
        with_header(&plain, "anthropic-beta: a-1"),
        with_header(&plain, "anthropic-beta: a-1,b-1"),
        plain.replacen("?beta=true", "", 1),
        post(&house.key, &body(false).replace("hi", "ho")),
    ] {
        assert_eq!(told(&house, &other).as_deref(), Some("miss"), "{other}");
        assert_eq!(told(&house, &other).as_deref(), Some("hit"), "{other}");
    }
    let turned = with_header(&with_header(&plain, "anthropic-beta: b-1"), "anthropic-beta: a-1");
    assert_eq!(told(&house, &turned).as_deref(), Some("hit"), "betas in another order");
    let user_agent = with_header(&plain, "user-agent: somebody else's");
    assert_eq!(told(&house, &user_agent).as_deref(), Some("hit"));

    let caller = Caller::system();
    let made = house.services.tenants.create_workspace(
        "w2",
        Environment::Development,
        LimitsPatch::default(),
        &caller,
    );
    house.control.block_on(made).unwrap();
    let asks = |name: &str, workspace: Option<&str>| NewKey {
        name: name.to_owned(),
        workspace: workspace.map(str::to_owned),
        cache: Some("on".to_owned()),
        ..NewKey::default()
    };
    let stranger = another_key(&house, asks("stranger", Some("w2")));
    assert_eq!(told(&house, &post(&stranger, &body(false))).as_deref(), Some("miss"));
    let neighbour = another_key(&house, asks("neighbour", None));
    assert_eq!(told(&house, &post(&neighbour, &body(false))).as_deref(), Some("hit"));
}

#[test]
fn requests_that_act_and_callers_who_forbid_it_go_by() {
    let upstream = json_upstream();
    let house = House::with(&upstream.url(), cached());
    let with = |field: &str| post(&house.key, &body(false).replacen('{', &format!("{{{field},"), 1));
    let search = r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#;
    for acts in [
        with(search),
        with(r#""mcp_servers":[]"#),
        with(r#""of_tomorrow":1"#),
        post(
            &house.key,
            &body(false).replace("\"hi\"", r#"[{"type":"image","source":{"type":"url","url":"https://x"}}]"#),
        ),
        with_header(&house.message(false), "cache-control: no-store"),
    ] {
        assert_eq!((told(&house, &acts), told(&house, &acts)), (None, None), "{acts}");
    }
    assert_eq!(told(&house, &house.message(false)).as_deref(), Some("miss"), "no-store kept nothing");
    let function = with(r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#);
    assert_eq!(told(&house, &function).as_deref(), Some("miss"));
    assert_eq!(told(&house, &function).as_deref(), Some("hit"), "the caller's own functions do nothing here");
    // Anew, and kept in place of the old one.
    let anew = with_header(&house.message(false), "cache-control: no-cache");
    assert_eq!(told(&house, &anew).as_deref(), Some("miss"));
    house.clock.advance(Duration::from_secs(10));
    let young = |secs: u64| with_header(&house.message(false), &format!("cache-control: max-age={secs}"));
    assert_eq!(told(&house, &young(11)).as_deref(), Some("hit"));
    assert_eq!(told(&house, &young(10)).as_deref(), Some("miss"));
    assert_eq!(told(&house, &young(0)).as_deref(), Some("miss"));
}

#[test]
fn only_whole_answers_that_ended_well_are_kept() {
    let refusal = JSON.replace("end_turn", "refusal");
    let paused = JSON.replace("end_turn", "pause_turn");
    let odd = JSON.replace("end_turn", "of_tomorrow");
    let unsaid = JSON.replace(r#""stop_reason":"end_turn","#, "");
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","message":"x"}}"#;
    let bad = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{error}",
        error.len()
    );
    let answers = [refusal, paused, odd, unsaid].map(|json| Answer::ok("application/json", json));
    for answer in answers.into_iter().chain([Answer::bytes(bad)]) {
        let upstream = RawServer::start(move |_| answer.clone());
        let house = House::with(&upstream.url(), cached());
        for _ in 0..2 {
            let seen = house.send(&house.message(false)).until("}}");
            assert_eq!(word(&seen), Some("miss"), "{seen}");
        }
        assert_eq!(upstream.requests().len(), 2);
        assert_eq!(house.services.recall.stats().answers, 0);
    }
    // A stream that ends with an error, or breaks off.
    let failed = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"\"}}\n\n";
    for tail in [chunk(failed) + "0\r\n\r\n", "0\r\n\r\n".to_owned(), String::new()] {
        let upstream = RawServer::start(move |_| {
            Answer::bytes(SSE_HEAD).then(chunk(START) + &chunk(DELTA) + &tail).close()
        });
        let house = House::with(&upstream.url(), cached());
        for _ in 0..2 {
            let mut connection = house.send(&with_header(&house.message(true), "connection: close"));
            let (seen, _) = connection.rest();
            assert_eq!(word(&seen), Some("miss"), "{seen}");
        }
        assert_eq!(upstream.requests().len(), 2);
        assert_eq!(house.services.recall.stats().answers, 0);
    }
}

#[test]
fn an_answer_is_forgotten_when_its_time_is_up_or_somebody_flushes() {
    let upstream = json_upstream();
    let house = House::with(&upstream.url(), cached());
    let ask = || told(&house, &house.message(false));
    assert_eq!(ask().as_deref(), Some("miss"));
    house.clock.advance(Duration::from_secs(299));
    assert_eq!(ask().as_deref(), Some("hit"));
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(ask().as_deref(), Some("miss"));
    assert_eq!(ask().as_deref(), Some("hit"));
    let caller = Caller::system();
    let gone = house.control.block_on(house.services.cache.flush(None, &caller)).unwrap();
    assert_eq!((gone.len(), gone[0].answers), (1, 1));
    assert!(house.store.events().iter().any(|e| e.action == "cache.flush" && e.details["answers"] == 1));
    assert_eq!(ask().as_deref(), Some("miss"));
    assert!(house.control.block_on(house.services.cache.flush(Some("nowhere"), &caller)).is_err());
}

/// An upstream that counts, and takes its time.
fn slow_json(pause: Duration) -> RawServer {
    RawServer::start(move |_| {
        Answer::default().pause(pause).then(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{JSON}",
            JSON.len()
        ))
    })
}

#[test]
fn a_hundred_who_ask_at_once_make_one_call() {
    let upstream = slow_json(Duration::from_millis(500));
    let house = House::with(&upstream.url(), cached());
    let mut all: Vec<Connection> = (0..100).map(|_| house.send(&house.message(false))).collect();
    let words: Vec<String> =
        all.iter_mut().map(|c| word(&c.until(JSON)).map(str::to_owned).unwrap()).collect();
    assert_eq!(words.iter().filter(|word| *word == "miss").count(), 1, "{words:?}");
    assert_eq!(upstream.requests().len(), 1);
    let rows = rows(&house, 100);
    assert_eq!(rows.iter().map(|row| row.cost.as_pico()).sum::<i64>(), COST);
    assert_eq!(rows.iter().filter(|row| row.flags.has(RowFlags::RECALLED)).count(), 99);
    assert_eq!(house.store.open_intents(), 0);
}

#[test]
fn when_the_leaders_client_goes_away_the_next_in_line_calls_and_nobody_is_lost() {
    for policy in [OnDisconnect::Cancel, OnDisconnect::Drain] {
        let upstream = slow_stream(Duration::from_millis(600));
        let mut wish = cached();
        wish.key.on_disconnect = policy;
        let house = House::with(&upstream.url(), wish);
        let mut leader = house.send(&house.message(true));
        leader.until("12345678");
        let mut rest: Vec<Connection> = (0..5).map(|_| house.send(&house.message(true))).collect();
        std::thread::sleep(Duration::from_millis(100));
        drop(leader);
        let words: Vec<String> =
            rest.iter_mut().map(|c| word(&c.until("message_stop")).map(str::to_owned).unwrap()).collect();
        let misses = words.iter().filter(|word| *word == "miss").count();
        // One that is drained comes to its end for those who wait.
        let (calls, missed) = if policy == OnDisconnect::Drain { (1, 0) } else { (2, 1) };
        assert_eq!((upstream.requests().len(), misses), (calls, missed), "{policy:?} {words:?}");
    }
}

#[test]
fn when_the_leaders_client_goes_before_the_head_the_next_in_line_calls() {
    let upstream = slow_json(Duration::from_millis(600));
    let house = House::with(&upstream.url(), cached());
    let leader = house.send(&house.message(false));
    assert_eq!(upstream.take(1).len(), 1);
    let mut rest: Vec<Connection> = (0..3).map(|_| house.send(&house.message(false))).collect();
    std::thread::sleep(Duration::from_millis(100));
    drop(leader);
    for connection in &mut rest {
        assert!(connection.until(JSON).starts_with("HTTP/1.1 200"));
    }
    assert_eq!(upstream.requests().len(), 1, "one more");
}

#[test]
fn when_the_leaders_answer_is_not_kept_all_go_at_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let refusal = JSON.replace("end_turn", "refusal");
    let upstream = RawServer::start(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            refusal.len()
        );
        Answer::default().pause(Duration::from_millis(400)).then(head + &refusal)
    });
    let house = House::with(&upstream.url(), cached());
    let began = tokio::time::Instant::now();
    let mut all: Vec<Connection> = (0..8).map(|_| house.send(&house.message(false))).collect();
    for connection in &mut all {
        assert_eq!(word(&connection.until("}}")), Some("miss"));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 8);
    assert!(began.elapsed() < Duration::from_millis(2_400), "not one after the other: {:?}", began.elapsed());
}

#[test]
fn nobody_waits_longer_than_is_set() {
    let upstream = slow_json(Duration::from_secs(3));
    let mut wish = cached();
    wish.config.cache.wait = Duration::from_millis(200);
    let house = House::with(&upstream.url(), wish);
    let _leader = house.send(&house.message(false));
    assert_eq!(upstream.take(1).len(), 1);
    let _second = house.send(&house.message(false));
    let began = tokio::time::Instant::now();
    assert_eq!(upstream.take(1).len(), 1);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_key_that_is_revoked_while_it_waits_is_refused() {
    let upstream = slow_json(Duration::from_secs(3));
    let house = House::with(&upstream.url(), cached());
    let other = NewKey { name: "other".to_owned(), cache: Some("on".to_owned()), ..NewKey::default() };
    let other = another_key(&house, other);
    let _leader = house.send(&post(&other, &body(false)));
    assert_eq!(upstream.take(1).len(), 1);
    let mut waiting = house.send(&house.message(false));
    std::thread::sleep(Duration::from_millis(200));
    house.revoke_now();
    let refused = waiting.until("request_id\":\"req_");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(upstream.requests().is_empty());
}

#[test]
fn the_first_byte_of_a_hit_waits_for_its_record() {
    let upstream = json_upstream();
    let house = House::with(&upstream.url(), cached());
    told(&house, &house.message(false));
    rows(&house, 1);
    house.store.set_commits(Commits::Wait);
    let mut hit = house.send(&house.message(false));
    assert_eq!(hit.within(Duration::from_millis(300)), "");
    house.store.set_commits(Commits::Work);
    assert_eq!(word(&hit.until(JSON)), Some("hit"));
}

#[test]
fn a_hit_counts_as_a_request_and_as_no_tokens() {
    let upstream = json_upstream();
    let mut wish = cached();
    wish.key.limits.rpm = Some(Some(3));
    // One call takes all of it.
    wish.key.limits.otpd = Some(Some(4));
    let house = House::with(&upstream.url(), wish);
    assert_eq!(told(&house, &house.message(false)).as_deref(), Some("miss"));
    assert_eq!(told(&house, &house.message(false)).as_deref(), Some("hit"));
    assert_eq!(told(&house, &house.message(false)).as_deref(), Some("hit"));
    let refused = house.send(&house.message(false)).until("request_id\":\"req_");
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("3 requests per minute"), "{refused}");
    house.clock.advance(Duration::from_secs(61));
    let other = house.send(&post(&house.key, &body(false).replace("hi", "ho"))).until("request_id\":\"req_");
    assert!(other.starts_with("HTTP/1.1 429") && other.contains("output tokens"), "{other}");
    assert_eq!(
        told(&house, &house.message(false)).as_deref(),
        Some("hit"),
        "no token is left, and none is needed"
    );
}
