//! Each fault, as a client meets it and as the log tells it.

use std::io::Read as _;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::Sim;

#[tokio::test]
async fn a_status_carries_its_hints() {
    let sim = Sim::start().await;
    let fault = "status=429; retry-after=7; retry-after-ms=7000; should-retry=false; code=enforced_spend_limit_reached; message=no more";
    let answer = sim.ask(json!({})).fault(fault).send().await;
    assert_eq!(answer.refusal(), "429 rate_limit_error: no more");
    assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), ("7", "7000"));
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(answer.json()["error"]["details"]["error_code"], "enforced_spend_limit_reached");
    let edge = sim.ask(json!({})).fault("status=502; raw=<html>bad gateway</html>").send().await;
    assert_eq!((edge.status.as_u16(), edge.header("content-type")), (502, "text/html; charset=utf-8"));
    assert_eq!(edge.text(), "<html>bad gateway</html>");
    let line = sim.last_line().await;
    assert_eq!(
        (&line["status"], &line["fault"]),
        (&json!(502), &json!("status=502; raw=<html>bad gateway</html>"))
    );
    assert!(line["inference"].is_null(), "nothing was billed");
}

#[tokio::test]
async fn the_first_requests_of_a_series_fail_then_it_succeeds() {
    let sim = Sim::start().await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(sim.ask(json!({})).fault("status=529; first=2; token=t1").send().await.status.as_u16());
    }
    assert_eq!(seen, [529, 529, 200, 200]);
    assert_eq!(sim.ask(json!({})).fault("status=529; first=2; token=t2").send().await.status, 529);
    let late = "status=500; after=1; token=t3";
    assert_eq!(sim.ask(json!({})).fault(late).send().await.status, 200);
    assert_eq!(sim.ask(json!({})).fault(late).send().await.status, 500);
}

#[tokio::test]
async fn prompts_metadata_and_system_can_hold_directives() {
    let sim = Sim::start().await;
    let said =
        json!({"messages": [{"role": "user", "content": "please [[sim: status=500; message=said]] now"}]});
    assert_eq!(sim.ask(said).send().await.refusal(), "500 api_error: said");
    let metadata = json!({"metadata": {"user_id": "sim:status=503"}});
    assert_eq!(sim.ask(metadata).send().await.status, 503);
    let system = json!({"system": "x [[sim: status=504]]"});
    assert_eq!(sim.ask(system).send().await.refusal(), "504 timeout_error: Simulated status 504");
    let misspelt = sim.ask(json!({})).fault("statsu=500").send().await;
    assert_eq!(misspelt.refusal(), "400 invalid_request_error: unknown simulator directive `statsu`");
}

#[tokio::test]
async fn standing_directives_hold_until_they_are_replaced() {
    let sim = Sim::start().await;
    let put = |path: &'static str, list: &'static str| {
        let call = sim.request(http::Method::PUT, path);
        call.body(list)
    };
    assert_eq!(put("/__sim/standing?key=key-1", "status=401").send().await.status, 200);
    assert_eq!(sim.ask(json!({})).send().await.status, 401);
    assert_eq!(sim.ask(json!({})).header("x-api-key", "key-2").send().await.status, 200);
    assert_eq!(put("/__sim/standing?key=key-1", "").send().await.status, 200);
    assert_eq!(sim.ask(json!({})).send().await.status, 200);
    assert_eq!(put("/__sim/standing", "oops").send().await.status, 400);
}

#[tokio::test]
async fn waits_come_before_the_head_between_events_and_in_silence() {
    let sim = Sim::start().await;
    let begin = Instant::now();
    sim.ask(json!({})).fault("latency=60").send().await;
    assert!(begin.elapsed() >= Duration::from_millis(60));
    let begin = Instant::now();
    let answer = sim.ask(json!({"stream": true})).fault("gap=10; deltas=4").send().await;
    assert!(begin.elapsed() >= Duration::from_millis(90), "nine gaps between ten events");
    assert_eq!(answer.events().len(), 10);
    let begin = Instant::now();
    let stalled = sim.ask(json!({"stream": true})).fault("stall=3; stall-ms=80").send().await;
    assert!(begin.elapsed() >= Duration::from_millis(80) && !stalled.broken);
    let begin = Instant::now();
    let slow = sim.ask(json!({})).fault("drip=200:15; deltas=40").send().await;
    assert!(begin.elapsed() >= Duration::from_millis(30) && slow.json()["type"] == "message");
}

#[tokio::test]
async fn a_cut_stream_breaks_after_the_asked_event() {
    let sim = Sim::start().await;
    for (nth, events) in [0_u64, 1, 5, 24].into_iter().enumerate() {
        let answer = sim.ask(json!({"stream": true})).fault(&format!("cut={events}")).send().await;
        assert!(answer.broken, "cut={events}");
        assert_eq!(answer.events().len() as u64, events);
        let line = sim.lines_when(nth + 1).await.pop().unwrap();
        assert_eq!((&line["ending"], &line["sent_events"]), (&json!("cut"), &json!(events)));
        assert_eq!(line["inference"]["sent_chars"], 16 * events.saturating_sub(3).min(20), "cut={events}");
        assert_eq!(line["inference"]["sent_start"].is_null(), events == 0);
    }
}

#[tokio::test]
async fn a_cut_behind_the_last_event_leaves_no_clean_end() {
    let sim = Sim::start().await;
    let answer = sim.ask(json!({"stream": true})).fault("deltas=1; cut=7").send().await;
    assert_eq!(answer.events().last().unwrap(), "message_stop");
    assert!(answer.broken);
}

#[tokio::test]
async fn bytes_are_cut_where_asked() {
    let sim = Sim::start().await;
    for bytes in [0, 1, 100, 1000] {
        let stream = sim.ask(json!({"stream": true})).fault(&format!("cut-bytes={bytes}")).send().await;
        assert!(stream.broken);
        assert_eq!(stream.body.len(), bytes);
    }
    let json = sim.ask(json!({})).fault("cut=1").send().await;
    assert!(json.broken && !json.body.is_empty(), "a JSON answer breaks off in the middle");
    assert_eq!(sim.last_line().await["ending"], "cut");
}

#[tokio::test]
async fn a_stream_can_end_cleanly_without_its_stop() {
    let sim = Sim::start().await;
    let answer = sim.ask(json!({"stream": true})).fault("end=6").send().await;
    assert!(!answer.broken);
    assert_eq!(answer.events().len(), 6);
    assert_eq!(sim.last_line().await["ending"], "ended_early");
}

#[tokio::test]
async fn an_error_event_ends_a_stream() {
    let sim = Sim::start().await;
    let answer = sim.ask(json!({"stream": true})).fault("error=4; error-type=api_error").send().await;
    assert_eq!(answer.events()[4..], ["error"]);
    let event = answer.data().pop().unwrap();
    assert_eq!(
        (&event["error"]["type"], event["request_id"].as_str().unwrap()),
        (&json!("api_error"), answer.header("request-id"))
    );
    assert_eq!(sim.last_line().await["ending"], "error_event");
}

#[tokio::test]
async fn a_hangup_sends_nothing() {
    let sim = Sim::start().await;
    assert!(sim.ask(json!({})).fault("hangup").open().await.is_err());
    assert_eq!(sim.last_line().await["status"], 0);
}

#[tokio::test]
async fn gzip_comes_when_accepted_or_forced() {
    let sim = Sim::start().await;
    let plain = sim.ask(json!({})).fault("gzip").send().await;
    assert_eq!(plain.header("content-encoding"), "");
    for (stream, fault, accept) in
        [(false, "gzip", "gzip, br"), (true, "gzip", "gzip"), (true, "gzip=force", "identity")]
    {
        let call = sim.ask(json!({"stream": stream})).fault(fault).header("accept-encoding", accept);
        let answer = call.send().await;
        assert_eq!(answer.header("content-encoding"), "gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
        assert!(text.contains(if stream { "event: message_stop" } else { "\"type\":\"message\"" }));
    }
}

#[tokio::test]
async fn each_event_of_a_compressed_stream_can_be_read_at_once() {
    let sim = Sim::start().await;
    let call = sim.ask(json!({"stream": true})).fault("gzip=force; stall=1");
    let (response, _connection) = call.open().await.unwrap();
    let first = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    let mut text = Vec::new();
    let _ = flate2::read::GzDecoder::new(&first[..]).read_to_end(&mut text);
    assert!(String::from_utf8(text).unwrap().ends_with("}\n\n"));
}

#[tokio::test]
async fn huge_and_split_outputs_arrive_whole() {
    let sim = Sim::start().await;
    let huge = sim
        .ask(json!({"stream": true, "max_tokens": 1_000_000}))
        .fault("huge=2; delta-chars=4096")
        .send()
        .await;
    assert!(huge.body.len() > 2 << 20 && huge.events().last().unwrap() == "message_stop");
    let split = sim.ask(json!({"stream": true})).fault("split=3").send().await;
    assert_eq!(split.events().last().unwrap(), "message_stop");
}

#[tokio::test]
async fn a_client_that_leaves_is_in_the_log() {
    let sim = Sim::start().await;
    let (response, connection) = sim.ask(json!({"stream": true})).fault("stall=5").open().await.unwrap();
    drop((response, connection));
    let line = sim.lines_when(1).await.pop().unwrap();
    assert_eq!((&line["ending"], &line["inference"]["billed"]), (&json!("gone"), &json!(true)));
    let waiting = sim.ask(json!({})).fault("latency=600000").open();
    assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
    let line = sim.lines_when(2).await.pop().unwrap();
    assert_eq!(line["ending"], "gone_before_head");
}

#[tokio::test]
async fn any_header_can_be_added() {
    let sim = Sim::start().await;
    let fault = r#"status=302; headers={"location":"http://127.0.0.1:1/; x","set-cookie":"a=b"}"#;
    let answer = sim.ask(json!({})).fault(fault).send().await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, "http://127.0.0.1:1/; x"));
    assert_eq!(answer.header("set-cookie"), "a=b");
    assert_eq!(sim.ask(json!({})).fault(r#"headers={"a b":"c"}"#).send().await.status, 400);
}

#[tokio::test]
async fn a_client_that_goes_on_after_a_break_is_in_the_same_series() {
    let sim = Sim::start().await;
    let ask = |blocks: serde_json::Value| {
        sim.ask(json!({"messages": [{"role": "user", "content": blocks}]})).send()
    };
    let said = "x [[sim: status=529; first=1]]";
    assert_eq!(ask(json!([{"type": "text", "text": said}])).await.status, 529);
    let resumed = json!([{"type": "text", "text": format!("{said}\n")}, {"type": "text", "text": "go on"}]);
    assert_eq!(ask(resumed).await.status, 200);
    assert_eq!(
        ask(json!([{"type": "text", "text": format!("y {said}")}])).await.status,
        529,
        "another prompt"
    );
}
